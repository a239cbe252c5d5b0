"""The versions that a quickened client lists of a real store are what botocore lists of it, and read here."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.parsers import BaseXMLResponseParser
from deletion_helpers import client_of

from orphan_pipeline.deletion.wire.quickened import quickened
from orphan_pipeline.demo.servers import ObjectStore

KEYS = ["a", "a/1", "a/ü+%2B", "a/&<>\"'", "e\u0301", "\u00e9", "🎉 party", "z" * 200]


@pytest.mark.parametrize("name", ["moto", "seaweedfs"])
def test_lists_of_a_store_are_what_botocore_reads(
    name: str, make_bucket: Callable[..., str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: ObjectStore = request.getfixturevalue(name)
    plain, quick, bucket = client_of(store), quickened(client_of(store)), make_bucket(store, versioned=True)
    for key in [*KEYS, *KEYS[:4]]:
        plain.put_object(Bucket=bucket, Key=key, Body=key.encode())
    plain.put_object(Bucket=bucket, Key="empty", Body=b"")
    for key in KEYS[2:6]:
        plain.delete_object(Bucket=bucket, Key=key)
    asked: list[dict[str, Any]] = [{}, {"Prefix": "a/"}, {"MaxKeys": 3}, {"Delimiter": "/"}]

    def pages(client: Any) -> list[Any]:
        found = [client.list_object_versions(Bucket=bucket, **more) for more in asked]
        return [{field: value for field, value in page.items() if field != "ResponseMetadata"} for page in found]

    expected, parsed = pages(plain), []
    # botocore parses the structure of a record only where it was not read here.
    monkeypatch.setattr(BaseXMLResponseParser, "_handle_timestamp", lambda self, shape, node: parsed.append(node))
    assert pages(quick) == expected
    assert not parsed
    assert {version["Key"] for version in expected[0]["Versions"]} == {*KEYS, "empty"}
