"""Turns one answer of the store into Arrow columns, exactly or not at all.

The fast way makes no Python object of a field: the records are read all at once by their bytes (records.py), and what stands around them,
which is little, by the standard library's XML parser. It believes a page only when everything is as simple as expected; any
other page goes to botocore's parser (oracle.py), which is slow and always right.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orphan_pipeline.inventory.columns import LISTED, TIME, VERSIONS
from orphan_pipeline.inventory.listing.page import Kind, Page, Token
from orphan_pipeline.inventory.listing.records import Group, Places, read_records
from orphan_pipeline.inventory.listing.texts import bytes_of, decoded_keys

NEEDED = ("Key", "LastModified")
OF_OBJECTS = ("Size", "ETag")
OF_VERSIONS = ("VersionId", "IsLatest")
WANTED = (*NEEDED, *OF_OBJECTS, *OF_VERSIONS, "StorageClass")
HERE = "_"
"""Stands in for the records while the rest of the page is read: they must have stood directly below the root."""

_ENCODING = re.compile(rb"<\?xml[^>]*encoding=['\"](?!utf-8['\"])", re.IGNORECASE)


def parse_fast(body: bytes, kind: Kind = Kind.OBJECTS) -> Page | None:
    """The page, or None when anything about it is not exactly as expected."""
    openings = [f"<{record}>".encode() for record in kind.records]
    first = min((place for opening in openings if (place := body.find(opening)) >= 0), default=-1)
    groups: list[Group] | None = []
    rest = body
    if first >= 0:
        last = max(body.rfind(closing) + len(closing) for record in kind.records if (closing := f"</{record}>".encode()))
        rest = body[:first] + f"<{HERE}/>".encode() + body[last:]
        groups = read_records(body, first, last, openings=openings, wanted=WANTED) if last > first else None
    if groups is None or _ENCODING.match(rest) or not _is_utf8(body):
        return None
    around = _around(rest, kind, records=first >= 0)
    if around is None:
        return None
    objects = _objects(groups, kind, encoded=around.encoded)
    if objects is None or around.count not in (None, str(objects.num_rows + len(around.common_prefixes))):
        return None
    return Page(
        objects=objects, common_prefixes=around.common_prefixes, truncated=around.truncated, next_token=around.next_token, fast=True
    )


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Around:
    encoded: bool
    truncated: bool
    count: str | None
    common_prefixes: tuple[str, ...]
    next_token: Token | None


def _around(text: bytes, kind: Kind, *, records: bool) -> _Around | None:
    """What a page says of itself, from a page without its records."""
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    if name_of(root) != kind.root:
        return None
    said: dict[str, str] = {}
    prefixes: list[str | None] = []
    for child in root:
        name = name_of(child)
        if name == "CommonPrefixes":
            prefixes += [below.text for below in child] if [name_of(below) for below in child] == ["Prefix"] else [None]
        elif name in said or name in kind.records:  # one that is written otherwise than the rest
            return None
        else:
            said[name] = child.text or ""
    if (HERE in said) != records or None in prefixes or said.get("IsTruncated") not in ("true", "false"):
        return None
    encoded = said.get("EncodingType") == "url"

    def decoded(text: str) -> str:
        return unquote_plus(text, errors="strict") if encoded else text

    try:
        below = tuple(decoded(prefix) for prefix in prefixes if prefix is not None)
        token = kind.next_token(said, decoded)
    except UnicodeDecodeError:
        return None
    return _Around(encoded, said["IsTruncated"] == "true", said.get("KeyCount"), below, token)


def name_of(element: "ElementTree.Element") -> str:
    return element.tag.rpartition("}")[2]


def _objects(groups: list[Group], kind: Kind, *, encoded: bool) -> pa.RecordBatch | None:
    parts = [_columns(group, kind, encoded=encoded) for group in groups]
    batches = [part for part in parts if part is not None]
    if len(batches) < len(parts):
        return None
    if len(batches) == 1:
        return batches[0]
    schema = VERSIONS if kind is Kind.VERSIONS else LISTED
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=schema)
    places: Places = np.argsort(np.concatenate([group.rows for group in groups if group.rows is not None]))
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0].take(places)


def _columns(group: Group, kind: Kind, *, encoded: bool) -> pa.RecordBatch | None:
    """One group of records as a batch. A delete marker has neither size nor ETag."""
    marker = group.record == "DeleteMarker"
    needed = (*NEEDED, *(() if marker else OF_OBJECTS), *(OF_VERSIONS if kind is Kind.VERSIONS else ()))
    if not all(name in group.texts for name in needed):
        return None
    texts = group.texts
    keys = decoded_keys(texts["Key"], encoded=encoded)
    etags = _all("", group) if marker else texts["ETag"]
    classes = texts["StorageClass"] if "StorageClass" in texts else _all("STANDARD", group)
    if keys is None or _has(b'"&', etags) or _has(b"&", classes) or (not marker and not bytes_of(texts["Size"]).isdigit()):
        return None
    try:
        sizes = pa.array(np.zeros(group.count, np.int64)) if marker else pc.cast(texts["Size"], pa.int64())
        columns = [keys, sizes, pc.cast(texts["LastModified"], TIME), etags, classes]
    except pa.ArrowInvalid:
        return None
    if kind is Kind.OBJECTS:
        return pa.RecordBatch.from_arrays(columns, schema=LISTED)
    latest = pc.equal(texts["IsLatest"], pa.scalar("true"))
    clear = pc.or_(latest, pc.equal(texts["IsLatest"], pa.scalar("false")))
    if _has(b"&", texts["VersionId"]) or not pc.all(clear).as_py():
        return None
    return pa.RecordBatch.from_arrays([*columns, texts["VersionId"], latest, pa.array(np.full(group.count, marker))], schema=VERSIONS)


def _has(characters: bytes, texts: Any) -> bool:
    found = bytes_of(texts)
    return any(character in found for character in characters)


def _all(value: str, group: Group) -> Any:
    return pa.repeat(pa.scalar(value), group.count)
