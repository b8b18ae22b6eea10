"""Templates are stored clean; the parameters cell of train.ipynb says what the settings say."""

import re

import nbformat
import pytest
from papermill import inspect_notebook

from lnlab.book import run_page
from lnlab.claims import documents
from lnlab.config import ConfigError, GymConfig, RunConfig, TD3Config
from lnlab.paths import NOTEBOOKS

TEMPLATES = sorted(NOTEBOOKS.glob("*.ipynb"))
TRAIN = NOTEBOOKS / "train.ipynb"


def parameters_cell(path):
    (cell,) = [c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    return cell.source


LONGEST = 30  # lines of a cell; in a longer one a measure or a plot is missing


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_notebook_is_stored_clean_with_a_heading_short_cells_and_help_for_each_parameter(path):
    nb = nbformat.read(path, as_version=4)
    assert nb.metadata.kernelspec.name == "python3"
    assert nb.cells[0].source.startswith("# ")
    for cell in nb.cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
        if cell.cell_type == "code" and path != TRAIN:
            assert len(cell.source.splitlines()) <= LONGEST, cell.source
    for name, parameter in inspect_notebook(str(path)).items():
        assert parameter["help"], name


ALL = {**TD3Config.model_fields, **GymConfig.model_fields, **RunConfig.model_fields}
OPEN = run_page.OPEN  # the algorithm decides, unless it is given


def test_parameters_cell_has_every_setting_with_its_default():
    values: dict = {}
    exec(parameters_cell(TRAIN), values)
    assert {name: values[name] for name in ALL} == {n: None if n in OPEN else f.default for n, f in ALL.items()}
    assert set(values["__annotations__"]) == set(ALL)


def test_papermill_understands_names_defaults_and_help_of_all_settings():
    found = inspect_notebook(str(TRAIN))
    assert found.keys() == ALL.keys()
    for name, field in ALL.items():
        assert eval(found[name]["default"]) == (None if name in OPEN else field.default)
        assert found[name]["inferred_type_name"] == type(field.default).__name__
        if name not in {"algorithm", "norm"}:  # these two are described for all algorithms at once
            assert found[name]["help"].startswith(field.description)


def settings_of(**injected):
    """Settings as the notebook's cells make them when papermill injects parameters."""
    space: dict = {"In": [], "exit": print}
    before = {"before", *space}
    exec(parameters_cell(TRAIN), space)
    space |= injected
    return run_page.settings(before, space)


def test_an_injected_parameter_reaches_the_settings_and_the_algorithm_brings_its_own_defaults():
    assert settings_of() == RunConfig()
    assert settings_of(norm="none", seeds=7) == RunConfig(norm="none", seeds=7)
    assert settings_of(algorithm="td3", norm="none") == TD3Config(norm="none")
    assert settings_of(algorithm="ddpg", lr=1e-4, hidden=64) == TD3Config(algorithm="ddpg", lr=1e-4, hidden=64)
    assert settings_of(algorithm="ddpg", critics=2).critics == 2
    assert settings_of(lr=1e-3).lr == 1e-3
    assert settings_of(env="CartPole-v1") == GymConfig(env="CartPole-v1")
    assert settings_of(env="CartPole-v1", steps=5000, obs_norm=True).steps == 5000


@pytest.mark.parametrize("name", sorted(set(ALL) - OPEN))
def test_none_is_refused_where_the_parameters_cell_does_not_offer_it(name):
    own = {} if name in RunConfig.model_fields else {"env": "CartPole-v1"} if name in GymConfig.model_fields else None
    with pytest.raises(ConfigError, match=rf"{name}=None is not allowed: "):
        settings_of(**{**({"algorithm": "td3"} if own is None else own), name: None})
    with pytest.raises(ConfigError, match=rf"{name}=None is not allowed: |unknown parameter '{name}'"):
        settings_of(**{name: None})


@pytest.mark.parametrize("name", sorted(OPEN))
def test_none_leaves_a_setting_to_the_algorithm_where_the_parameters_cell_offers_it(name):
    for algorithm in ("a3c", "td3", "ddpg"):
        assert settings_of(**{"algorithm": algorithm, name: None}) == settings_of(algorithm=algorithm)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "td3", "core": "ff"}, "unknown parameter 'core'"),
        ({"algorithm": "a3c", "batch_size": 32}, "unknown parameter 'batch_size'"),
        ({"nrom": "ln"}, r"unknown parameter 'nrom' \(did you mean 'norm'\?\); allowed: algorithm, core"),
    ],
)
def test_a_setting_that_the_algorithm_does_not_have_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        settings_of(**given)


def test_a_second_run_of_the_cells_in_one_kernel_still_finds_the_parameters():
    space: dict = {}
    exec(parameters_cell(TRAIN), space)
    space["norm"] = "none"
    everything = {"before", *space}  # as seen by the first cell when the notebook is run again
    assert run_page.settings(everything, space) == RunConfig(norm="none")


@pytest.mark.parametrize("document", documents.documents())
def test_every_claim_of_a_document_is_shown_once_on_its_page(document):
    cells = nbformat.read(NOTEBOOKS / f"{document.lower()}.ipynb", as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    shown = re.findall(rf'show\.claims\(\s*runs, "{document}"(?:, "([^"]*)")?', code)
    sections = {claim.section for claim in documents.documents()[document].claims.values()}
    assert sorted(shown) == ([""] if "" in shown else sorted(sections))
