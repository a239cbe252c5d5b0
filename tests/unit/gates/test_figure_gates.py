"""The gates on a sweep's own figures: each at, just under and just over its limit, and the empty cases."""

from dataclasses import replace

import pytest
from gate_manifests import LIMITS, PAST, gate, manifest, owned
from hypothesis import given
from hypothesis import strategies as st

from orphan_pipeline.gates.evaluate import evaluate, evaluate_alone, tripped
from orphan_pipeline.gates.gate import GATES, PREFIX_GATES
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.orphans.manifest import PrefixFigures


def test_a_sound_sweep_passes_every_gate_that_is_declared() -> None:
    gates = evaluate(manifest(), LIMITS, PAST)
    assert {gate.name for gate in gates} == set(GATES)
    assert tripped(gates) == tripped(gates, prefix="a/") == []
    assert {gate.name for gate in gates if gate.prefix is not None} == PREFIX_GATES


@pytest.mark.parametrize(("objects", "passed"), [(0, False), (1, True)])
def test_the_inventory_holds_at_least_one_object(objects: int, passed: bool) -> None:
    found = gate("inventory_not_empty", manifest(prefixes={}, unowned=Amount(objects, 0)))
    assert (found.passed, found.found, found.limit) == (passed, objects, 1)


EMPTIED = ": is it the right table or file, and has nobody emptied it?"
NAMES_NOTHING = ", expected at least 1: is it the right column and path, and has nobody emptied its values?"


@pytest.mark.parametrize(
    ("rows", "references", "found", "tail"),
    [
        (0, 0, 0, EMPTIED),
        (99, 5000, 99, EMPTIED),
        (100, 1, 100, ""),
        (101, 1, 101, ""),
        (100, 0, 0, NAMES_NOTHING),
        (10**6, 0, 0, NAMES_NOTHING),
    ],
)
def test_a_source_has_at_least_the_rows_of_its_floor_and_names_a_key(rows: int, references: int, found: int, tail: str) -> None:
    """A table of few rows with many references each is as suspicious as the setting says; arrays that were all emptied always are."""
    told = gate("sources_above_floor", manifest(references={"documents": references}, rows=rows))
    assert (told.passed, told.found, told.limit) == (not tail, found, 100)
    assert told.message == f"source documents has {rows:,} rows, expected at least 100, and yields {references:,} references{tail}"


def test_a_source_that_the_sweep_did_not_read_yields_nothing() -> None:
    """The limits are those of the settings of now, the sweep can be an older one."""
    found = gate("sources_above_floor", manifest(references={"renamed": 1000}))
    assert (found.passed, found.found) == (False, 0)


@pytest.mark.parametrize(
    ("references", "dangling", "passed"),
    [(1000, 0, True), (1000, 49, True), (1000, 50, True), (1000, 51, False), (1, 1, False), (0, 0, True)],
)
def test_the_references_of_a_source_have_their_objects(references: int, dangling: int, passed: bool) -> None:
    found = gate("match_rate", manifest(references={"documents": references}, dangling={"documents": dangling}))
    assert (found.passed, found.found) == (passed, 1.0 if not references else (references - dangling) / references)


@pytest.mark.parametrize(
    ("references", "dangling", "keys", "passed", "rate"),
    [
        # Regression: a thousand rows that name one default picture hid forty keys with a wrong prefix.
        (1140, 40, (141, 40), False, 101 / 141),
        # And a thousand that name one that is gone are no better.
        (1100, 1000, (101, 1), False, 100 / 1100),
        (1000, 10, (1000, 10), True, 0.99),
        # About so many: no more than there are references, and no fewer than those that dangle.
        (1000, 50, (1060, 50), True, 0.95),
        (1000, 1000, (940, 1000), False, 0.0),
        (1000, 30, (20, 30), False, 0.0),
        (0, 0, (0, 0), True, 1.0),
    ],
)
def test_repeated_keys_hide_no_others(references: int, dangling: int, keys: tuple[int, int], passed: bool, rate: float) -> None:
    of = manifest(references={"documents": references}, dangling={"documents": dangling}, keys={"documents": keys})
    found = gate("match_rate", of)
    assert found.passed == passed
    assert found.found == pytest.approx(rate)
    assert f"% of its different keys (about {keys[0]:,}), expected at least 95.0%" in found.message


def test_one_bad_source_is_not_hidden_by_the_others() -> None:
    of = manifest(references={"documents": 10**6, "avatars": 100}, dangling={"avatars": 100})
    limits = replace(LIMITS, source_floors={"documents": 1, "avatars": 1})
    assert [(gate.name, gate.found) for gate in tripped(evaluate_alone(of, limits))] == [("match_rate", 0.0)]


@pytest.mark.parametrize(
    ("figures", "passed", "fraction"),
    [
        (owned(1000, 0), True, 0.0),
        (owned(1000, 199), True, 0.199),
        (owned(1000, 200), True, 0.2),
        (owned(1000, 201), False, 0.201),
        (owned(1000, 1000), False, 1.0),
        (owned(1000, 1, size=1000, orphan_size=200), True, 0.2),
        (owned(1000, 1, size=1000, orphan_size=201), False, 0.201),
        (owned(1000, 201, size=1000, orphan_size=0), False, 0.201),
        (owned(1000, 10, size=0, orphan_size=0), True, 0.01),
        (owned(0, 0), True, 0.0),
    ],
)
def test_orphans_are_a_small_part_by_count_and_by_bytes(figures: PrefixFigures, passed: bool, fraction: float) -> None:
    of = manifest(prefixes={"a/": figures}, unowned=Amount(10**6, 10**9))
    for name in ("orphan_fraction", "prefix_orphan_fraction"):
        found = gate(name, of)
        assert (found.passed, found.found, found.limit) == (passed, fraction, 0.2)


def test_a_bucket_in_which_nothing_is_owned_passes_with_a_fraction_of_zero() -> None:
    assert gate("orphan_fraction", manifest(prefixes={}, unowned=Amount(5, 5))).found == 0.0


def test_a_prefix_trips_its_own_gate_and_nobody_elses() -> None:
    gates = evaluate_alone(manifest(prefixes={"a/": owned(10_000, 10), "b/": owned(10, 9)}), LIMITS)
    assert tripped(gates) == tripped(gates, prefix="a/") == tripped(gates, prefix="c/") == []
    assert [(gate.name, gate.prefix) for gate in tripped(gates, prefix="b/")] == [("prefix_orphan_fraction", "b/")]


def test_a_gate_of_the_bucket_trips_for_every_prefix() -> None:
    gates = evaluate_alone(manifest(references={"documents": 0}), LIMITS)
    assert [gate.name for gate in tripped(gates, prefix="a/")] == [gate.name for gate in tripped(gates)] == ["sources_above_floor"]


counts = st.integers(0, 1000)


@given(sizes=st.lists(st.tuples(counts, counts, counts, counts), max_size=4), limit=st.floats(0.01, 1))
def test_more_orphans_never_open_a_gate(sizes: list[tuple[int, int, int, int]], limit: float) -> None:
    limits = replace(LIMITS, max_orphan_fraction=limit)

    def names(more: int) -> set[tuple[str, str | None]]:
        figures = {
            f"{n}/": owned(max(a, b) + 1, min(max(a, b) + 1, b + more), size=max(c, d), orphan_size=d)
            for n, (a, b, c, d) in enumerate(sizes)
        }
        gates = evaluate_alone(manifest(prefixes=figures, unowned=Amount(1, 1)), limits)
        return {(gate.name, gate.prefix) for gate in gates if not gate.passed}

    assert names(0) <= names(5)
