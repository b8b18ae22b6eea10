// Tables that are wider than their place say so; figures are offered as PNG. Without JavaScript both stay as they are.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const boxes = document.querySelectorAll(
    ".bd-article .pst-scrollable-table-container, .bd-article div.cell_output, .bd-article table.ledger, .bd-article table.evidence, .bd-article figure");
  const look = new ResizeObserver((seen) => seen.forEach(({ target }) => {
    const wide = target.scrollWidth > target.clientWidth + 1;
    target.classList.toggle("scrolls", wide);
    if (wide) target.tabIndex = 0;  // so that arrow keys scroll it
    else target.removeAttribute("tabindex");
  }));
  boxes.forEach((box) => look.observe(box));
  document.querySelectorAll("figcaption a.svg").forEach(offerPNG);
});

// A canvas that shows a picture of another file may not be read, so the drawing comes as text, by a script.
function offerPNG(svg) {
  const link = document.createElement("a");
  link.href = svg.href;
  link.textContent = "PNG";
  link.addEventListener("click", (event) => {
    event.preventDefault();
    window.lnlabFigure = (text) => drawn(text).then((url) => save(url, svg.download.replace(/svg$/, "png")));
    document.head.append(Object.assign(document.createElement("script"), { src: `${svg.href}.js` }));
  });
  svg.after(" · ", link);
}

async function drawn(text, scale = 2) {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const canvas = Object.assign(document.createElement("canvas"),
    { width: scale * picture.width, height: scale * picture.height });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}

function save(href, download) {
  Object.assign(document.createElement("a"), { href, download }).click();
}
