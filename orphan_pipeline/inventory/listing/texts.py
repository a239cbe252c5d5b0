"""What the texts of a page mean: keys without their URL encoding, ETags without quotes. None where XML has something to say in them that
is not plain; then a parser that is always right is asked."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

PERCENT, ESCAPE = ord("%"), 3
NO_DIGIT = 0xFF
HEXADECIMAL = np.full(256, NO_DIGIT, np.uint8)
HEXADECIMAL[list(b"0123456789ABCDEF")] = range(16)
HEXADECIMAL[list(b"abcdef")] = range(10, 16)


def decoded_keys(keys: Any, *, encoded: bool) -> Any:
    """Keys as they are in the bucket, from a string array that was just made."""
    text = bytes_of(keys)
    if b"&" in text:
        return None
    if not encoded:
        return keys if b"\r" not in text else None  # XML makes a line feed of it
    if b"%" not in text:
        return keys if b"+" not in text else _array(_offsets(keys), text.replace(b"+", b" "))
    characters = np.frombuffer(text.replace(b"+", b" "), np.uint8)
    escapes = np.flatnonzero(characters == PERCENT)
    offsets = _offsets(keys)
    ends = offsets[np.searchsorted(offsets, escapes, side="right")]
    if np.any(escapes + ESCAPE > ends):
        return None
    high, low = HEXADECIMAL[characters[escapes + 1]], HEXADECIMAL[characters[escapes + 2]]
    if np.any(high == NO_DIGIT) or np.any(low == NO_DIGIT):
        return None
    plain = characters.copy()
    plain[escapes] = high * 16 + low
    kept = np.ones(len(plain), bool)
    kept[escapes + 1] = kept[escapes + 2] = False
    exact = _array(offsets - (ESCAPE - 1) * np.searchsorted(escapes, offsets).astype(np.int32), plain[kept].tobytes())
    try:
        exact.validate(full=True)
    except pa.ArrowInvalid:
        return None  # not UTF-8
    return exact


def unquoted(etags: Any) -> Any:
    """ETags without their quotes, however the quotes are written; None where anything else is escaped."""
    text = bytes_of(etags)
    for quote in ("&quot;", "&#34;"):  # the second is how Go writes it: SeaweedFS, MinIO
        if quote.encode() in text:
            etags = pc.replace_substring(etags, quote, '"')
    plain = pc.utf8_trim(etags, '"')
    return None if b"&" in bytes_of(plain) else plain


def bytes_of(texts: Any) -> bytes:
    """The texts of a column that was just made, one after another: to look for a byte in all of them at once is nearly free."""
    values = texts.buffers()[2]
    return b"" if values is None else bytes(values)[: _offsets(texts)[-1]]


def _offsets(texts: Any) -> "npt.NDArray[np.int32]":
    """Where each text begins, and where the last one ends."""
    if not len(texts):
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1)


def _array(offsets: "npt.NDArray[np.int32]", text: bytes) -> Any:
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, pa.py_buffer(offsets.data), pa.py_buffer(text)])
