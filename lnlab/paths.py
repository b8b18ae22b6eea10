"""The only place that knows folders.

Papermill runs a kernel in the caller's folder, Jupyter in the notebook's: no path may come from the working directory.
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("LNLAB_ROOT", PACKAGE.parent))  # the repository, whatever the working directory
BOOK = ROOT / "book"
NOTEBOOKS = ROOT / "notebooks"
RESULTS = Path(os.environ.get("LNLAB_RESULTS", ROOT / "results"))  # scratch and study runs; not committed
PUBLISHED = BOOK / "data"  # the small tables behind the committed pages
BUILD = ROOT / "_build"
STUDY = ROOT / "study.toml"
