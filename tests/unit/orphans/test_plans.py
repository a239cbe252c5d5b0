"""Rule 9: a plan is bound to its rows and to everything that decides what is deleted, and to nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sweep_files import DATABASES, bucket_settings, publish

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.binding import binding
from orphan_pipeline.orphans.manifest import DanglingFigures, Manifest, PlanEntry
from orphan_pipeline.orphans.plans import find_plan, plan_digest, refuse_unless_bound, sweep_digest
from orphan_pipeline.settings.model import DatabaseSettings

SOURCE = {"name": "documents", "database": "app", "sql": "SELECT key FROM documents"}
SAFETY = {"confirmations": 1, "max_orphan_fraction": 0.5}

DECIDES: dict[str, dict[str, Any]] = {
    "bucket": {"bucket": "acme-other"},
    "endpoint": {"endpoint": "https://s3.example.com"},
    "region": {"region": "eu-west-1"},
    "prefixes": {"prefixes": ["a/"]},
    "prefixes ": {"prefixes": ["a/", {"path": "b/", "split": 1}]},
    "protect": {"protect": ["**/.keep"]},
    "references": {"references": [{**SOURCE, "sql": "SELECT key FROM documents WHERE false"}]},
    "references ": {"references": [{**SOURCE, "key": {"drop_query": True}}]},
    "references  ": {"references": [{**SOURCE, "expect_rows_at_least": 2}]},
    "references   ": {"references": [{**SOURCE, "variants": ["{key}.webp"]}]},
    "safety.min_age": {"safety": {**SAFETY, "min_age": "8d"}},
    "safety.multipart_grace": {"safety": {**SAFETY, "multipart_grace": "8d"}},
    "safety.confirmations": {"safety": {**SAFETY, "confirmations": 2}},
    "safety.confirmation_gap": {"safety": {**SAFETY, "confirmation_gap": "21h"}},
    "safety.max_orphan_fraction": {"safety": {**SAFETY, "max_orphan_fraction": 0.6}},
    "safety.min_match_rate": {"safety": {**SAFETY, "min_match_rate": 0.9}},
    "safety.max_shrink": {"safety": {**SAFETY, "max_shrink": 0.2}},
    "safety.max_growth": {"safety": {**SAFETY, "max_growth": 4.0}},
    "safety.max_age_band_excess": {"safety": {**SAFETY, "max_age_band_excess": 0.2}},
    "safety.plan_expiry": {"safety": {**SAFETY, "plan_expiry": "71h"}},
}
DOES_NOT_DECIDE: dict[str, dict[str, Any]] = {
    "owners": {"owners": ["team:media"]},
    "mode": {"deletion": {"mode": "versioned"}},
    "rate": {"deletion": {"max_keys_per_second": 1}},
    "cap": {"deletion": {"max_deletions": 1}},
    "undo": {"deletion": {"undo_window": "30d"}},
    "addressing": {"path_style": True},
    "credentials": {"credentials": {"access_key_id": {"env": "A"}, "secret_access_key": {"env": "B"}}},
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> BucketLake:
    return BucketLake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def manifest(lake: BucketLake) -> Manifest:
    return publish(lake, "s1", orphans=["a/1", "b/2"])


def bound(changed: dict[str, Any] | None = None) -> dict[str, Any]:
    return binding(bucket_settings(**(changed or {})), DATABASES)


def check(lake: BucketLake, manifest: Manifest, plan: PlanEntry | None = None, **changed: Any) -> None:
    now: dict[str, Any] = {"bound_now": bound(), "now": manifest.published_at, "latest_sweep_id": "s1", "begun": False}
    refuse_unless_bound(plan or manifest.plans["a/"], manifest=manifest, folder=lake.sweep("s1"), **{**now, **changed})


def refusal(check: Callable[[], None]) -> str:
    with pytest.raises(Refused) as refused:
        check()
    return str(refused.value)


def named(manifest: Manifest) -> str:
    return f"plan {manifest.plans['a/'].digest[:12]} of a/"


def test_a_plan_as_it_was_made_may_be_executed(lake: BucketLake, manifest: Manifest) -> None:
    assert list(manifest.plans) == ["a/", "b/"]
    for plan in manifest.plans.values():
        check(lake, manifest, plan)


def test_what_is_bound_survives_json_unchanged() -> None:
    everything = {name: value for change in DECIDES.values() for name, value in change.items()}
    assert json.loads(json.dumps(bound(everything))) == bound(everything)


@pytest.mark.parametrize("field", DECIDES)
def test_what_decides_what_is_deleted_is_bound_and_named_when_it_changes(lake: BucketLake, manifest: Manifest, field: str) -> None:
    line = refusal(lambda: check(lake, manifest, bound_now=bound(DECIDES[field])))
    assert line == f"{named(manifest)} was made under other settings ({field.strip()} changed since): run a new sweep"


@pytest.mark.parametrize("field", DOES_NOT_DECIDE)
def test_rates_mode_owners_and_credentials_leave_a_plan_as_good_as_it_was(lake: BucketLake, manifest: Manifest, field: str) -> None:
    check(lake, manifest, bound_now=bound(DOES_NOT_DECIDE[field]))
    assert bound(DOES_NOT_DECIDE[field]) == bound()


def test_another_database_is_another_plan_but_one_that_no_source_uses_is_not(lake: BucketLake, manifest: Manifest) -> None:
    other = DatabaseSettings.model_validate({"url": {"env": "OTHER_URL"}})
    pinned = DatabaseSettings.model_validate({"url": {"env": "APP_DATABASE_URL"}, "system_identifier": "7"})
    check(lake, manifest, bound_now=binding(bucket_settings(), {**DATABASES, "other": other}))
    line = refusal(lambda: check(lake, manifest, bound_now=binding(bucket_settings(), {"app": other})))
    assert "(databases.app.url.env changed since)" in line or "(databases.app.url changed since)" in line
    line = refusal(lambda: check(lake, manifest, bound_now=binding(bucket_settings(), {"app": pinned})))
    assert "(databases.app.system_identifier changed since)" in line


def test_all_that_changed_is_named_in_order(lake: BucketLake, manifest: Manifest) -> None:
    line = refusal(lambda: check(lake, manifest, bound_now=bound({**DECIDES["region"], **DECIDES["bucket"], **DECIDES["safety.min_age"]})))
    assert "(bucket, region, safety.min_age changed since)" in line


def test_a_plan_that_is_expired_is_refused_from_that_moment_on(lake: BucketLake, manifest: Manifest) -> None:
    check(lake, manifest, now=manifest.expires_at - timedelta(microseconds=1))
    for begun in (False, True):
        line = refusal(lambda begun=begun: check(lake, manifest, now=manifest.expires_at, begun=begun))  # type: ignore[misc]
        assert line == f"{named(manifest)} expired at {manifest.expires_at:%Y-%m-%d %H:%M} UTC: run a new sweep"


def test_a_plan_that_was_superseded_is_refused_unless_it_has_begun(lake: BucketLake, manifest: Manifest) -> None:
    check(lake, manifest, latest_sweep_id="s2", begun=True)
    line = refusal(lambda: check(lake, manifest, latest_sweep_id="s2"))
    assert line == f"{named(manifest)} was superseded by sweep s2 before it began: use the plans of the latest full sweep"


def test_one_changed_byte_of_the_file_is_an_edited_plan(lake: BucketLake, manifest: Manifest) -> None:
    file = lake.sweep("s1").root / manifest.plans["a/"].file
    content = file.read_bytes()
    for place in (0, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        line = refusal(lambda: check(lake, manifest))
        assert line == f"{named(manifest)} was edited after it was made: its digest does not match. Run a new sweep"
    file.write_bytes(content)
    check(lake, manifest)


def test_an_edited_entry_or_manifest_is_an_edited_plan(lake: BucketLake, manifest: Manifest) -> None:
    plan = manifest.plans["a/"]
    other = manifest.plans["b/"]
    edited = [
        (manifest, replace(plan, chunks=2)),
        (manifest, replace(plan, prefix="b/")),
        (manifest, replace(plan, sha256=other.sha256, file=other.file)),
        (manifest, replace(plan, file=other.file)),
        (manifest, replace(plan, digest=other.digest)),
        (replace(manifest, cutoff=manifest.cutoff + timedelta(microseconds=1)), plan),
        (replace(manifest, expires_at=manifest.expires_at + timedelta(days=1)), plan),
    ]
    for of, entry in edited:
        assert "was edited after it was made" in refusal(lambda of=of, entry=entry: check(lake, of, entry))  # type: ignore[misc]


def test_settings_edited_into_the_manifest_do_not_pass_for_those_of_the_plan(lake: BucketLake, manifest: Manifest) -> None:
    loosened = bound(DECIDES["protect"])
    line = refusal(lambda: check(lake, replace(manifest, binding=loosened), bound_now=loosened))
    assert "was edited after it was made" in line


def test_every_digest_is_another_when_anything_in_it_is() -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    common: dict[str, Any] = {"bound": bound(), "sweep_id": "s1", "cutoff": at, "expires_at": at}
    changes: list[dict[str, Any]] = [
        {"sweep_id": "s2"},
        {"cutoff": at + timedelta(microseconds=1)},
        {"expires_at": at + timedelta(microseconds=1)},
        *({"bound": bound(change)} for change in DECIDES.values()),
    ]
    plan: dict[str, Any] = {**common, "prefix": "a/", "chunks": 1, "sha256": "0"}
    plans = [plan_digest(**{**plan, **change}) for change in [{}, *changes, {"prefix": "b/"}, {"chunks": 2}, {"sha256": "1"}]]
    assert len(set(plans)) == len(plans)
    assert plan_digest(**plan) == plan_digest(**plan)


def test_the_digest_of_a_sweep_covers_all_that_its_manifest_says(manifest: Manifest) -> None:
    a, b = manifest.plans.values()
    changed = [
        {"sweep_id": "s2"},
        {"cutoff": manifest.cutoff + timedelta(microseconds=1)},
        {"binding": bound(DECIDES["protect"])},
        {"plans": {"a/": a}},
        {"plans": {"a/": b, "b/": a}},
        {"unowned": Amount(1, 1)},
        {"dangling": DanglingFigures(sources={"documents": 1})},
    ]
    digests = [manifest.digest, *(sweep_digest(replace(manifest, **change)) for change in changed)]  # type: ignore[arg-type]
    assert len(set(digests)) == len(digests)
    assert sweep_digest(replace(manifest, digest="", plans={"b/": b, "a/": a})) == manifest.digest


def test_figures_edited_to_please_the_gates_are_refused(lake: BucketLake, manifest: Manifest) -> None:
    edited = replace(manifest, dangling=DanglingFigures(sources={}), unowned=Amount(7, 7))
    assert "the manifest of plan" in refusal(lambda: check(lake, edited))


def test_a_plan_is_found_by_the_beginning_of_its_digest(manifest: Manifest) -> None:
    plan = manifest.plans["a/"]
    for length in (8, 12, 64):
        assert find_plan([manifest], plan.digest[:length]) == (manifest, plan)


@pytest.mark.parametrize(
    ("digest", "line"),
    [
        ("", "plan '': found 0 characters, expected at least 8 of its digest"),
        ("1234567", "plan '1234567': found 7 characters, expected at least 8 of its digest"),
        ("zzzzzzzz", "plan 'zzzzzzzz': 0 plans have this digest, expected one (`orphan-pipeline plan` lists them)"),
        ("12345678", "plan '12345678': 2 plans have this digest, expected one (`orphan-pipeline plan` lists them)"),
    ],
)
def test_a_digest_that_is_too_short_unknown_or_ambiguous_is_refused(manifest: Manifest, digest: str, line: str) -> None:
    plans = {prefix: replace(plan, digest=f"12345678{prefix}") for prefix, plan in manifest.plans.items()}
    assert refusal(lambda: (find_plan([replace(manifest, plans=plans)], digest), None)[1]) == line
