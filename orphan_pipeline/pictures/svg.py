"""A picture as SVG text, small enough to be embedded in metadata or a page. Shapes are made with the standard library's XML, so that no key
or prefix can break out of its text; what a picture shows belongs in the module beside this one that draws it."""

import base64
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, tostring

INK, QUIET, GROUND = "#1f2933", "#6b7785", "#ffffff"
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
WIDTH_OF_A_LETTER = 0.58
"""Of the font's size, on average: to cut a text that would not fit."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Coordinates are in pixels, from the top left corner. `title` is what is read out where the picture cannot be seen."""

    width: int
    height: int
    title: str
    root: Element = field(init=False)

    def __post_init__(self) -> None:
        size = {"width": str(self.width), "height": str(self.height), "viewBox": f"0 0 {self.width} {self.height}"}
        root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img", "font-family": FONT})
        SubElement(root, "title").text = _printable(self.title)
        object.__setattr__(self, "root", root)
        self.box(0, 0, self.width, self.height, GROUND)
        self.text(16, 26, self.title, size=15, weight="600")

    def box(self, x: float, y: float, width: float, height: float, colour: str, *, hint: str = "") -> None:
        """`hint` is shown when the pointer rests on it."""
        attributes = {"x": _n(x), "y": _n(y), "width": _n(width), "height": _n(height), "fill": colour}
        shape = SubElement(self.root, "rect", attributes)
        if hint:
            SubElement(shape, "title").text = _printable(hint)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 12,
        colour: str = INK,
        anchor: str = "start",
        weight: str = "400",
        room: float = 0,
    ) -> None:
        """`room`: the width that the text has, if it is to be cut."""
        most = int(room / (size * WIDTH_OF_A_LETTER)) if room else len(text)
        shown = text if len(text) <= most else text[: max(0, most - 1)] + "…"
        attributes = {"x": _n(x), "y": _n(y), "font-size": str(size), "fill": colour, "text-anchor": anchor, "font-weight": weight}
        SubElement(self.root, "text", attributes).text = _printable(shown)

    def markup(self) -> str:
        return tostring(self.root, encoding="unicode")

    def markdown(self) -> str:
        """An image that carries its own data, as Dagster's UI shows it in metadata."""
        data = base64.b64encode(self.markup().encode()).decode()
        return f"![{_plain(self.title)}](data:image/svg+xml;base64,{data})"


def amount_text(size: float) -> str:
    """Bytes as people read them; a GB is 2**30 bytes, as in a bill of AWS."""
    for unit in ("bytes", "KB", "MB", "GB", "TB", "PB"):
        if size < 1024 or unit == "PB":
            return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit is left above")


def _n(number: float) -> str:
    return f"{number:.1f}"


def _printable(text: str) -> str:
    """Keys hold anything; XML does not."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter not in "[]()!\\`*_<>\n")
