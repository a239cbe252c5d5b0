"""Reads the cells of a window: JSON arrays of strings, one a line, as PostgreSQL writes jsonb, and the ids of their rows.

    ["uploads/a.jpg", "uploads/b.jpg"]
    []

Without a backslash in it, such a text is cut at its quotes, which stand around strings and nowhere else; what lies between the strings is
then as long as brackets and commas are, or the text holds something else. Whatever is not so is read line by line, slowly.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orphan_pipeline.references.documents.closing import CELLS_APART, IDS_APART, OPEN_MARK, PROBLEM_MARK
from orphan_pipeline.references.transport.extracted import RAW, BadRow, Extracted

QUOTE, BRACKET, SLASH, LINE = b'"'[0], b"["[0], b"/"[0], CELLS_APART.encode()[0]


Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
"""How many values each row gives."""


class NotAllKeys(Exception):
    """An array holds something that is no key, a document did not close, or an id cannot be told from the next: to be asked otherwise."""


def read_cells(cells: bytes, ids: bytes, rows: int) -> Extracted:
    """The values of a window of `rows` rows. Raises BadRow for the first cell that is a problem, NotAllKeys, and UnicodeDecodeError."""
    if not cells.isascii():
        cells.decode()
    row_ids = pc.split_pattern(pa.array([ids.decode()], pa.large_string()), IDS_APART).flatten().cast(pa.string())
    if len(row_ids) != rows:
        raise NotAllKeys  # what stands between ids is part of one
    quick = None if b"\\" in cells else _quickly(cells, rows)
    raw, counts = quick if quick is not None else _line_by_line(cells, row_ids)
    values = pa.Table.from_arrays([row_ids.take(np.repeat(np.arange(rows, dtype=np.int32), counts)), raw], schema=RAW)
    return Extracted(
        values=values,
        rows=rows,
        without_key=int(np.count_nonzero(counts == 0)),
        received=len(cells) + len(ids),
        plain=not _two_in_a_row(np.frombuffer(cells, np.uint8), SLASH),
    )


def _two_in_a_row(text: Bytes, byte: int) -> bool:
    found = text == byte
    return bool(np.any(found[1:] & found[:-1]))


def _quickly(cells: bytes, rows: int) -> "tuple[pa.Array[Any], Counts] | None":
    """The strings, and how many each line has. None when the text is not only lines of arrays of strings that are not empty."""
    text = np.frombuffer(cells, np.uint8)
    quotes = np.flatnonzero(text == QUOTE)
    lines = np.flatnonzero(text == LINE)
    if len(quotes) % 2 or len(lines) != rows - 1 or text[0] != BRACKET or not np.all(text[lines + 1] == BRACKET):
        return None
    starts, ends = quotes[0::2] + 1, quotes[1::2]
    counts = np.diff(np.concatenate(([0], np.searchsorted(starts, lines), [len(starts)])))
    # Two quotes a string, a comma and a blank between two, two brackets a line, a line's end between two.
    between = 4 * len(starts) + 2 * int(np.count_nonzero(counts == 0)) + len(lines)
    if len(cells) != int(np.sum(ends - starts)) + between or np.any(starts == ends):
        return None
    if not len(starts):
        return pa.array([], pa.string()), counts
    # Strings and what lies between them, turn by turn, over the same bytes; every other one is then a value.
    offsets = np.empty(len(quotes), np.int32)
    offsets[0::2], offsets[1::2] = starts, ends
    turns = pa.StringArray.from_buffers(len(quotes) - 1, pa.py_buffer(offsets.data), pa.py_buffer(cells))
    return turns.take(np.arange(0, len(quotes) - 1, 2, dtype=np.int32)), counts


def _line_by_line(cells: bytes, row_ids: "pa.Array[Any]") -> "tuple[pa.Array[Any], Counts]":
    values: list[str] = []
    counts = []
    for n, line in enumerate(cells.decode().split(CELLS_APART)):
        if line.startswith(PROBLEM_MARK):
            raise BadRow(row_ids[n].as_py(), line.removeprefix(PROBLEM_MARK))
        if line == OPEN_MARK:
            raise NotAllKeys
        found = json.loads(line)
        if not all(isinstance(value, str) and value for value in found):
            raise NotAllKeys
        values += found
        counts.append(len(found))
    return pa.array(values, pa.string()), np.array(counts, np.int64)
