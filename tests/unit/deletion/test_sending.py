"""Attempts, answers and guards of one chunk's requests, with a store that answers as it is told to."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orphan_pipeline.deletion.guards import Hold, held_by
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.sending import NO_ANSWER, Sending

PLANNED = [Planned(key, "e", 1, datetime(2026, 11, 1, tzinfo=UTC)) for key in "abc"]
NEEDED = Answer("referenced_again", code="documents")
BUSY = Answer("failed", code="SlowDown")


def gone(key: str) -> Answer:
    return Answer("deleted", version_id=key)


class Store:
    """`answers`: one mapping a request; a key that it does not name is deleted. `settled`: what a look finds."""

    def __init__(self, *answers: Mapping[str, Answer | None], settled: Mapping[str, Answer] | None = None) -> None:
        self.answers, self.found = list(answers), settled or {}
        self.asked: list[str] = []
        self.looked_at: list[str] = []

    def ask(self, planned: Sequence[Planned], hold: Hold) -> Iterator[tuple[str, Answer | None]]:
        self.asked.append("".join(one.key for one in planned))
        answers = self.answers.pop(0) if self.answers else {}
        for one in planned:
            yield one.key, answers.get(one.key, gone(one.key))

    def settle(self, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        self.looked_at += [one.key for one in planned]
        return {one.key: self.found[one.key] for one in planned if one.key in self.found}

    def sending(self, folder: Path) -> Sending:
        return Sending(pace=Pace(folder / "pace", ceiling=1e9), ask=self.ask, settle=self.settle)


class Guards:
    """`held`: what they hold, one mapping a question; nothing is held after the last."""

    def __init__(self, *held: Mapping[str, Answer]) -> None:
        self.held = list(held)
        self.asked: list[str] = []

    def hold(self, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        self.asked.append("".join(one.key for one in planned))
        held = self.held.pop(0) if self.held else {}
        return {one.key: held[one.key] for one in planned if one.key in held}


def test_the_guards_are_asked_before_each_request_about_its_keys(tmp_path: Path) -> None:
    store, guards = Store({"a": BUSY, "b": BUSY}), Guards({}, {"b": NEEDED})
    known: dict[str, Answer] = {}
    assert store.sending(tmp_path).answers(PLANNED, again=False, known=known, hold=guards.hold) == [gone("a"), NEEDED, gone("c")]
    assert (guards.asked, store.asked) == (["abc", "ab"], ["abc", "a"])
    assert known == {"a": gone("a"), "c": gone("c")}


@pytest.mark.parametrize("first", [BUSY, None])
def test_what_is_held_after_a_request_is_looked_at(tmp_path: Path, first: Answer | None) -> None:
    """It may have gone by the request before; then that is its answer, and it is brought back."""
    unknown = Answer("unknown", version_id="m")
    store, guards = Store({"a": BUSY, "b": first}), Guards({}, {"a": NEEDED, "b": NEEDED})
    sending = store.sending(tmp_path)

    def hold(planned: Sequence[Planned]) -> Mapping[str, Answer]:
        held = guards.hold(planned)
        if held:
            store.found = {"b": unknown}  # from now on, a look finds that it has gone
        return held

    assert sending.answers(PLANNED, again=False, known={}, hold=hold) == [NEEDED, unknown, gone("c")]


def test_nothing_more_is_sent_when_a_guard_refuses_and_what_is_known_is_kept(tmp_path: Path) -> None:
    store = Store({"a": BUSY})
    known: dict[str, Answer] = {}

    def hold(planned: Sequence[Planned]) -> Mapping[str, Answer]:
        if store.asked:
            raise RuntimeError("the lease is lost")
        return {}

    with pytest.raises(RuntimeError, match="the lease is lost"):
        store.sending(tmp_path).answers(PLANNED, again=False, known=known, hold=hold)
    assert store.asked == ["abc"]
    assert known == {"b": gone("b"), "c": gone("c")}


def test_a_request_for_nothing_is_not_sent(tmp_path: Path) -> None:
    store = Store()
    answers = store.sending(tmp_path).answers(PLANNED, again=False, known={}, hold=lambda some: dict.fromkeys("abc", NEEDED))
    assert answers == [NEEDED] * 3
    assert store.asked == []


def test_no_answer_is_looked_up_before_it_is_sent_again(tmp_path: Path) -> None:
    lost = Answer("unknown", version_id="m")
    store = Store({"a": None, "b": NO_ANSWER}, settled={"a": lost})
    answers = store.sending(tmp_path).answers(PLANNED, again=False, known={}, hold=lambda _: {})
    assert answers == [lost, gone("b"), gone("c")]
    assert (store.asked, store.looked_at) == (["abc", "b"], ["a", "b"])


def test_guards_are_asked_about_what_those_before_them_let_go() -> None:
    first, second = Guards({"a": NEEDED}), Guards({"b": NEEDED})
    assert held_by([first.hold, second.hold], PLANNED) == {"a": NEEDED, "b": NEEDED}
    assert (first.asked, second.asked) == (["abc"], ["bc"])
