"""What the texts of a page mean: keys without their URL encoding. None where XML has something to say in them that is not plain; then a
parser that is always right is asked."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PERCENT, ESCAPE = ord("%"), 3
NO_DIGIT = GONE = 0xFF
"""As a byte of a text, what UTF-8 never has."""

HEXADECIMAL = np.full(256, NO_DIGIT, np.uint8)
HEXADECIMAL[list(b"0123456789ABCDEF")] = range(16)
HEXADECIMAL[list(b"abcdef")] = range(10, 16)


def decoded_keys(keys: Any, *, encoded: bool) -> Any:
    """Keys as they are in the bucket, from a string array that was just made."""
    text = bytes_of(keys)
    if b"&" in text or bytes([GONE]) in text:
        return None
    if not encoded:
        return keys if b"\r" not in text else None  # XML makes a line feed of it
    if b"%" not in text:
        return keys if b"+" not in text else _array(_offsets(keys), text.replace(b"+", b" "))
    characters = np.frombuffer(bytearray(text.replace(b"+", b" ")), np.uint8)
    escapes = np.flatnonzero(characters == PERCENT)
    offsets = _offsets(keys)
    before = np.searchsorted(escapes, offsets)
    if np.any(np.append(0, escapes + ESCAPE)[before] > offsets):
        return None
    high, low = HEXADECIMAL[characters[escapes + 1]], HEXADECIMAL[characters[escapes + 2]]
    meant = high * 16 + low
    if np.any(high == NO_DIGIT) or np.any(low == NO_DIGIT) or np.any(meant == GONE):
        return None
    characters[escapes], characters[escapes + 1], characters[escapes + 2] = meant, GONE, GONE
    shorter = (ESCAPE - 1) * before
    exact = _array((offsets - shorter).astype(np.int32), characters.tobytes().replace(bytes([GONE]), b""))
    try:
        exact.validate(full=True)
    except pa.ArrowInvalid:
        return None  # not UTF-8
    return exact


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
