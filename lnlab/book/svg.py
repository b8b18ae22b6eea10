"""SVG as small as it can be without a visible change: what Matplotlib writes, at a third of its size.

Coordinates have one decimal (a tenth of a point is a seventh of a pixel), paths are relative, styles that repeat become
classes, points of a cloud share one style, and pictures inside have a palette. Classes are named within the id of the
figure, so that several figures may stand in one HTML page.
"""

import base64
import collections
import io
import re
import zlib
from collections.abc import Iterable

from PIL import Image

_NUMBER = r"-?\d*\.?\d+(?:e-?\d+)?"
_STEP = re.compile(rf"([MLCQZz])((?:\s*{_NUMBER})*)")
FEW = 8  # points that are no cloud
_COLOURS = 64  # of a picture inside; thin lines in two colours need no more


def compact(text: str) -> str:
    """The same drawing in fewer bytes; what is compact already stays as it is."""
    if "<metadata>" not in text:
        return text
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(?<= d=")[^"]*', lambda path: _relative(path[0]), text)
    text = re.sub(r'(?<=base64,)[^"]*', lambda picture: _with_palette(picture[0]), text)
    text = text.replace("xlink:href", "href").replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    text = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", text)
    text = re.sub(r'(?<= )(x|y)="(-?[\d.]+)"', lambda place: f'{place[1]}="{_short(float(place[2]))}"', text)
    text = re.sub(r"(?<=rotate\()[^)]*", lambda turn: " ".join(_short(float(n)) for n in turn[0].split()), text)
    text = re.sub(r"(?<=: )#([\da-f])\1([\da-f])\2([\da-f])\3", r"#\1\2\3", text)
    used = set(re.findall(r'(?:href="|url\()#(\w+)', text))
    text = re.sub(r' id="(\w+)"', lambda mark: mark[0] if mark[1] in used else "", text)
    text = re.sub(r">\s+<", "><", text).strip()
    text = re.sub(r"<g( clip-path=[^>]*)>((?:<use [^>]*/>)+)</g>", _cloud, text)
    while text != (text := re.sub(r"<(g|defs)></\1>|<g>(<(?:path|use|text|image)[^>]*/>)</g>", r"\2", text)):
        pass
    return _with_classes(text) + "\n"


def _short(number: float) -> str:
    """One decimal at most, without zeros that say nothing."""
    return re.sub(r"^(-?)0(?=\.)", r"\1", f"{number:.1f}".removesuffix(".0")).replace("-0", "0") or "0"


def _relative(path: str, *, every: bool = False) -> str:
    """A path of moves, lines and curves with relative coordinates, in tenths so that no rounding adds up.

    A step that no pixel shows is left out, unless `every` point counts.
    """
    told, here, last = [], (0, 0), ""
    for command, numbers in _STEP.findall(path):
        if command in "zZ":
            told.append("z")
            last = ""
            continue
        tenths = [round(10 * float(each)) for each in re.findall(_NUMBER, numbers)]
        points = list(zip(tenths[::2], tenths[1::2], strict=True))
        if points == [here] and last == "l" and not every:
            continue
        if command == "M":
            told.append(f"M{_joined(points[0])}")
            last = "m"
        else:
            steps = [part - start for point in points for part, start in zip(point, here, strict=True)]
            again, last = last == command.lower(), command.lower()
            told.append(_joined(steps, follows=True) if again else last + _joined(steps))
        here = points[-1]
    return "".join(told)


def _joined(tenths: Iterable[int], *, follows: bool = False) -> str:
    words = [_short(each / 10) for each in tenths]
    text = words[0] + "".join(word if word.startswith("-") else f" {word}" for word in words[1:])
    return f" {text}" if follows and not text.startswith("-") else text


def _with_palette(encoded: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    buffer = io.BytesIO()
    picture.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _with_classes(text: str) -> str:
    """Styles that repeat as classes."""
    name = f"s{zlib.crc32(text.encode()):08x}"
    often = [style for style, times in collections.Counter(re.findall(r'style="([^"]*)"', text)).items() if times > 1]
    rules = []
    for number, style in enumerate(often):
        text = text.replace(f'style="{style}"', f'class="c{number}"')
        rules.append(f"#{name} .c{number}{{{style}}}")
    text = text.replace("<svg ", f'<svg id="{name}" ', 1)
    return re.sub(r"\*\{[^}]*\}", lambda old: f"#{name} {old[0]}{''.join(rules)}", text, count=1)


def _cloud(group: re.Match[str]) -> str:
    """Many points of one shape and style: a path without a line, which has the shape at each of its corners."""
    uses = re.findall(r'<use href="#(\w+)" x="([^"]*)" y="([^"]*)"( style="[^"]*")/>', group[2])
    kinds = {(shape, style) for shape, _, _, style in uses}
    if len(uses) < FEW or len(kinds) != 1 or len(uses) != group[2].count("<use"):
        return group[0]
    ((shape, style),) = kinds
    path = _relative("M" + "L".join(f"{x} {y} " for _, x, y, _ in uses), every=True)
    name = f"{shape}-{zlib.crc32((path + style).encode()):x}"  # the shape itself is used elsewhere too
    mark = f'<marker id="{name}" markerUnits="userSpaceOnUse" overflow="visible"{style}><use href="#{shape}"/></marker>'
    return f'{mark}<path d="{path}"{group[1]} style="fill: none; marker: url(#{name})"/>'
