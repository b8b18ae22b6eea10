"""What a page needs to be written: tidy tables, plots, words for numbers, and outputs that travel into the book.

A cell of a page reads, in five to fifteen lines,

    arms = named("a3c-gru-ln", "a3c-gru-none")
    found = values(data, {"return": "return_final"}, arms)
    show.table(estimates(found), "levels", caption="Return at the end of training.")
"""

from lnlab.book import cards, plot, registered, show, style, words
from lnlab.book.show import holds
from lnlab.book.tidy import (
    at_best,
    bands,
    contrasts,
    curves,
    estimates,
    minus,
    named,
    over_setting,
    printed,
    references,
    seeds,
    shared,
    survival,
    through_records,
    through_training,
    values,
)
from lnlab.claims.studies import Data

__all__ = [
    "Data",
    "at_best",
    "bands",
    "cards",
    "contrasts",
    "curves",
    "estimates",
    "holds",
    "minus",
    "named",
    "over_setting",
    "plot",
    "printed",
    "references",
    "registered",
    "seeds",
    "shared",
    "show",
    "style",
    "survival",
    "through_records",
    "through_training",
    "values",
    "words",
]
