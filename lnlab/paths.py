"""The only place that knows folders.

Papermill runs a kernel in the caller's folder, Jupyter in the notebook's: in a clone of the repository no path comes
from the working directory. An installed package has no study, notebooks or book, and leaves its results in ./results.
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("LNLAB_ROOT", PACKAGE.parent)).absolute()  # the repository, if this is a clone
BOOK = ROOT / "book"
NOTEBOOKS = ROOT / "notebooks"
PUBLISHED = BOOK / "data"  # the small tables behind the committed pages
BUILD = ROOT / "_build"
STUDY = ROOT / "study.toml"
BASE = ROOT if STUDY.exists() else Path.cwd()  # never the folder where packages are installed
RESULTS = Path(os.environ.get("LNLAB_RESULTS", BASE / "results")).absolute()  # scratch and study runs; not committed
