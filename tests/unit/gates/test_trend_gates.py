"""The gates that compare with earlier sweeps: the baseline, the settings of references, shrinking sources, growing orphans."""

from typing import Any

import pytest
from gate_manifests import BINDING, LIMITS, PAST, cut, gate, history, manifest, owned

from orphan_pipeline.gates.evaluate import evaluate, tripped
from orphan_pipeline.gates.history import History


def test_the_first_sweep_of_a_bucket_trips_the_baseline_and_no_trend() -> None:
    gates = evaluate(manifest(), LIMITS, History())
    assert [gate.name for gate in tripped(gates)] == ["baseline"]
    [baseline] = tripped(gates)
    assert (baseline.found, baseline.limit) == (0, 1)
    assert baseline.message.endswith("if they are right, approve it once as the baseline")


def test_one_accepted_sweep_is_a_baseline() -> None:
    assert gate("baseline", manifest(), past=PAST).passed


SOURCE = BINDING["references"][0]
OTHER = {"name": "history", "database": "app", "sql": "SELECT 2", "expect_rows_at_least": 1}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"references": [SOURCE, OTHER]}, "source history is new"),
        ({"references": []}, "source documents is gone"),
        ({"references": [{**SOURCE, "sql": "SELECT 2"}]}, "source documents was changed"),
        ({"references": [OTHER]}, "source documents is gone, source history is new"),
        ({"databases": {"app": {"url": {"env": "OTHER_URL"}}}}, "database app was changed"),
    ],
)
def test_changed_reference_settings_are_named(changed: dict[str, Any], told: str) -> None:
    found = gate("references_unchanged", manifest(binding={**BINDING, **changed}))
    assert not found.passed
    assert found.message == f"the reference settings are not those of the last accepted sweep: {told}"


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"databases": {"app": {**BINDING["databases"]["app"], "system_identifier": "7364/16384"}}},
        {"references": [{**SOURCE, "expect_rows_at_least": 5}]},
        {"safety": {"min_age": "8d"}},
        {"prefixes": ["b/"]},
    ],
)
def test_what_does_not_change_what_is_read_leaves_the_references_as_they_were(changed: dict[str, Any]) -> None:
    assert gate("references_unchanged", manifest(binding={**BINDING, **changed})).passed


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"system_identifier": "8", "timeline": 2}, "its system_identifier is 8, it was 7364: another server"),
        ({"database_oid": 16385, "timeline": 2}, "its oid is 16385, it was 16384: another database of that server"),
        ({"timeline": 2, "lsn": "0/0"}, "its timeline is 2, it was 1: a failover, or a copy that was promoted"),
        ({"timeline": 1, "lsn": "1/9F"}, "its WAL has come to 1/9F, it had been at 1/A0: restored, or an older copy"),
        ({"lsn": "0/FFFFFFFF"}, "its WAL has come to 0/FFFFFFFF, it had been at 1/A0: restored, or an older copy"),
    ],
)
def test_another_database_behind_the_same_settings_is_named(changed: dict[str, Any], told: str) -> None:
    """Regression: an environment variable that named a copy, or another database, tripped nothing."""
    past = history(manifest(cuts=[cut(), cut("other")]))
    found = gate("references_unchanged", manifest(cuts=[cut(**changed), cut("other")]), past=past)
    assert (found.passed, found.found) == (False, 1)
    assert found.message == f"the databases are not as the last accepted sweep saw them: database app: {told}"


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"lsn": "1/A1"},
        {"lsn": "A/0", "from_replica": True, "snapshot": "9:9:", "server_version": "18.2"},
        {"database_oid": None, "timeline": None},
    ],
)
def test_the_same_database_on_another_night_is_the_same(changed: dict[str, Any]) -> None:
    """What an earlier release did not write down is not compared, from either side."""
    assert gate("references_unchanged", manifest(cuts=[cut(**changed)]), past=history(manifest(cuts=[cut()]))).passed
    assert gate("references_unchanged", manifest(cuts=[cut()]), past=history(manifest(cuts=[cut(**{**changed, "lsn": "1/A0"})]))).passed


def test_a_database_that_came_or_went_is_a_matter_of_the_settings() -> None:
    assert gate("references_unchanged", manifest(cuts=[cut()]), past=history(manifest(cuts=[cut("other")]))).passed


def test_settings_and_databases_that_changed_are_both_named() -> None:
    of = manifest(binding={**BINDING, "references": [SOURCE, OTHER]}, cuts=[cut(timeline=2)])
    found = gate("references_unchanged", of, past=history(manifest(cuts=[cut()])))
    assert found.found == 2
    assert "source history is new; the databases are not as the last accepted sweep saw them: database app: its timeline" in found.message


def test_a_failover_is_approved_once() -> None:
    later = manifest(cuts=[cut(timeline=2)])
    approved = history(manifest(cuts=[cut()]), later, overridden={1: ["references_unchanged"]})
    assert gate("references_unchanged", later, past=approved).passed


def test_the_reference_settings_are_compared_with_the_last_sweep_and_not_an_older_one() -> None:
    other = manifest(binding={**BINDING, "references": [SOURCE, OTHER]})
    assert gate("references_unchanged", other, past=history(manifest(), other)).passed
    assert not gate("references_unchanged", manifest(), past=history(manifest(), other)).passed


@pytest.mark.parametrize(
    ("past", "now", "passed", "limit"),
    [
        ([1000], 900, True, 900),
        ([1000], 899, False, 900),
        ([1000], 5000, True, 900),
        ([1000, 1000, 10], 900, True, 900),
        ([1000, 1000, 10], 899, False, 900),
        ([1000, 2000], 1350, True, 1350),
        ([1000, 2000], 1349, False, 1350),
        ([], 0, True, 0),
        ([0], 0, True, 0),
    ],
)
def test_a_source_is_held_against_the_median_of_what_there_is(past: list[int], now: int, passed: bool, limit: float) -> None:
    sweeps = history(*(manifest(references={"documents": n}) for n in past))
    found = gate("source_shrink", manifest(references={"documents": now}), past=sweeps)
    assert (found.passed, found.found, found.limit) == (passed, now, limit)


def test_a_new_source_has_no_past() -> None:
    of = manifest(references={"documents": 1000, "history": 5})
    found = [gate for gate in evaluate(of, LIMITS, PAST) if gate.name == "source_shrink"]
    assert [gate.passed for gate in found] == [True, True]
    assert found[1].message == "source history yields 5 references, and no accepted sweep to compare with"


def test_what_was_approved_is_the_new_normal() -> None:
    """Else the same approval would be asked for until the median follows, for a week of nights."""
    usual, less = manifest(references={"documents": 1000}), manifest(references={"documents": 500})
    assert not gate("source_shrink", less, past=history(usual, usual, usual)).passed
    approved = history(usual, usual, usual, less, overridden={3: ["source_shrink"]})
    assert gate("source_shrink", less, past=approved).passed
    assert not gate("source_shrink", manifest(references={"documents": 449}), past=approved).passed
    for_another = history(usual, usual, usual, less, overridden={3: ["orphan_growth"]})
    assert not gate("source_shrink", less, past=for_another).passed


@pytest.mark.parametrize(
    ("past", "now", "passed", "limit"),
    [
        ([200], 600, True, 600),
        ([200], 601, False, 600),
        ([1], 300, True, 300),
        ([1], 301, False, 300),
        ([0, 0, 0], 300, True, 300),
        ([200, 400, 10_000], 1200, True, 1200),
        ([200, 400, 10_000], 1201, False, 1200),
    ],
)
def test_orphans_are_held_against_the_median_of_what_there_is(past: list[int], now: int, passed: bool, limit: float) -> None:
    sweeps = history(*(manifest(prefixes={"a/": owned(100_000, n)}) for n in past))
    found = gate("orphan_growth", manifest(prefixes={"a/": owned(100_000, now)}), past=sweeps)
    assert (found.passed, found.found, found.limit) == (passed, now, limit)


def test_the_first_sweep_may_have_any_number_of_orphans() -> None:
    assert gate("orphan_growth", manifest(prefixes={"a/": owned(10**6, 10**6)}), past=History()).passed


def test_ten_times_more_orphans_than_usual_trip_although_they_are_a_small_part() -> None:
    """Mastodon 33948."""
    usual = history(*(manifest(prefixes={"a/": owned(10**6, 1000 + n)}) for n in range(14)))
    gates = tripped(evaluate(manifest(prefixes={"a/": owned(10**6, 10_000)}), LIMITS, usual))
    assert [gate.name for gate in gates] == ["orphan_growth"]
    assert gates[0].message.startswith("10,000 orphans, the median of 14 sweeps is 1,006, and at most 3,020 are expected: ")
