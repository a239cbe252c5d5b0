"""References that an application wrote otherwise than its objects are called: the object is held, with the reference that it resembles."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sweep_files import bucket_settings, publish

from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.publish import hosts

KEY: dict[str, Any] = {"strip": ["cdn.example.com/", "https://user@img.example.com:9000/m/", {"bucket": "acme"}, "/"]}
SETTINGS = bucket_settings(references=[{"name": "documents", "database": "app", "sql": "SELECT key FROM documents", "key": KEY}])


def test_hosts_of_bases_with_and_without_a_scheme() -> None:
    assert hosts(SETTINGS) == ["acme", "acme-media", "acme.s3.amazonaws.com", "cdn.example.com", "img.example.com:9000", "s3.amazonaws.com"]


@pytest.mark.parametrize(
    ("written", "view"),
    [
        # Regression: a base without a scheme had no host, and its objects were planned.
        ("CDN.example.com/a/3", "case+host"),
        ("//cdn.example.com/a/3", "slashes+host"),
        # What is no URL to the key rules is one to the views (docs/safety.md, "Not promised").
        ("https:/cdn.example.com/a/3", "host"),
        ("///cdn.example.com/a/3", "slashes+host"),
        ("https%3A%2F%2Fcdn.example.com%2Fa%2F3", "percent+host"),
        # Regression: blanks and backslashes were no view.
        ("a/3 ", "blank"),
        ("a/3\n", "blank"),
        ("\u00a0a/3", "blank"),
        ("a/3%20", "percent+blank"),
        ("\\a\\3", "slashes"),
    ],
)
def test_the_object_is_held(tmp_path: Path, written: str, view: str) -> None:
    lake = BucketLake(tmp_path)
    kept = [f"a/k{n}" for n in range(50)]
    made = publish(lake, "s1", orphans=["a/3"], referenced=[*kept, "b/kept"], gone=[written], settings=SETTINGS)
    assert "a/" not in made.plans or not made.plans["a/"].amount.objects
    [held] = [row for file in lake.sweep("s1").orphan_files() for row in pq.read_table(file).to_pylist()]
    assert (held["key"], held["hold"], held["resembles"], held["view"]) == ("a/3", "ambiguous", written, view)
