"""Where the reclaimable bytes lie: a rectangle for each prefix, as large as its share, the redder the more of the prefix is orphaned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orphan_pipeline.pictures.svg import GROUND, INK, QUIET, Picture, amount_text

WIDTH, HEIGHT, TOP, MARGIN, GAP = 760, 420, 40, 16, 2
MOST_RECTANGLES = 40
"""What comes after the largest ones is one rectangle: nobody reads a thousand of them."""
LEAST = 5_000
"""No rectangle is drawn smaller than this part of the whole."""
FEW, ALL = (0xE8, 0xB0, 0x8D), (0x8F, 0x1D, 0x14)

DARK_FROM = 0.5
"""On a colour as dark as this share's, white is read better than ink."""


@dataclass(frozen=True, slots=True)
class Part:
    """`share`: how much of what the prefix holds is orphaned, from 0 to 1."""

    name: str
    bytes: int
    share: float


@dataclass(frozen=True, slots=True)
class Rectangle:
    x: float
    y: float
    width: float
    height: float


def treemap(title: str, parts: Sequence[Part]) -> Picture:
    """Parts of no size are left out."""
    picture = Picture(WIDTH, HEIGHT, title)
    shown = _largest([part for part in parts if part.bytes > 0])
    if not shown:
        picture.text(MARGIN, TOP + 20, "nothing", colour=QUIET)
        return picture
    whole = Rectangle(MARGIN, TOP, WIDTH - 2 * MARGIN, HEIGHT - TOP - MARGIN)
    least = sum(part.bytes for part in shown) / LEAST  # a hair is still seen, and what is next to nothing does not upset the arithmetic
    for part, place in zip(shown, squarified([max(part.bytes, least) for part in shown], whole), strict=True):
        told = f"{amount_text(part.bytes)}, {part.share:.0%} of it orphaned"
        picture.box(
            place.x, place.y, max(0.5, place.width - 2), max(0.5, place.height - 2), _colour(part.share), hint=f"{part.name}: {told}"
        )
        ink = GROUND if part.share > DARK_FROM else INK
        if place.width > 60 and place.height > 22:
            picture.text(place.x + 6, place.y + 16, part.name, colour=ink, weight="600", room=place.width - 12)
        if place.width > 60 and place.height > 40:
            picture.text(place.x + 6, place.y + 32, told, size=11, colour=ink, room=place.width - 12)
    return picture


def squarified(sizes: Sequence[float], whole: Rectangle) -> Iterator[Rectangle]:
    """A rectangle for each size, in the order given (largest first reads best), as near to squares as can be had by filling the shorter
    side row by row (Bruls, Huizing and van Wijk, Squarified Treemaps, 2000). Sizes are above 0; together they fill `whole`."""
    scale = whole.width * whole.height / sum(sizes)
    left = [size * scale for size in sizes]
    while left:
        side = min(whole.width, whole.height)
        count = 1
        while count < len(left) and _worst(left[: count + 1], side) <= _worst(left[:count], side):
            count += 1
        row, left = left[:count], left[count:]
        depth = sum(row) / side
        at = 0.0
        for area in row:
            length = area / depth
            if whole.width >= whole.height:
                yield Rectangle(whole.x, whole.y + at, depth, length)
            else:
                yield Rectangle(whole.x + at, whole.y, length, depth)
            at += length
        if whole.width >= whole.height:
            whole = Rectangle(whole.x + depth, whole.y, whole.width - depth, whole.height)
        else:
            whole = Rectangle(whole.x, whole.y + depth, whole.width, whole.height - depth)


def parts_of(amounts: Mapping[str, tuple[int, int]]) -> list[Part]:
    """By prefix: reclaimable bytes, and the bytes of all its objects."""
    return [Part(name, size, size / whole if whole else 0.0) for name, (size, whole) in amounts.items()]


def _worst(row: Sequence[float], side: float) -> float:
    """The ratio of sides of the row's flattest rectangle."""
    depth = sum(row) / side
    return max(max(depth / (area / depth), (area / depth) / depth) for area in row)


def _largest(parts: list[Part]) -> list[Part]:
    ordered = sorted(parts, key=lambda part: part.bytes, reverse=True)
    if len(ordered) <= MOST_RECTANGLES:
        return ordered
    rest = ordered[MOST_RECTANGLES - 1 :]
    size = sum(part.bytes for part in rest)
    share = sum(part.bytes * part.share for part in rest) / size
    return [*ordered[: MOST_RECTANGLES - 1], Part(f"{len(rest):,} more prefixes", size, share)]


def _colour(share: float) -> str:
    mixed = (round(few + (all_ - few) * min(1.0, share)) for few, all_ in zip(FEW, ALL, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
