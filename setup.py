"""Puts what commands need outside a clone into the package: notebooks they execute, and the pinned versions.

All else stands in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("constraints.txt", "notebooks/train.ipynb", "notebooks/compare.ipynb", "notebooks/judge.ipynb")


class WithNotebooks(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # a clone has them at its top
            return
        for name in filter(lambda each: Path(each).exists(), CARRIED):
            target = Path(self.build_lib, "lnlab", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(name, str(target))


setup(cmdclass={"build_py": WithNotebooks})
