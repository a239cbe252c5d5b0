"""Takes the fields of all records of an answer (`<Contents>…</Contents>` and the like) out of its bytes at once.

No Python object is made of a field. Records of one page are alike but for the texts of their fields, so the first one is taken for a
template: its tags must be well-formed and simple, and every other record must have the very same bytes between its texts. What differs is
compared with a template of its own; what is like none of a few templates is not read here (None), but by a parser that is always right.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Places = npt.NDArray[np.int64]

MOST_TEMPLATES = 12
LONGEST_TEMPLATE = 16_384
_TAG = re.compile(rb"<([^<>]*)>([^<]*)")
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9]*")
QUOTED = "ETag"
_QUOTES = re.compile(rb"(&quot;|&#34;|\").*\1", re.DOTALL)  # the second is how Go writes it: SeaweedFS, MinIO
WORD = 8


@dataclass(frozen=True, slots=True)
class Template:
    """`runs` are the bytes between the texts of a record; run number n begins `lead[n]` bytes before tag `first[n]` of the record and holds
    tag `last[n]`, which lies `reach[n]` bytes after that one. The text of the field `name` comes after run `fields[name]`. The quotes
    around an ETag belong to the runs."""

    runs: tuple[bytes, ...]
    lead: Places
    first: Places
    last: Places
    reach: Places
    lengths: Places
    fields: dict[str, int]
    record: str


@dataclass(frozen=True, slots=True)
class Group:
    """`count` records of one template: their tag, their numbers on the page (None: all of them, in their order), and the texts of those
    wanted fields that they have, as string arrays."""

    record: str
    rows: Places | None
    texts: dict[str, Any]
    count: int


def read_records(body: bytes, first: int, last: int, *, openings: Sequence[bytes], wanted: Sequence[str]) -> list[Group] | None:
    """The records in `body[first:last]`, which begins with one of the tags `openings` and ends with a closing tag. `wanted` are the names
    of the fields whose texts are given, as string arrays. None when anything there is not as simple as expected."""
    opens = np.flatnonzero(np.frombuffer(body, np.uint8, last - first, first) == ord("<")) + first
    end_of_first = body.find(b"</" + body[first + 1 : body.find(b">", first) + 1], first, last)
    if end_of_first < 0:
        return None
    tags = body.count(b"<", first, end_of_first) + 1
    if len(opens) % tags == 0:  # all records have as many tags: nearly always
        places = opens.reshape(-1, tags)
        template = _template_of(body, places[0], wanted)
        if template is None:
            return None
        pieces = _pieces(body, places, np.append(places[1:, 0], last), template)
        if not isinstance(pieces, np.ndarray):
            return [_group(pieces, template, len(places), None)]
    return _read_groups(body, opens, last, openings, wanted)


def _read_groups(body: bytes, opens: Places, last: int, openings: Sequence[bytes], wanted: Sequence[str]) -> list[Group] | None:
    """Records of several forms: one group for each."""
    beginnings = np.flatnonzero(_begins(body, opens, openings))
    if not len(beginnings) or beginnings[0] != 0:
        return None
    counts = np.diff(np.append(beginnings, len(opens)))
    following = np.append(opens[beginnings[1:]], last)
    left = np.arange(len(beginnings))
    groups: list[Group] = []
    while len(left):
        if len(groups) == MOST_TEMPLATES:
            return None
        tags = int(counts[left[0]])
        rows = left[counts[left] == tags]
        places = opens[beginnings[rows, None] + np.arange(tags)]
        template = _template_of(body, places[0], wanted)
        if template is None:
            return None
        pieces = _pieces(body, places, following[rows], template)
        if isinstance(pieces, np.ndarray):
            places, rows = places[pieces], rows[pieces]
            pieces = _pieces(body, places, following[rows], template) if len(rows) else pieces
        if isinstance(pieces, np.ndarray):
            return None
        groups.append(_group(pieces, template, len(rows), rows))
        left = np.setdiff1d(left, rows, assume_unique=True)
    return groups


def _group(pieces: Any, template: Template, count: int, rows: Places | None) -> Group:
    width = 2 * len(template.runs)
    texts = {name: pieces.take(_every(width, 2 * run + 1, len(pieces))) for name, run in template.fields.items()}
    return Group(template.record, rows, texts, count)


def _pieces(body: bytes, places: Places, following: Places, template: Template) -> Any:
    """Run, text, run, text, …: one string array whose values are the body itself. Where not all records are like the template, an array of
    truth instead: which of them are."""
    begins = places[:, template.first]
    borders = np.empty((len(places), 2 * len(template.runs)), np.int32)
    np.subtract(begins, template.lead, out=borders[:, 0::2], casting="same_kind")
    np.add(borders[:, 0::2], template.lengths, out=borders[:, 1::2], casting="same_kind")
    reach, flat = places[:, template.last] - begins, borders.ravel()
    fit = (reach == template.reach).all() and (flat[1:] >= flat[:-1]).all() and (borders[:, -1] <= following).all()
    if not fit:
        able = (reach == template.reach).all(axis=1) & (borders[:, 1:] >= borders[:, :-1]).all(axis=1) & (borders[:, -1] <= following)
        able[able] = _runs_alike(_array(body, borders[able]), template, int(able.sum()))
        return able
    pieces = _array(body, borders)
    alike = _runs_alike(pieces, template, len(places))
    if not alike.all():
        return alike
    blank = _blank(body, borders[:, -1], following)
    return pieces if blank.all() else blank


def _runs_alike(pieces: Any, template: Template, records: int) -> npt.NDArray[np.bool_]:
    runs = pieces.take(_every(2, 0, len(pieces)))
    expected = _repeated(template.runs, records)
    if runs.equals(expected):
        return np.ones(records, bool)
    equal = pc.equal(runs, expected).to_numpy(zero_copy_only=False).reshape(records, -1)
    alike: npt.NDArray[np.bool_] = equal.all(axis=1)
    return alike


def _array(body: bytes, borders: npt.NDArray[np.int32]) -> Any:
    offsets = np.append(borders.ravel(), borders[-1:, -1:])
    if not len(borders):
        return pa.array([], pa.string())
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, pa.py_buffer(offsets.data), pa.py_buffer(body)])


def _blank(body: bytes, ends: npt.NDArray[np.int32], following: Places) -> npt.NDArray[np.bool_]:
    """Whether nothing but white space stands between each record and what follows it."""
    blank: npt.NDArray[np.bool_] = np.equal(ends, following)
    for number in np.flatnonzero(~blank):
        blank[number] = not body[ends[number] : following[number]].strip()
    return blank


def _begins(body: bytes, opens: Places, openings: Sequence[bytes]) -> npt.NDArray[np.bool_]:
    """Which tags are one of `openings` (each of them longer than a word): both ends of a tag are compared, a word each."""
    words = np.ndarray(len(body) - WORD + 1, "<u8", body, strides=(1,))
    found = np.zeros(len(opens), bool)
    head = words[opens]
    for opening in openings:
        tail_at = np.minimum(opens + len(opening) - WORD, len(words) - 1)
        found |= (head == _word(opening[:WORD])) & (words[tail_at] == _word(opening[-WORD:]))
    return found


def _word(eight: bytes) -> int:
    return int.from_bytes(eight, "little")


def _template_of(body: bytes, places: Places, wanted: Sequence[str]) -> Template | None:
    end = body.find(b">", places[-1]) + 1
    if end == 0 or end - places[0] > LONGEST_TEMPLATE:
        return None
    parts = _TAG.findall(body[places[0] : end])
    if len(parts) != len(places) or sum(len(name) + len(text) + 2 for name, text in parts) != end - places[0]:
        return None
    # Texts of leaves are what varies; the rest decides the template.
    leaf = [b"/" + name == after for (name, _), (after, _) in pairwise(parts)] + [False]
    form = tuple((name, _quote(name, text) if is_leaf else text, is_leaf) for (name, text), is_leaf in zip(parts, leaf, strict=True))
    return _compiled(form, tuple(wanted))


def _quote(name: bytes, text: bytes) -> bytes:
    """How the quotes around this text are written, where it has some that are not part of it."""
    quoted = _QUOTES.fullmatch(text) if name == QUOTED.encode() else None
    return quoted.group(1) if quoted else b""


@lru_cache(maxsize=256)
def _compiled(form: tuple[tuple[bytes, bytes, bool], ...], wanted: tuple[str, ...]) -> Template | None:
    """Of a record's tags, each with what follows it: a text that is the same in all records, or of a leaf the quotes around its text. None
    unless the tags are well-formed and plain (no attribute, comment or CDATA), and no wanted field stands there twice."""
    open_tags: list[bytes] = []
    fields: dict[str, int] = {}
    runs: list[bytes] = [b""]
    lead, first, last, reach = [0], [0], [0], [0]
    for number, (name, text, is_leaf) in enumerate(form):
        reach[-1], last[-1] = len(runs[-1]) - lead[-1], number
        runs[-1] += b"<" + name + b">" + text
        if name.startswith(b"/"):
            if not open_tags or open_tags.pop() != name[1:]:
                return None
        elif name.endswith(b"/"):
            if not _NAME.fullmatch(name[:-1]) or name[:-1].decode() in wanted:
                return None
        elif not _NAME.fullmatch(name):
            return None
        else:
            open_tags.append(name)
        if not open_tags and number != len(form) - 1:
            return None
        if is_leaf:
            if len(open_tags) == 2 and (field := name.decode()) in wanted:
                if field in fields:
                    return None
                fields[field] = len(runs) - 1
            runs.append(text)
            lead.append(len(text))
            first.append(number + 1)
            last.append(number + 1)
            reach.append(0)
        elif text.strip():
            return None
        elif len(open_tags) == 2 and not name.startswith(b"/") and name.decode() in wanted:
            return None  # a wanted field that holds tags
    if open_tags:
        return None
    return Template(
        runs=tuple(runs),
        lead=np.array(lead),
        first=np.array(first),
        last=np.array(last),
        reach=np.array(reach),
        lengths=np.array([len(run) for run in runs]),
        fields=fields,
        record=form[0][0].decode(),
    )


@lru_cache(maxsize=8)
def _repeated(runs: tuple[bytes, ...], records: int) -> Any:
    return pa.array([*runs] * records, pa.binary()).view(pa.string())


@lru_cache(maxsize=64)
def _every(step: int, first: int, end: int) -> Any:
    return pa.array(np.arange(first, end, step), pa.int64())
