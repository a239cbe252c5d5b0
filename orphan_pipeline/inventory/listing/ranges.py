"""The pieces that a list is cut into, and where to cut. A piece is a prefix, or the keys of a prefix after one key and up to another, or
what lies in those folders of a prefix that are no pieces of their own; pieces never overlap, and together they are the bucket."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orphan_pipeline.inventory.listing.page import Token
from orphan_pipeline.inventory.listing.page_ends import PageEnds

AFTER_SLASH = "0"
"""The character after `/`: keys below `uploads/` come before `uploads0`."""

LAST = "\U0010ffff"
"""No legal key sorts after prefix + this character repeated; as a bound it is only ever compared, never sent."""

SURROGATES = range(0xD800, 0xE000)
LAST_ASCII = 0x7E
ALIKE = tuple((ord(first), ord(last)) for first, last in ("09", "AZ", "az"))
"""Where one digit stands, others do: counters and dates are cut at the first try."""


@dataclass(slots=True)
class Piece:
    """Keys below `prefix`, after `after`, up to and including `until` (None: to the end). With `levels`, `folders` below are pieces of
    their own, that many levels deep; where there are more (`has_more_folders`), what lies in the others is one piece with `besides`, the
    folders that are not meant. `position` is the last key that the store named, and `version` which of its versions; `last_folder` the last
    folder, `ends` what its pages ended with; `patience` how many pages it is left alone before it is cut again, `empty_after` a place after
    which no key was found when one was looked for; the other fields say how it went."""

    prefix: str = ""
    after: str = ""
    until: str | None = None
    levels: int = 0
    besides: frozenset[str] | None = None
    folders: set[str] = field(default_factory=set)
    last_folder: str | None = None
    has_more_folders: bool = False
    position: str = ""
    version: str | None = None
    token: Token | None = None
    ends: PageEnds = field(default_factory=PageEnds)
    pages: int = 0
    pages_since_cut: int = 0
    objects: int = 0
    first: str | None = None
    last: str | None = None
    beyond: str | None = None
    rises: bool = True
    empty_after: str | None = None
    being_cut: bool = False
    patience: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceFigures:
    """The cross-check of one piece: what was asked for, and what came. `beyond` is the first key that the store named after `until`;
    `besides` how many folders below the prefix were left to ranges of their own (where that was not all of them), `ranges` how many pieces
    were put together here; `rises`: in each, keys came in the order of their UTF-8 bytes."""

    prefix: str
    after: str
    until: str | None
    objects: int
    pages: int
    first: str | None
    last: str | None
    beyond: str | None
    besides: int = 0
    ranges: int = 1
    rises: bool = True


MOST_RANGES = 1000
"""As many are written down: a manifest must not grow with the bucket."""


def merged(pieces: Sequence[PieceFigures]) -> tuple[PieceFigures, ...]:
    """In order, and neighbours put together until there are few enough: their counts added, the first and the last key kept. Pieces of
    several prefixes become one of what their prefixes have in common."""
    ordered = sorted(pieces, key=lambda piece: (piece.prefix, piece.after))
    together = -(-len(ordered) // MOST_RANGES) or 1
    return tuple(_one(ordered[start : start + together]) for start in range(0, len(ordered), together))


def _one(pieces: Sequence[PieceFigures]) -> PieceFigures:
    if len(pieces) == 1:
        return pieces[0]
    one_prefix = len({piece.prefix for piece in pieces}) == 1
    seen = [key for piece in pieces for key in (piece.first, piece.last) if key is not None]
    return PieceFigures(
        prefix=commonprefix([piece.prefix for piece in pieces]),  # noqa: RUF071 (character by character is what is meant)
        after=pieces[0].after if one_prefix else "",
        until=pieces[-1].until if one_prefix else None,
        objects=sum(piece.objects for piece in pieces),
        pages=sum(piece.pages for piece in pieces),
        first=min(seen, default=None),
        last=max(seen, default=None),
        beyond=pieces[-1].beyond if one_prefix else None,
        ranges=sum(piece.ranges for piece in pieces),
        rises=all(piece.rises for piece in pieces),
    )


def in_other_folders(keys: Any, prefix: str, folders: Collection[str]) -> Any:
    """Of each key below the prefix, whether it lies in a folder below it, and in none of these."""
    steps = pc.split_pattern(pc.utf8_slice_codeunits(keys, len(prefix)), "/", max_splits=1)
    these = pa.array([folder[len(prefix) : -1] for folder in folders], pa.string())
    lengths: Any = pc.list_value_length(steps)
    return pc.and_not(pc.equal(lengths, pa.scalar(2, pa.int32())), pc.is_in(pc.list_element(steps, 0), value_set=these))


def cuts_around(prefixes: Sequence[str], *, within: str) -> list[str]:
    """Keys that cut off each of these prefixes from what lies before and behind it, where it lies below `within`."""
    below = [prefix for prefix in prefixes if prefix.startswith(within) and prefix != within]
    return sorted({cut for prefix in below for cut in (prefix, prefix.removesuffix("/") + AFTER_SLASH)})


def ladder(low: str, high: str | None, prefix: str, *, most: int) -> list[str]:
    """Where to cut: somewhere in the middle, and for when nothing lies after that, in the middle of what is left, and so on down."""
    rungs: list[str] = []
    while len(rungs) < most and (middle := between(low, high, prefix)) is not None:
        rungs.append(middle)
        high = middle
    return rungs


def between(low: str, high: str | None, prefix: str) -> str | None:
    """A string after `low` and before `high` (None: the end of the prefix) in the order of UTF-8 bytes, which is that of code points;
    None where there is no room worth having. It is somewhere in the middle: among digits where a digit stands, else ASCII first, since most
    keys are ASCII."""
    bound = prefix + LAST if high is None else high
    common = 0
    while common < min(len(low), len(bound)) and low[common] == bound[common]:
        common += 1
    if common == len(bound):
        return None
    left = ord(low[common]) if common < len(low) else 0x1F
    middle = _middle(left, ord(bound[common]))
    if middle is not None:
        return bound[:common] + chr(middle)
    if common >= len(low):
        return None
    deeper = low[: common + 1]
    left = ord(low[common + 1]) if common + 1 < len(low) else 0x1F
    middle = _middle(left, ord(LAST))
    return None if middle is None else deeper + chr(middle)


def _middle(left: int, right: int) -> int | None:
    """A code point strictly between, never a surrogate."""
    for first, last in ALIKE:
        if first <= left < last < right:
            return (left + last + 1) // 2
    if left < LAST_ASCII < right - 1:
        return LAST_ASCII
    middle = (left + right) // 2
    if middle in SURROGATES:
        middle = SURROGATES.start - 1 if left < SURROGATES.start - 1 else SURROGATES.stop
    return middle if left < middle < right else None
