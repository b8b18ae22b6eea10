"""What the pages need beyond Sphinx so that all of it works from files, without a network.

Links to a figure's own file, and its text where a page's script can read it (a browser that opened a page from a file
may not read others, so that a script could not turn the figure into a PNG); numbers that never break in a table; texts
for the excerpts of the search; the drawing library of the explorer; commits that lead to the repository if it is known.
"""

import functools
import json
import os
import re
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import vl_convert
import yaml
from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

WHOLE = r"(?:[−+-]?\d[\d.,e−+-]* )?\[[−+\d.][^\]<>]*\]|(?:&[lg]t;|[≤≥]) ?\.?\d[\d.]*"  # an interval; < .001
CELL = re.compile(r"<td\b.*?</td>", re.S)
PART = re.compile(rf'(<span class="math.*?</span>|<[^>]*>)|({WHOLE})', re.S)
THEME_ICONS = "static/scripts/fontawesome.js"
# name:[width,height,[other names],code,path]
ICON = re.compile(r'(?:"[\w-]+"|\w+):\[\d+,\d+,\[[^\]]*\],"\w+",(?:"[^"]*"|\[[^\]]*\])\],?')
NAMES = re.compile(r'^"?([\w-]+)|"([\w-]+)"')
USED_ICON = re.compile(r"\bfa-([a-z0-9-]+)")
LONGEST = 20_000  # characters of a page that the search looks through for an excerpt


def link_files(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put a link to its SVG before the link to a figure's CSV; a script adds the PNG (book.js)."""
    for figure in doctree.findall(nodes.figure):
        image, csv = next(figure.findall(nodes.image)), next(figure.findall(download_reference), None)
        _, name = app.env.images.get(image["uri"], (None, ""))
        if csv is None or not name.endswith(".svg"):
            continue
        href = "../" * page.count("/") + f"_images/{name}"
        link = f'<a class="svg" href="{href}" download="{name}">SVG</a> · '
        csv.parent.insert(csv.parent.index(csv), nodes.raw("", link, format="html"))


def keep_numbers_whole(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Mark intervals and bounds in the cells of tables, which then never break (`.whole` in the style sheet)."""
    if body := context.get("body"):
        context["body"] = CELL.sub(lambda cell: PART.sub(_marked, cell[0]), body)


def _marked(part: re.Match[str]) -> str:
    return part[1] or f'<span class="whole">{part[2]}</span>'


def write_scripts(app: Sphinx, error: Exception | None) -> None:
    """Write what scripts load when they need it: texts of the search, texts of figures, Vega-Lite."""
    if error or app.builder.format != "html":
        return
    static, images = (Path(app.outdir) / name for name in ("_static", "_images"))
    texts = {page: app.env.lnlab_texts.get(page, "") for page in sorted(app.env.found_docs)}
    (static / "texts").mkdir(exist_ok=True)
    (static / "texts" / "pages.js").write_text(f"lnlabTexts = {_json(texts)};\n", encoding="utf-8")
    for figure in images.glob("*.svg"):
        text = _json(figure.read_text(encoding="utf-8"))
        figure.with_suffix(".svg.js").write_text(f"lnlabFigure({text});\n", encoding="utf-8")
    vega = static / "texts" / "vega.js"
    if "explore" in app.env.found_docs and not vega.exists():
        vega.write_text(f"(() => {{{vl_convert.javascript_bundle()}}})();\n", encoding="utf-8")  # its names are its own


def keep_used_icons(app: Sphinx, error: Exception | None) -> None:
    """Of the theme's 2,045 icons those that a page or a script names: every page loads them, 1.5 MB else."""
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if error or not script.exists():
        return
    naming = [*Path(app.outdir).rglob("*.html"), *(each for each in script.parents[1].rglob("*.js") if each != script)]
    used = {name for path in naming for name in USED_ICON.findall(path.read_text(encoding="utf-8", errors="ignore"))}
    whole = next(path for path in map(Path, app.builder.theme.get_theme_dirs()) if (path / THEME_ICONS).exists())
    icons = (whole / THEME_ICONS).read_text(encoding="utf-8")  # not those that an earlier build left
    script.write_text(
        ICON.sub(
            lambda icon: icon[0] if used & {name for pair in NAMES.findall(icon[0]) for name in pair} else "", icons
        ),
        "utf-8",
    )
    for source in script.parent.glob("*.map"):
        source.unlink()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def keep_text(app: Sphinx, doctree: nodes.document) -> None:
    """Note a page's words when it is read, so that pages which did not change are not loaded again for them."""
    copy = doctree.deepcopy()
    for kind in (nodes.literal_block, nodes.system_message):
        for each in list(copy.findall(kind)):
            each.parent.remove(each)
    words = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", copy.astext(), flags=re.S)
    app.env.lnlab_texts[app.env.docname] = " ".join(unescape(words).split())[:LONGEST]


def start_texts(app: Sphinx, env: Any, *_: object) -> None:
    if not hasattr(env, "lnlab_texts"):
        env.lnlab_texts = {}  # page → its words in one line, without markup and code


def merge_texts(app: Sphinx, env: Any, pages: list[str], other: Any) -> None:
    env.lnlab_texts |= {page: other.lnlab_texts[page] for page in pages if page in other.lnlab_texts}


@functools.cache
def repository(config: Path) -> str:
    """The address that Jupyter Book's settings give (`repository.url`), "" if none; Sphinx does not get to know it."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8")) if config.exists() else {}
    return str(settings.get("repository", {}).get("url", ""))


def commit(name: str, raw: str, text: str, line: int, inliner: Any, *_: object) -> tuple[list[nodes.Node], list[Any]]:
    """The role {commit}: the first ten digits, a link if the repository's address is known (_config.yml)."""
    url = repository(Path(inliner.document.settings.env.srcdir).parent / "_config.yml")
    shown = nodes.literal("", text[:10])
    return [nodes.reference("", "", shown, refuri=f"{url.rstrip('/')}/commit/{text}") if url else shown], []


class Words(SearchEnglish):
    """The search's words without numbers, which its script skips in a query, and without digests of files: every page
    loads the index."""

    def word_filter(self, word: str) -> bool:
        return bool(super().word_filter(word)) and not word.isdigit() and len(word) < len(sha256().hexdigest())


def in_parallel(app: Sphinx, config: object) -> None:
    """Read and write pages on all cores; Jupyter Book has no option for it."""
    app.parallel = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for extension in app.extensions.values():
        if extension.parallel_read_safe is None:  # of Jupyter Book's own, which do not say: pages are the same bits
            extension.parallel_read_safe = True


def setup(app: Sphinx) -> dict[str, int]:
    app.add_role("commit", commit)
    app.add_search_language(Words)
    app.connect("config-inited", in_parallel)
    app.connect("env-before-read-docs", start_texts)
    app.connect("doctree-read", keep_text)
    app.connect("env-merge-info", merge_texts)
    app.connect("doctree-resolved", link_files)
    app.connect("html-page-context", keep_numbers_whole)
    app.connect("build-finished", write_scripts)
    app.connect("build-finished", keep_used_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
