"""What botocore's own parser made of an answer, as a page: slow and always right."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa

from orphan_pipeline.inventory.columns import LISTED, VERSIONS
from orphan_pipeline.inventory.listing.page import BrokenPage, Kind, Page

NEEDED = ("Key", "Size", "LastModified", "ETag")
NEEDED_OF_A_VERSION = (*NEEDED, "VersionId", "IsLatest")
NEEDED_OF_A_MARKER = ("Key", "LastModified", "VersionId", "IsLatest")


def page_of(parsed: dict[str, Any], kind: Kind) -> Page:
    """Raises BrokenPage for an answer that lacks what every answer has."""
    if "IsTruncated" not in parsed:
        raise BrokenPage("the answer does not say whether the list goes on")
    encoded = parsed.get("EncodingType") == "url"

    def decode(text: str) -> str:
        return unquote_plus(text, errors="strict") if encoded else text

    try:
        page = Page(
            objects=_objects(parsed, decode) if kind is Kind.OBJECTS else _versions(parsed, decode),
            common_prefixes=tuple(decode(one["Prefix"]) for one in parsed.get("CommonPrefixes", [])),
            truncated=parsed["IsTruncated"],
            next_token=kind.next_token(parsed, decode),
            fast=False,
        )
    except UnicodeDecodeError as error:
        raise BrokenPage("a key is not UTF-8") from error
    found = page.objects.num_rows + len(page.common_prefixes)
    if (counted := parsed.get("KeyCount", found)) > found:  # fewer is no sign of loss: some stores do not count prefixes
        raise BrokenPage(f"the page counts {counted:,} keys and holds {found:,}")
    return page


def _objects(parsed: dict[str, Any], decode: Callable[[str], str]) -> pa.RecordBatch:
    contents = _having(parsed.get("Contents", []), NEEDED)
    return pa.RecordBatch.from_pylist([_object(one, decode) for one in contents], schema=LISTED)


def _versions(parsed: dict[str, Any], decode: Callable[[str], str]) -> pa.RecordBatch:
    """botocore gives versions and delete markers apart; they are put back into the order of their keys where both were in order."""
    versions = _having(parsed.get("Versions", []), NEEDED_OF_A_VERSION)
    markers = _having(parsed.get("DeleteMarkers", []), NEEDED_OF_A_MARKER)
    found = [[_version(one, decode, marker=marker) for one in some] for some, marker in ((versions, False), (markers, True))]
    rows = found[0] + found[1]
    if all(some == sorted(some, key=_key) for some in found):
        rows.sort(key=_key)
    return pa.RecordBatch.from_pylist(rows, schema=VERSIONS)


def _having(records: list[dict[str, Any]], needed: tuple[str, ...]) -> list[dict[str, Any]]:
    for one in records:
        missing = [field for field in needed if field not in one]
        if missing:
            raise BrokenPage(f"an object has no {missing[0]}")
    return records


def _object(one: dict[str, Any], decode: Callable[[str], str]) -> dict[str, Any]:
    return {
        "key": decode(one["Key"]),
        "size": one.get("Size", 0),
        "last_modified": one["LastModified"],
        "etag": one.get("ETag", "").strip('"'),
        "storage_class": one.get("StorageClass", "STANDARD"),
    }


def _version(one: dict[str, Any], decode: Callable[[str], str], *, marker: bool) -> dict[str, Any]:
    return {
        **_object(one, decode),
        "version_id": one["VersionId"],
        "is_latest": one["IsLatest"],
        "is_delete_marker": marker,
    }


def _key(row: dict[str, Any]) -> str:
    return str(row["key"])
