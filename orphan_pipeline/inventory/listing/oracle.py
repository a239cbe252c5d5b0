"""botocore's own parser, and what it made of an answer as a page: slow and always right."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import pyarrow as pa
from botocore.parsers import ResponseParserError, create_parser

from orphan_pipeline.inventory.columns import LISTED, VERSIONS
from orphan_pipeline.inventory.listing.page import BrokenPage, Kind, Page
from orphan_pipeline.inventory.listing.pages import name_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NEEDED = ("Key", "Size", "LastModified", "ETag")
NEEDED_OF_A_VERSION = (*NEEDED, "VersionId", "IsLatest")
NEEDED_OF_A_MARKER = ("Key", "LastModified", "VersionId", "IsLatest")


class Oracle:
    """The judge of the fast parser in tests, and the way out for pages that it is not certain of. Thread-safe."""

    def __init__(self, client: "S3Client", kind: Kind = Kind.OBJECTS) -> None:
        shape = client.meta.service_model.operation_model(kind.operation).output_shape
        assert shape is not None, "a list answers"
        self._kind, self._shape = kind, shape
        self._parser = create_parser("rest-xml")
        self._end = f"</{kind.root}>".encode()

    def parse(self, body: bytes) -> Page:
        """Raises BrokenPage for a body that is not whole."""
        if not body.rstrip().endswith(self._end):
            raise BrokenPage(f"the answer ends after {len(body):,} bytes without {self._end.decode()}")
        try:
            parsed = self._parser.parse({"body": body, "headers": {}, "status_code": 200}, self._shape)
        except (ResponseParserError, ValueError, TypeError, AttributeError) as error:
            raise BrokenPage(f"the answer is no list of objects ({type(error).__name__})") from error
        return page_of(parsed, self._kind, body)


def page_of(parsed: dict[str, Any], kind: Kind, body: bytes) -> Page:
    """Raises BrokenPage for an answer that lacks what every answer has."""
    if "IsTruncated" not in parsed:
        raise BrokenPage("the answer does not say whether the list goes on")
    encoded = parsed.get("EncodingType") == "url"

    def decode(text: str) -> str:
        return unquote_plus(text, errors="strict") if encoded else text

    try:
        page = Page(
            objects=_objects(parsed, decode) if kind is Kind.OBJECTS else _versions(parsed, decode, body),
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


def _versions(parsed: dict[str, Any], decode: Callable[[str], str], body: bytes) -> pa.RecordBatch:
    """botocore gives versions and delete markers apart; they are put back into the order in which they came."""
    versions = _having(parsed.get("Versions", []), NEEDED_OF_A_VERSION)
    markers = _having(parsed.get("DeleteMarkers", []), NEEDED_OF_A_MARKER)
    came = [name for child in ElementTree.fromstring(body) if (name := name_of(child)) in Kind.VERSIONS.records]
    if (came.count("Version"), came.count("DeleteMarker")) != (len(versions), len(markers)):
        raise BrokenPage("the page cannot be read in the order of its records")
    left = {"Version": iter(versions), "DeleteMarker": iter(markers)}
    rows = [_version(next(left[name]), decode, marker=name == "DeleteMarker") for name in came]
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
