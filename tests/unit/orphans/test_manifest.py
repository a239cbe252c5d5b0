"""The manifest: it comes back as it was written, its figures add up, and its last line tells the truth."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from sweep_files import DAY, NOON, bucket_settings, publish

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.files import read_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.manifest import Manifest, latest_manifest, read_manifests
from orphan_pipeline.orphans.plans import sweep_digest
from orphan_pipeline.orphans.summary import closing_line

ODD = ["a/\n", "a/é 😀'\"", "b/%2F", "b/\x7f"]


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path)


def last_line(lake: BucketLake, made: Manifest) -> str:
    return closing_line(made, closed_gates(lake, made, gates_of(lake, made, bucket_settings())))


def edit(lake: BucketLake, change: dict[str, Any], *below: str) -> None:
    path = lake.sweep("s1").manifest
    document = part = json.loads(path.read_text())
    for name in below:
        part = part[name]
    part.update(change)
    path.write_text(json.dumps(document))


def test_a_manifest_comes_back_equal_from_its_file(lake: BucketLake) -> None:
    made = publish(lake, "s1", orphans=ODD, gone=["a/gone"], started_at=NOON + timedelta(microseconds=1))
    assert read_document(lake.sweep("s1").manifest, Manifest) == made
    assert read_manifests(lake) == [made]


def test_a_short_min_age_is_flagged_in_words_that_the_digest_covers(lake: BucketLake) -> None:
    assert publish(lake, "s1").flags == ()
    short = bucket_settings(safety={"min_age": "1h", "allow_short_min_age": True, "confirmations": 1})
    made = publish(lake, "s2", settings=short, started_at=NOON + DAY)
    assert made.flags == ("safety.allow_short_min_age is true: min_age is 1h, the floor of 24h is off",)
    assert json.loads(lake.sweep("s2").manifest.read_text())["flags"] == list(made.flags)
    assert sweep_digest(made) == made.digest != sweep_digest(replace(made, flags=()))


def test_figures_add_up_over_prefixes_and_holds(lake: BucketLake) -> None:
    settings = bucket_settings(protect=["/a/1"])
    made = publish(lake, "s1", orphans=["a/1", "a/2", "b/3", "c/4"], gone=["x", "x"], settings=settings)
    assert made.inventory.total == Amount(6, 60)
    assert (made.owned, made.orphans, made.deletable, made.unowned) == (Amount(5, 50), Amount(3, 30), Amount(2, 20), Amount(1, 10))
    assert made.holds == {"protected": Amount(1, 10)}
    assert {prefix: plan.amount for prefix, plan in made.plans.items()} == {"a/": Amount(1, 10), "b/": Amount(1, 10)}
    assert made.owned.objects + made.inventory.unowned.objects == made.inventory.total.objects
    match = made.source_matches["documents"]
    assert (match.references, match.dangling, match.of_rows) == (4, 2, 0.5)
    assert (match.keys, match.dangling_keys, match.of_keys) == (3, 1, 2 / 3)
    assert match.match_rate == 0.5


def test_a_default_that_many_rows_name_hides_no_keys_with_a_wrong_prefix(lake: BucketLake) -> None:
    """Regression: of 1,141 references 96.5 % had an object, and forty objects that were in use were planned."""
    named = ["a/default"] * 1000 + [f"a/{n}" for n in range(100)]
    made = publish(lake, "s1", referenced=[*named, "b/kept"], gone=[f"new/real{n}" for n in range(40)], baseline=False)
    assert "match_rate" in made.tripped
    assert made.source_matches["documents"].of_rows > 0.96


def test_a_manifest_from_before_different_keys_were_counted_is_read_and_not_taken_for_edited(lake: BucketLake) -> None:
    made = publish(lake, "s1", orphans=["a/1"], gone=["x"])
    old = replace(made, dangling=replace(made.dangling, keys=None), digest="")
    document = TypeAdapter(Manifest).dump_python(old, mode="json")
    del document["dangling"]["keys"]
    document["digest"] = hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    lake.sweep("s1").manifest.write_text(json.dumps(document))
    [read] = read_manifests(lake)
    assert sweep_digest(read) == read.digest == document["digest"]
    match = read.source_matches["documents"]
    assert (match.match_rate, match.of_keys) == (2 / 3, None)


def test_a_prefix_without_an_orphan_has_figures_and_no_plan(lake: BucketLake) -> None:
    made = publish(lake, "s1", orphans=["a/1"])
    assert made.prefixes["b/"].orphans == Amount(0, 0)
    assert list(made.plans) == ["a/"]


@pytest.mark.parametrize("below", [(), ("inventory",), ("plans", "a/"), ("prefixes", "a/", "deletable")])
def test_a_manifest_with_a_field_that_is_not_known_is_an_error(lake: BucketLake, below: tuple[str, ...]) -> None:
    publish(lake, "s1", orphans=["a/1"])
    edit(lake, {"unknown": 1}, *below)
    with pytest.raises(Refused, match="unknown"):
        read_manifests(lake)


def test_a_manifest_of_another_version_is_refused(lake: BucketLake) -> None:
    publish(lake, "s1")
    edit(lake, {"version": 2})
    with pytest.raises(Refused) as refused:
        latest_manifest(lake)
    assert str(refused.value) == "the manifest of sweep s1 is of version 2, expected 1: it was written by another release"


def test_the_latest_sweep_is_the_one_that_looked_last_even_if_an_older_one_is_published_after_it(lake: BucketLake) -> None:
    assert latest_manifest(lake) is None
    newer = publish(lake, "a", started_at=NOON + DAY)
    slow = publish(lake, "b", started_at=NOON)
    assert slow.published_at > newer.published_at
    assert read_manifests(lake) == [slow, newer]
    assert latest_manifest(lake) == newer


def test_what_is_deletable_is_told_in_the_end(lake: BucketLake) -> None:
    kept = ["a/x", "a/y", "b/kept"]
    assert last_line(lake, publish(lake, "s1", orphans=["a/1", "a/2", "b/3"], referenced=kept)) == (
        "deletable now: 3 objects, 30 bytes, in 2 prefixes"
    )


def test_plans_that_delete_no_more_are_not_told_to_be_deletable(lake: BucketLake) -> None:
    made = publish(lake, "s1", orphans=["a/1", "a/2", "b/3"], referenced=["a/x", "a/y", "b/kept"])
    closed = closed_gates(lake, made, gates_of(lake, made, bucket_settings()))
    assert closing_line(made, closed, {"a/": "carried out"}) == (
        "deletable now: 1 object, 10 bytes, in 1 prefix; carried out: 2 objects, 20 bytes, in 1 prefix"
    )
    assert closing_line(made, closed, {"a/": "carried out", "b/": "restored"}) == (
        "nothing is deletable before a new sweep; carried out: 2 objects, 20 bytes, in 1 prefix; restored: 1 object, 10 bytes, in 1 prefix"
    )


def test_what_waits_for_approval_is_told_with_the_gate_and_the_command(lake: BucketLake) -> None:
    made = publish(lake, "s1", orphans=["a/1", "a/2", "b/3"], referenced=["a/kept", "b/1", "b/2"])
    command = f"orphan-pipeline approve {made.digest[:16]}"
    assert last_line(lake, made) == (
        f"deletable now: 1 object, 10 bytes, in 1 prefix; 2 objects, 20 bytes wait for approval (gate prefix_orphan_fraction): {command}"
    )
    lake.approval(made.digest).unlink()
    assert last_line(lake, made) == (f"3 objects, 30 bytes wait for approval (gates baseline, prefix_orphan_fraction): {command}")


def test_a_sweep_that_counts_for_nothing_says_so_before_it_says_when(lake: BucketLake) -> None:
    made = publish(lake, "s1", baseline=False)
    assert last_line(lake, made) == (
        f"this sweep counts for nothing until it is approved (gate baseline): orphan-pipeline approve {made.digest[:16]}; "
        "earliest deletable: never, because there is no orphan under a declared prefix"
    )


@pytest.mark.parametrize(
    ("orphans", "safety", "line"),
    [
        ([], {}, "earliest deletable: never, because there is no orphan under a declared prefix"),
        (["c/1"], {}, "earliest deletable: never, because there is no orphan under a declared prefix"),
        (["a/.keep"], {}, "earliest deletable: never by itself, because every orphan is protected, was restored, or resembles a reference"),
        (
            ["a/1", "a/.keep"],
            {"min_age": "200d"},
            "earliest deletable: by a sweep after 2027-03-01 12:00:00 UTC, because the oldest orphans are younger than min_age "
            "(and multipart_grace) until then",
        ),
        (
            ["a/1"],
            {"confirmations": 3, "confirmation_gap": "10h"},
            "earliest deletable: by a sweep after 2026-11-22 08:00:00 UTC, because an orphan must be seen in as many sweeps as "
            "`confirmations` says, `confirmation_gap` apart",
        ),
    ],
)
def test_when_nothing_is_deletable_the_day_and_the_reason_are_told(
    lake: BucketLake, orphans: list[str], safety: dict[str, Any], line: str
) -> None:
    settings = bucket_settings(protect=["**/.keep"], safety={"confirmations": 1, **safety})
    assert last_line(lake, publish(lake, "s1", orphans=orphans, started_at=NOON, settings=settings)) == line
