"""Any legal key, really put: what is listed is what botocore lists, and what was stored."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from secrets import token_hex

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.inventory.listing.asking import Asker
from orphan_pipeline.inventory.listing.lister import Lister

LONGEST = 1024
"""Bytes (S3 user guide, object key names)."""

ODD = [
    "/",
    "//",
    "./",
    "../",
    " ",
    "+",
    "%",
    "%2B",
    "%252B",
    "&amp;",
    "&#13;",
    "<",
    ">",
    '"',
    "'",
    "\\",
    "?",
    "#",
    "\t",
    "\r",
    "\x01",
    "\x1f",
]
ODDER = [
    "\x7f",
    "\x85",
    "\u2028",
    "\ufffe",
    "\uffff",
    "\U0010ffff",
    "é",
    "e\u0301",
    "日本",
    "😀",
    "👩\u200d👧",
    "a",
    "Z",
    "0",
    "~",
    "*",
    ".",
    "=",
    ":",
    ";",
]
# NUL no server of the tests takes, and moto's routes end at a line feed.
ANY = st.characters(codec="utf-8", exclude_characters="\x00\n")


def _within_limits(text: str) -> bool:
    return 0 < len(text.encode()) <= LONGEST


def _filled(text: str) -> str:
    return text + "x" * (LONGEST - len(text.encode()))


SHORT = (st.lists(st.sampled_from(ODD + ODDER), min_size=1, max_size=6).map("".join) | st.text(ANY, min_size=1, max_size=8)).filter(
    _within_limits
)
KEYS = st.sets(SHORT | SHORT | SHORT.map(_filled), min_size=1, max_size=25)

Row = tuple[str, int, str, datetime]


def put(store: ObjectStore, bucket: str, keys: set[str]) -> set[str]:
    """Those that the store took."""
    client = store.client()

    def stored(key: str) -> str | None:
        try:
            # A folder's marker is empty: SeaweedFS keeps no content under such a key.
            client.put_object(Bucket=bucket, Key=key, Body=b"" if key.endswith("/") else key.encode()[:40])
        except ClientError:
            return None
        return key

    with ThreadPoolExecutor(4) as pool:
        return {key for key in pool.map(stored, sorted(keys)) if key is not None}


def by_us(store: ObjectStore, bucket: str, *, in_order: bool) -> list[Row]:
    with closing(Asker(store.client(), bucket, connections=4, page_keys=5)) as asker:
        batches = list(Lister(asker, bucket, concurrency=4, in_order=in_order).batches())
    return sorted((r["key"], r["size"], r["etag"], r["last_modified"]) for batch in batches for r in batch.to_pylist())


def by_botocore(store: ObjectStore, bucket: str) -> list[Row]:
    pages = store.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return sorted((o["Key"], o["Size"], o["ETag"].strip('"'), o["LastModified"]) for page in pages for o in page.get("Contents", ()))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(keys=KEYS, in_order=st.booleans())
def test_any_key_that_was_put_is_listed_exactly(moto: ObjectStore, keys: set[str], in_order: bool) -> None:
    bucket = f"bucket-{token_hex(6)}"
    moto.client().create_bucket(Bucket=bucket)
    assert put(moto, bucket, keys) == keys
    found = by_us(moto, bucket, in_order=in_order)
    assert found == by_botocore(moto, bucket)
    assert {key for key, *_ in found} == keys


def as_seaweedfs_keeps_it(key: str) -> str:
    """Its keys are paths: a backslash is a slash, and what is empty between two of them is left out."""
    return "/".join(step for step in key.replace("\\", "/").split("/") if step)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(keys=KEYS)
def test_whatever_seaweedfs_stores_is_listed_exactly(seaweedfs: ObjectStore, one_bucket: str, keys: set[str]) -> None:
    folder = token_hex(4)
    taken = put(seaweedfs, one_bucket, {f"{folder}/{key}" for key in keys})
    found = by_us(seaweedfs, one_bucket, in_order=False)
    assert found == by_botocore(seaweedfs, one_bucket)
    places = Counter(map(as_seaweedfs_keeps_it, taken))
    unchanged = {key for key in taken if as_seaweedfs_keeps_it(key) == key.removesuffix("/") and places[key.removesuffix("/")] == 1}
    assert unchanged <= {key for key, *_ in found}
    assert {as_seaweedfs_keeps_it(key) for key, *_ in found if key.startswith(folder)} == set(places)


@pytest.fixture(scope="module")
def one_bucket(seaweedfs: ObjectStore) -> str:
    """For all examples: each bucket of SeaweedFS takes volumes of its own."""
    name = f"bucket-{token_hex(6)}"
    seaweedfs.client().create_bucket(Bucket=name)
    return name
