// The search of Sphinx from files: pages of runs rank last, and excerpts come from a script, as no page may read another.
"use strict";

window.Scorer = {
  score: ([page, , , , score]) => score - (page.startsWith("runs/") ? 1000 : 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};

if (/\/search\.html$/.test(location.pathname)) {
  const src = new URL("texts/pages.js", document.currentScript.src);
  const texts = new Promise((resolve) => {
    const script = Object.assign(document.createElement("script"), { src });
    script.onload = () => resolve(window.lnlabTexts);
    document.head.append(script);
  });
  window.fetch = async (url) => {  // the search asks for nothing else
    const main = Object.assign(document.createElement("div"), { textContent: (await texts)[url.replace(/^\.\/|\.html$/g, "")] });
    main.setAttribute("role", "main");
    return { text: () => main.outerHTML };
  };
}
