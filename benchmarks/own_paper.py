"""The worked example of `lnlab judge` from published runs: python -m benchmarks.own_paper

Writes the scores that ship with the package, and the copies of the claims and of the output that the book shows.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from lnlab.claims.measures import measure
from lnlab.claims.studies import Data
from lnlab.compare import judged
from lnlab.paths import BOOK

RATES = {1e-4: "a3c-{}", 3e-4: "rates/a3c-{}-lr3e-4", 1e-3: "rates/a3c-{}-lr1e-3", 3e-3: "rates/a3c-{}-lr3e-3"}
ARMS = ("gru-none", "gru-ln", "ff-none", "ff-ln")
SEEDS = 10  # at the rates that the documents did not use


def scores() -> pd.DataFrame:
    """Score of each seed (0 to 9) of four arms of A3C at four learning rates."""
    data = Data.at()
    rows = [
        (arm, rate, seed, round(float(score), 3), pattern.format(arm))
        for arm in ARMS
        for rate, pattern in RATES.items()
        for seed, score in enumerate(measure(data, "score", pattern.format(arm))[:SEEDS])
    ]
    return pd.DataFrame(rows, columns=["arm", "setting", "seed", "score", "run"])


def main() -> None:
    """Write all."""
    scores().to_csv(judged.EXAMPLE / judged.SCORES, index=False)
    shutil.copyfile(judged.EXAMPLE / judged.CLAIMS, BOOK / "own-paper.yml")
    target = BOOK.absolute() / "own-paper.txt"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the output names the page from here
        said = judged.example()
    target.write_text(said + "\n", encoding="utf-8")
    print(said, f"\n\nwritten: {Path(judged.EXAMPLE)}, {target}")


if __name__ == "__main__":
    main()
