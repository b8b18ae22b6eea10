"""The film of D5: pictures of recorded poses, the same bytes each time, small, closed until a reader opens it."""

import io

import nbformat
import pandas as pd
import pytest
from PIL import Image

from lnlab.report import driving_film, pages
from lnlab.report.evidence import Data
from lnlab.runs import load
from tests import driving_fakes
from tests.driving_fakes import Fake

STRIDE = driving_film.EVERY


def drive(length: int) -> pd.DataFrame:
    """A car that goes straight on."""
    t = range(1, length + 1)
    places = {"x": 0.0, "y": [0.4 * each for each in t], "heading": 0.0, "speed": 10.0}
    return pd.DataFrame({"t": t, "track_seed": 0} | places)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    folder = driving_fakes.study(
        tmp_path_factory.mktemp("made") / "driving", {"ln-leaky": Fake(), "none-leaky": Fake()}
    )
    return driving_film.film(Data(load(folder)))


def test_the_shorter_drive_waits_for_the_longer_one():
    pictures = driving_film.frames([drive(30), drive(3)])
    assert len(pictures) == 30 / STRIDE
    right = [picture.crop((driving_film.SIZE[0] + 4, 0, picture.width, picture.height)) for picture in pictures]
    assert right[1] == right[-1] != right[0]
    assert pictures[1] != pictures[-1]


def test_a_long_drive_is_cut():
    most = driving_film.LONGEST * driving_film.RATE
    assert len(driving_film.frames([drive(2 * int(most)), drive(5)])) == most / STRIDE


def test_the_animation_plays_all_pictures_in_their_time_and_is_small(film):
    with Image.open(io.BytesIO(film.gif)) as gif:
        assert gif.n_frames == -(-12 // STRIDE)
        assert gif.info["duration"] == 1000 * STRIDE // driving_film.RATE
        assert gif.info["loop"] == 0
    pictures = driving_film.frames([drive(600), drive(600)])
    assert len(driving_film.animation(pictures)) < 1.5e6


def test_the_same_drives_give_the_same_bytes():
    one, two = (driving_film.animation(driving_film.frames([drive(9), drive(6)])) for _ in range(2))
    assert one == two


def test_the_film_tells_how_the_episodes_went(film):
    assert "before training it lasts 0.5 s over 6 m at 5.0 m/s" in film.caption
    assert "after training it lasts 0.3 s" in film.alt
    assert set(film.data.moment) == {"before", "after"}


def test_a_page_shows_the_still_and_opens_the_animation(film, tmp_path):
    data, metadata = film._repr_mimebundle_()
    out = nbformat.v4.new_output("display_data", data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("1", outputs=[out], metadata={"papermill": {"status": "completed"}})
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), cell], metadata={"papermill": {}})
    nbformat.write(nb, tmp_path / "in.ipynb")
    page = nbformat.read(pages.gather(tmp_path / "in.ipynb", tmp_path, "d5"), as_version=4)
    text = page.cells[-1].source
    assert text.index("/figures/d5-drive.png") < text.index("{dropdown}") < text.index("/figures/d5-drive.gif")
    assert text.count(":alt: A car on its road") == 2
    assert (tmp_path / "figures" / "d5-drive.gif").read_bytes() == film.gif
    assert (tmp_path / "figures" / "d5-drive.png").read_bytes() == film.still
    assert not page.cells[1].outputs  # nothing of it stays in the notebook
