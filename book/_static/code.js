// One switch for all code of the book, kept between pages; without JavaScript every cell keeps its own.
document.addEventListener("DOMContentLoaded", () => {
  const cells = document.querySelectorAll(".cell details.hide");
  const bar = document.querySelector(".article-header-buttons");
  if (!cells.length || !bar) return;
  const show = (shown) => {
    document.body.classList.toggle("hide-code", !shown);
    cells.forEach((cell) => { cell.open = shown; });
    button.setAttribute("aria-pressed", String(shown));
    button.title = shown ? "Hide the code" : "Show the code";
  };
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-sm code-switch";
  button.textContent = "Code";
  button.addEventListener("click", () => {
    const shown = document.body.classList.contains("hide-code");
    try { localStorage.setItem("lnlab-code", shown ? "1" : "0"); } catch { /* a page from a file may have no storage */ }
    show(shown);
  });
  bar.prepend(button);
  let kept = "0";
  try { kept = localStorage.getItem("lnlab-code") || "0"; } catch { /* as above */ }
  show(kept === "1");
});
