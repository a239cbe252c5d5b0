"""Turns one ListObjectsV2 answer into Arrow columns, exactly or not at all.

The fast way never makes a Python object of a field: every `<` and `>` of the body becomes an offset, so that tags and texts are one
string array over the body itself, and columns are taken out of it by position. It believes a page only when every tag is a known one
and every object has each field once, in its own record; any other page goes to botocore's parser, which is slow and always right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, unquote_to_bytes

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from botocore.parsers import ResponseParserError, create_parser

from orphan_pipeline.inventory.columns import LISTED

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

END = b"</ListBucketResult>"
COLUMNS = ("Key", "Size", "LastModified", "ETag", "StorageClass")
PAGE_TAGS = (
    "Name",
    "Prefix",
    "KeyCount",
    "MaxKeys",
    "Delimiter",
    "EncodingType",
    "IsTruncated",
    "ContinuationToken",
    "NextContinuationToken",
    "StartAfter",
)
RECORD_TAGS = (
    "ChecksumAlgorithm",
    "ChecksumType",
    "Owner",
    "ID",
    "DisplayName",
    "RestoreStatus",
    "IsRestoreInProgress",
    "RestoreExpiryDate",
)
KNOWN = frozenset(
    form.format(tag)
    for tag in (*COLUMNS, *PAGE_TAGS, *RECORD_TAGS, "Contents", "CommonPrefixes", "ListBucketResult")
    for form in ("<{}>", "</{}>", "<{}/>", "<{} />")
) - {f"<{tag}{close}>" for tag in ("Contents", "CommonPrefixes", *COLUMNS) for close in ("/", " /")}
ROOTS = frozenset(
    f'<ListBucketResult xmlns="http://{place}/2006-03-01/">' for place in ("s3.amazonaws.com/doc", "doc.s3.amazonaws.com")
) | {'<ListBucketResult xmlns="http://doc.s3.amazonaws.com/2006-03-01">'}
DECLARATION = "<?xml "

NO_UTF8, BETWEEN_KEYS = b"\xff", "%FF"
"""A byte that stands in no key: many keys are decoded in one call, at a quarter of the cost, and taken apart at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer: its objects (schema `LISTED`), the prefixes below it when a delimiter was given, and where the list goes on."""

    objects: pa.RecordBatch
    common_prefixes: tuple[str, ...]
    truncated: bool
    next_token: str | None
    fast: bool


class BrokenPage(Exception):
    """The body is no whole ListObjectsV2 answer: cut off, or something else altogether."""


class PageParser:
    """Parses the answers of one store. Thread-safe; nearly all of the work is done with the interpreter's lock released."""

    def __init__(self, client: "S3Client") -> None:
        shape = client.meta.service_model.operation_model("ListObjectsV2").output_shape
        assert shape is not None, "ListObjectsV2 answers"
        self._shape = shape
        self._oracle = create_parser("rest-xml")

    def parse(self, body: bytes) -> Page:
        """Raises BrokenPage for a body that is not whole."""
        if not body.rstrip().endswith(END):
            raise BrokenPage(f"the answer ends after {len(body):,} bytes without {END.decode()}")
        return parse_fast(body) or self.parse_slowly(body)

    def parse_slowly(self, body: bytes) -> Page:
        """botocore's own parser: the oracle, and the way out for pages that the fast one is not certain of."""
        try:
            parsed = self._oracle.parse({"body": body, "headers": {}, "status_code": 200}, self._shape)
        except (ResponseParserError, ValueError, TypeError, AttributeError) as error:
            raise BrokenPage(f"the answer is no list of objects ({type(error).__name__})") from error
        if "IsTruncated" not in parsed:
            raise BrokenPage("the answer does not say whether the list goes on")
        encoded = parsed.get("EncodingType") == "url"

        def decode(text: str) -> str:
            return unquote_plus(text, errors="strict") if encoded else text

        contents = parsed.get("Contents", [])
        for one in contents:
            missing = [field for field in ("Key", "Size", "LastModified", "ETag") if field not in one]
            if missing:
                raise BrokenPage(f"an object has no {missing[0]}")
        try:
            return _slow_page(parsed, contents, decode)
        except UnicodeDecodeError as error:
            raise BrokenPage("a key is not UTF-8") from error


def _slow_page(parsed: dict[str, Any], contents: list[dict[str, Any]], decode: Callable[[str], str]) -> Page:
    objects = pa.RecordBatch.from_pydict(
        {
            "key": [decode(one["Key"]) for one in contents],
            "size": [one["Size"] for one in contents],
            "last_modified": [one["LastModified"] for one in contents],
            "etag": [one["ETag"].strip('"') for one in contents],
            "storage_class": [one.get("StorageClass", "STANDARD") for one in contents],
        },
        schema=LISTED,
    )
    return Page(
        objects=objects,
        common_prefixes=tuple(decode(one["Prefix"]) for one in parsed.get("CommonPrefixes", [])),
        truncated=parsed["IsTruncated"],
        next_token=parsed.get("NextContinuationToken"),
        fast=False,
    )


def parse_fast(body: bytes) -> Page | None:
    """The page, or None when anything about it is not exactly as expected."""
    elements = _elements(body)
    if elements is None:
        return None
    tags = elements.take(_indices(np.arange(1, len(elements), 2))).dictionary_encode()
    codes = tags.indices.to_numpy(zero_copy_only=False)
    code: dict[str, int] = {name: number for number, name in enumerate(tags.dictionary.to_pylist())}
    if not all(name in KNOWN or name in ROOTS or name.startswith(DECLARATION) for name in code):
        return None
    places = _Places(elements, codes, code)
    columns = _columns(places)
    return None if columns is None else _page(places, columns)


def _elements(body: bytes) -> Any:
    """Text, tag, text, tag, …: one string array whose values are the body itself. None where `<` and `>` do not alternate."""
    characters = np.frombuffer(body, np.uint8)
    opening, closing = np.flatnonzero(characters == ord("<")), np.flatnonzero(characters == ord(">"))
    if len(opening) != len(closing):
        return None
    offsets = np.empty(2 * len(opening) + 2, np.int32)
    offsets[0], offsets[-1] = 0, len(body)
    offsets[1:-1:2], offsets[2:-1:2] = opening, closing + 1
    if np.any(np.diff(offsets) < 0):
        return None
    array = pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(body)])
    if not body.isascii():
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return None  # not UTF-8
    return array


@dataclass(frozen=True, slots=True)
class _Places:
    """Tag number n is element 2n + 1, and its text is element 2n + 2."""

    elements: Any
    codes: "npt.NDArray[np.int32]"
    code: dict[str, int]

    def of(self, tag: str) -> "npt.NDArray[np.int64]":
        """Numbers of the tags of this name, ascending."""
        number = self.code.get(tag)
        return np.empty(0, np.int64) if number is None else np.flatnonzero(self.codes == number)

    def texts(self, name: str, numbers: "npt.NDArray[np.int64]") -> Any:
        """The texts behind these opening tags; None unless each is closed at once."""
        if np.any(self.codes[numbers + 1] != self.code.get(f"</{name}>", -1)):
            return None
        return self.elements.take(_indices(numbers * 2 + 2))

    def closed(self, name: str, after: int | None = None) -> bool:
        """Whether every opening tag has its closing one, and, where that is known, exactly so many tags later."""
        opening, closing = self.of(f"<{name}>"), self.of(f"</{name}>")
        if len(opening) != len(closing):
            return False
        return bool(np.all(closing > opening) if after is None else np.array_equal(closing, opening + after))

    def one(self, name: str) -> str | None:
        """The text of a tag that stands once on the page."""
        numbers = self.of(f"<{name}>")
        texts = self.texts(name, numbers) if len(numbers) == 1 else None
        return None if texts is None else str(texts[0].as_py())


def _indices(numbers: "npt.NDArray[np.int64]") -> Any:
    return pa.array(numbers, pa.int64())


def _columns(places: _Places) -> "dict[str, pa.Array[Any]] | None":
    records = places.of("<Contents>")
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        numbers = places.of(f"<{name}>")
        if name == "StorageClass" and not len(numbers):
            columns[name] = pa.array(["STANDARD"]).take(_indices(np.zeros(len(records), np.int64)))
            continue
        own = len(numbers) == len(records) and np.all(numbers > records) and np.all(numbers[:-1] < records[1:])
        texts = places.texts(name, numbers) if own else None
        if texts is None:
            return None
        columns[name] = texts
    return columns


def _page(places: _Places, columns: "dict[str, Any]") -> Page | None:
    encoded = places.one("EncodingType") == "url"
    prefixes = places.of("<CommonPrefixes>")
    below = places.texts("Prefix", prefixes + 1) if len(prefixes) else pa.array([], pa.string())
    if not places.closed("Contents") or not places.closed("CommonPrefixes", after=3):
        return None
    truncated, count = places.one("IsTruncated"), places.one("KeyCount")
    found = len(columns["Key"]) + len(prefixes)
    if below is None or truncated not in ("true", "false") or (count is not None and count != str(found)):
        return None
    if len(prefixes) and np.any(places.codes[prefixes + 1] != places.code.get("<Prefix>", -1)):
        return None
    keys, etags = _decoded(columns["Key"], encoded), _unquoted(columns["ETag"])
    decoded_below = _decoded(below, encoded)
    if keys is None or etags is None or decoded_below is None:
        return None
    if not _bytes_of(columns["Size"]).isdigit() and len(keys):
        return None
    if b"&" in _bytes_of(columns["StorageClass"]):
        return None
    try:
        sizes = pc.cast(columns["Size"], pa.int64())
        times = pc.cast(columns["LastModified"], pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:
        return None
    token = places.one("NextContinuationToken")
    return Page(
        objects=pa.RecordBatch.from_arrays([keys, sizes, times, etags, columns["StorageClass"]], schema=LISTED),
        common_prefixes=tuple(decoded_below.to_pylist()),
        truncated=truncated == "true",
        next_token=None if token is None else unescape(token),
        fast=True,
    )


def _decoded(keys: Any, encoded: bool) -> Any:
    """Keys as they are in the bucket; None where XML has something to say in them. Only keys that need it are touched one by one."""
    text = _bytes_of(keys)
    if b"&" in text:
        return None
    if not encoded:
        return keys if b"\r" not in text else None  # XML makes a line feed of it
    if b"%" not in text and b"+" not in text:
        return keys
    marked = pc.match_substring_regex(keys, "[%+]")
    encoded_keys = keys.filter(marked).to_pylist()
    plain = unquote_to_bytes(BETWEEN_KEYS.join(encoded_keys).replace("+", " ")).split(NO_UTF8)
    if len(plain) != len(encoded_keys):
        return None
    try:
        return pc.replace_with_mask(keys, marked, pa.array(plain, pa.binary()).cast(pa.string()))
    except pa.ArrowInvalid:
        return None  # not UTF-8


def _unquoted(etags: Any) -> Any:
    """ETags without their quotes, however the quotes are written; None where anything else is escaped."""
    text = _bytes_of(etags)
    for quote in ("&quot;", "&#34;"):  # the second is how Go writes it: SeaweedFS, MinIO
        if quote.encode() in text:
            etags = pc.replace_substring(etags, quote, '"')
    plain = pc.utf8_trim(etags, '"')
    return None if b"&" in _bytes_of(plain) else plain


def _bytes_of(texts: Any) -> bytes:
    """The texts of a column that was just made, one after another: to look for a byte in all of them at once is nearly free."""
    values = texts.buffers()[2]
    return b"" if values is None else bytes(values)
