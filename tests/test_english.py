"""The book can be read: plain sentences where a reader begins, no page too long, no phrase of our own making."""

import re
from pathlib import Path

import nbformat
import pytest

from lnlab.paths import BOOK, NOTEBOOKS, ROOT

GRADE, WORDS = 11, 2000
BANNED = (  # coinages and word-for-word translations, in small letters
    "know what a seed is",
    "knows what a seed is",
    "leaves of it",
    "by more than before",
    "that does not begin with",
    "that the rules had not seen",
    "learn nothing",
    "wants the environment",
    "in as many episodes",
    "after as many",
    "one page a run",
    "seeds an arm",
    "panel an agent",
    "a dot a ",
    "point a seed",
    "points of percent",
    "nobody has looked",
    "no worse side",
    "in 95 of 100 repetitions",
    "goes on acting",
    "files are the joints",
)
HIDDEN = ("dropdown", "code", "code-block", "csv-table", "include", "bibliography", "math", "image")
MADE = ("changelog", "references")  # the one is a log, the other a list
PAGES = sorted(path for path in [*BOOK.glob("*.md"), *BOOK.glob("*.ipynb")] if path.stem not in MADE)
WRITTEN = [*PAGES, *NOTEBOOKS.glob("*.ipynb"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
READ_FIRST = [ROOT / "README.md", BOOK / "intro.ipynb", BOOK / "d1.ipynb"]


def markdown(path: Path) -> str:
    """The Markdown of a page; of a notebook that of its cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def open_text(text: str) -> str:
    """What stands open on the page as prose: captions, but no tables, code, formulas or closed parts."""
    text = re.sub(r"<!--.*?-->|<script.*?</script>|\$\$.*?\$\$", "", text, flags=re.DOTALL)
    kept: list[str] = []
    fences: list[list[object]] = []  # [mark, whether its content is hidden], from the outermost
    for line in text.splitlines():
        fence = re.fullmatch(r"\s*(`{3,}|:{3,})(\S*)\s*(.*)", line)
        if fence and not fence[2] and fences and fences[-1][0] == fence[1]:
            fences.pop()
        elif fence:
            name = fence[2].strip("{}") if fence[2].startswith("{") else "code"
            fences.append([fence[1], name in HIDDEN])
            kept.append("" if any(hidden for _, hidden in fences) else f"{fence[3]}\n")
        elif fences and (option := re.match(r":([\w-]+):(.*)", line)):
            fences[-1][1] = fences[-1][1] or (option[1] == "class" and "dropdown" in option[2])
        elif claim := re.match(r"<details.*?<summary>(.*?)</summary>.*</details>$", line):
            kept.append(f"{claim[1]}\n")
        elif not any(hidden for _, hidden in fences) and not line.lstrip().startswith(
            ("|", "<table", "<tbody", "</table")
        ):
            kept.append(line)
    return "\n".join(kept)


def plain(text: str) -> str:
    """Without the marks of Markdown; links and roles by what they show."""
    text = re.sub(r"\{(?:cite|download)\}`[^`]*`|<[^>]*>", "", text)
    text = re.sub(r"(?:\{\w+\})?`([^`<]*?) ?(?:<[^`>]*>)?`", r"\1", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\$[^$]*\$|[*_#>]|^\(\S*\)=$", " ", text, flags=re.MULTILINE)


def sentences(text: str) -> list[list[str]]:
    """The words of each sentence; what stands alone, as a list item does, is one too, and a number is no word."""
    parts = re.split(r"[.!?](?=\s|$)|\n\s*\n|\n(?=\s*(?:[-+]|\d+\.) )", plain(text))
    found = [re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", part) for part in parts]
    return [words for words in found if words]


def syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end or before d and s."""
    word = re.sub(r"[^a-z]", "", word.lower())
    silent = re.search(r"(?:[^aeiouyl]e|[^aeiouy]es|[^aeiouytd]ed)$", word) and not re.search(
        r"(?:[sxz]|[cs]h|[cg])es$", word
    )
    groups = len(re.findall(r"[aeiouy]+", word)) + len(re.findall(r"i[ao]|eo(?!p)|aye|ua(?!r)|[aeiou]ing", word))
    groups -= len(re.findall(r"[tcs]i(?:on|al|an)|gi(?:on|an)", word))
    return max(1, groups - bool(silent))


def grade(text: str) -> float:
    """Flesch and Kincaid's grade of a text without its headings (Kincaid et al. 1975): years of school it asks for."""
    found = sentences(re.sub(r"^#.*$", "", text, flags=re.MULTILINE))
    words = [word for sentence in found for word in sentence]
    return 0.39 * len(words) / len(found) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


def test_the_measure_of_reading_gives_what_is_known_of_known_texts() -> None:
    passage = "This sentence, taken as a reading passage unto itself, is being used to prove a point."
    assert grade("The cat sat on the mat.") == pytest.approx(-1.45, abs=0.01)
    assert grade(passage) == pytest.approx(8.35, abs=0.8)  # 24 syllables in 16 words, by one account
    known = {
        "learning": 2, "normalisation": 5, "rate": 1, "rates": 1, "layer": 2, "trained": 1, "started": 2, "value": 2,
        "changes": 2, "network": 2, "policy": 3, "evidence": 3, "individual": 5, "episode": 3, "table": 2, "loss": 1,
        "action": 2, "recurrent": 3, "used": 1, "being": 2, "scenario": 4, "variance": 3, "people": 2,
    }  # fmt: skip
    assert {word: syllables(word) for word in known} == known


def test_open_text_is_what_a_reader_sees() -> None:
    page = """# Head

Said {doc}`there </d1>`, {term}`twice <two>` [so](x.html) {cite}`them`.

:::{table} A caption. Data: {download}`CSV </x.csv>`.
:name: tab-x

| a | b |
:::
```{admonition} Title
:class: note dropdown
Hidden.
```
````{dropdown} More
```
code
```
Hidden too.
````
<details><summary>A claim</summary>hidden</details>
Seen.
"""
    words = [" ".join(words) for words in sentences(open_text(page))]
    assert words == ["Head", "Said there twice so", "A caption", "Data", "Title", "A claim", "Seen"]


@pytest.mark.parametrize("path", READ_FIRST, ids=lambda path: path.name)
def test_what_is_read_first_reads_easily(path: Path) -> None:
    assert grade(open_text(markdown(path))) <= GRADE


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_is_too_long(path: Path) -> None:
    assert sum(map(len, sentences(open_text(markdown(path))))) <= WORDS


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_page_has_a_phrase_of_our_own_making(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").replace("\\n", " ").split()).lower()
    assert [phrase for phrase in BANNED if phrase in text] == []
