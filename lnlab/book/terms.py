"""A Sphinx extension: what leads to a term of the glossary shows its definition where a pointer rests on it."""

from typing import Any

from docutils import nodes

GLOSSARY = "glossary"


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", _define)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _define(app: Any, document: nodes.document, page: str) -> None:
    if page == GLOSSARY or GLOSSARY not in app.env.found_docs:
        return
    said = definitions(app.env.get_doctree(GLOSSARY))
    for link in document.findall(nodes.reference):
        term = str(link.get("refuri", "")).partition(f"{GLOSSARY}.html#")[2]
        if term in said:
            link["reftitle"] = said[term]


def definitions(glossary: nodes.document) -> dict[str, str]:
    """Anchor of each term → its definition as plain text."""
    found: dict[str, str] = {}
    for item in glossary.findall(nodes.definition_list_item):
        (definition,) = item.findall(nodes.definition)
        text = " ".join(definition.astext().split())
        found |= {anchor: text for term in item.findall(nodes.term) for anchor in term["ids"]}
    return found
