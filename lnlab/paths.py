"""The only place that knows folders.

Papermill runs a kernel in the caller's folder, Jupyter in the notebook's: in a clone of the repository no path comes
from the working directory. An installed package has its notebooks inside it, no book, and takes study.toml from the
working directory, where it leaves its results too.
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("LNLAB_ROOT", PACKAGE.parent)).absolute()  # the repository, if this is a clone
CLONE = all((ROOT / name).exists() for name in ("study.toml", "notebooks"))
BASE = ROOT if CLONE else Path.cwd()  # never the folder where packages are installed
BOOK = ROOT / "book"
NOTEBOOKS = (ROOT if CLONE else PACKAGE) / "notebooks"
PUBLISHED = BOOK / "data"  # the small tables behind the committed pages
BUILD = ROOT / "_build"
STUDY = BASE / "study.toml"
RESULTS = Path(os.environ.get("LNLAB_RESULTS", BASE / "results")).absolute()  # scratch and study runs; not committed


def results_of(study: Path) -> Path:
    """Where the runs of a study file go: those of somebody's own file beside it, unless LNLAB_RESULTS says where."""
    return RESULTS if study == STUDY or "LNLAB_RESULTS" in os.environ else study.absolute().parent / "results"
