"""Claims files: their shape, read and checked before anything is computed.

A document has a title, sections, and its claims by id, a claim in one place: our words, the printed values, where they
come from, and the rows of evidence. book/claims/d1.yml to d5.yml are those of the book; anybody's own has the same
form. hypotheses.yml holds what we expected ourselves, by set and name, with the rows that each predicts. What is not as
it should be is refused with file and line.
"""

import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from lnlab.claims.names import Names
from lnlab.claims.rows import KINDS, AnyRow, Change, Level, Minus, Row, Setting, Sided, Special, Value
from lnlab.config import ConfigError
from lnlab.paths import BOOK

FOLDER = BOOK / "claims"
HYPOTHESES = "hypotheses"
PLACE = re.compile(r"{((?:-|100\*|10\^)*)([^{}]+)}")  # of a number in `found`: what turns it, the text of its row
Kind = Literal["measured", "comparison", "arithmetic", "interpretation", "recommendation", "setup"]


def _number(given: object) -> object:
    """The number in a text: YAML takes 1e-3 for one."""
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


Given = Annotated[int | float | str, BeforeValidator(_number)]


class Claim(BaseModel):
    """What a document says, and the evidence on it.

    kind: measured (a number read off an experiment), comparison (a direction or ratio between arms), arithmetic
    (follows from other numbers of the document), interpretation (an explanation), recommendation (advice), setup (a
    fact about the configuration).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    section: str = ""
    says: str  # in our words
    quote: str = ""  # a sentence of a document in another language, and its translation
    found: str = ""  # what we found, for readers; {the text of a row} stands for its estimate and interval
    origin: str = ""  # where the public repository that the documents come from explains a number
    note: str = ""  # to the reader; a {} stands for the number of each row of `aside`
    aside: list[Value | Change | Minus] = []
    needs: dict[Setting, Given] = {}  # settings without which no run can speak on the claim
    untestable: str = ""  # why there is no evidence
    evidence: list[AnyRow] = []

    @model_validator(mode="after")
    def _whole(self) -> "Claim":
        if bool(self.evidence) == bool(self.untestable):
            raise ValueError("give evidence, or untestable: why there is none")
        places = [name for _, name, _, _ in Formatter().parse(self.note) if name is not None]
        if any(places) or len(places) != len(self.aside):
            raise ValueError(f"the note has {len(places)} places {{}} for {len(self.aside)} rows of aside")
        _refuse_unfit(self.evidence)
        texts = [text for row in self.evidence for text in row.texts]
        for _, text in PLACE.findall(self.found):
            if text not in texts and not any(isinstance(row, Special) for row in self.evidence):
                raise ValueError(f"found has {{{text}}}, the text of no row; the rows are: {'; '.join(texts)}")
        return self


class Document(BaseModel):
    """A source document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    sections: list[str] = []
    arms: dict[str, str] = {}  # that the claims speak of, and what readers call each; else those of the results
    claims: dict[str, Claim] = Field(min_length=1)


class Hypothesis(BaseModel):
    """A sentence of ours, and what it predicts that the data can oppose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    says: str
    predictions: list[AnyRow]

    @model_validator(mode="after")
    def _whole(self) -> "Hypothesis":
        _refuse_unfit(self.predictions)
        return self


def _refuse_unfit(rows: Sequence[Row]) -> None:
    """A row must say what would be evidence; one beside a note need not."""
    for place, row in enumerate(rows, 1):
        if isinstance(row, Sided) and row.side is None and row.printed is None:
            raise ValueError(f"row {place} needs a side, a printed number, or both")
        if not isinstance(row, Level | Sided) or row.margin:
            continue
        if 0 in (row.printed.values() if isinstance(row, Level) else [row.printed]):
            raise ValueError(f"row {place} needs a margin: a quarter of zero is none")


@functools.cache
def documents() -> dict[str, Document]:
    """The documents by name, D1 first."""
    return {path.stem.upper(): read(path, Document) for path in sorted(FOLDER.glob("d*.yml"))}


@functools.cache
def hypotheses() -> dict[str, dict[str, Hypothesis]]:
    """Our own hypotheses by set and name."""
    return read(FOLDER / f"{HYPOTHESES}.yml", dict[str, dict[str, Hypothesis]])


# -- reading ----------------------------------------------------------------------------------------------------------
class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would take the last, and names the line of a wrong date."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As of any loader."""
        try:
            return super().construct_object(node, deep)
        except (TypeError, ValueError) as error:  # a date without such a month, !!int of letters, …
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As of any loader."""
        if not isinstance(node, yaml.MappingNode):  # a list that says it is one
            raise yaml.MarkedYAMLError(problem="expected keys with values", problem_mark=node.start_mark)
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path, shape: Any, names: Names | None = None) -> Any:
    """A file in the given shape, whose rows name arms of `names`, or else of study.toml.

    Raises:
        ConfigError: it cannot be read, is no YAML, or has another shape; the message names file and line.
    """
    node = None
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()  # None where there is nothing
        return TypeAdapter(shape).validate_python(node and loader.construct_document(node), context=names)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: {error.problem}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:  # letters that are none, nests without end
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        problem = min(error.errors(), key=lambda each: each["type"] == "missing")  # a mistyped key is missing as well
        line, where = _found(node, problem["loc"])
        raise ConfigError(f"{path}, line {line}: {where}{_explain(problem, shape)}") from None


def _found(node: Any, steps: tuple[int | str, ...]) -> tuple[int, str]:
    """Line of the deepest thing in the file that an error's place leads to, and the way there in words."""
    line, words = node.start_mark.line + 1 if node else 1, []
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            here = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if here is None or (isinstance(here[1], yaml.ScalarNode) and step != steps[-1]):
                continue  # the tag of a kind of row, or a key that is missing
            line, node = here[0].start_mark.line + 1, here[1]
            words.append(str(step))
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
            words.append(f"row {step + 1}")
    return line, f"{', '.join(words)}: " if words else ""


def _explain(problem: Any, shape: Any) -> str:
    tag = next((step for step in reversed(problem["loc"]) if step in KINDS), None)
    if problem["type"] == "missing":
        return f"the key {problem['loc'][-1]!r} is missing"
    if problem["type"].startswith(("model_", "dict_type")):
        return "keys with values are wanted"
    if problem["type"] != "extra_forbidden":
        return str(problem["msg"]).removeprefix("Value error, ")
    names = list((KINDS[tag] if tag else shape if len(problem["loc"]) == 1 else Claim).model_fields)
    near = difflib.get_close_matches(str(problem["loc"][-1]), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown key {problem['loc'][-1]!r}{hint}; allowed: {', '.join(names)}"
