"""Attempts, answers and guards of one chunk's requests, with a store that answers as it is told to."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orphan_pipeline.deletion import sending
from orphan_pipeline.deletion.guards import Hold, alone_unless_held, held_by, hold_nothing, unless_held
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.requests import NotReadable, send_chunk
from orphan_pipeline.deletion.sending import NO_ANSWER, UNANSWERED, Sending, may_still_go

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

    def together(self, planned: Sequence[Planned]) -> Mapping[str, Answer | None]:
        self.asked.append("".join(one.key for one in planned))
        answers = self.answers.pop(0) if self.answers else {}
        return {one.key: answers.get(one.key, gone(one.key)) for one in planned}

    def alone(self, one: Planned) -> Answer | None:
        self.asked.append(one.key)
        answers = self.answers.pop(0) if self.answers else {}
        return answers.get(one.key, gone(one.key))

    def settle(self, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        self.looked_at += [one.key for one in planned]
        return {one.key: self.found[one.key] for one in planned if one.key in self.found}

    def sending(self, folder: Path, hold: Hold = hold_nothing, *, singly: bool = False) -> Sending:
        def ask(planned: Sequence[Planned]) -> Iterator[tuple[str, Answer | None]]:
            together, alone = unless_held(hold, self.together), alone_unless_held(hold, self.alone)
            return ((one.key, alone(one)) for one in planned) if singly else send_chunk(planned, together=together, alone=alone)

        return Sending(pace=Pace(folder / "pace", ceiling=1e9), ask=ask, settle=self.settle)


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
    assert store.sending(tmp_path, guards.hold).answers(PLANNED, again=False, known=known) == [gone("a"), NEEDED, gone("c")]
    assert (guards.asked, store.asked) == (["abc", "ab"], ["abc", "a"])
    assert known == {"a": gone("a"), "c": gone("c")}


@pytest.mark.parametrize("first", [BUSY, None])
def test_what_is_held_after_a_request_is_looked_at(tmp_path: Path, first: Answer | None) -> None:
    """It may have gone by the request before; then that is its answer, and it is brought back."""
    unknown = Answer("unknown", version_id="m")
    store, guards = Store({"a": BUSY, "b": first}), Guards({}, {"a": NEEDED, "b": NEEDED})

    def hold(planned: Sequence[Planned]) -> Mapping[str, Answer]:
        held = guards.hold(planned)
        if held:
            store.found = {"b": unknown}  # from now on, a look finds that it has gone
        return held

    assert store.sending(tmp_path, hold).answers(PLANNED, again=False, known={}) == [NEEDED, unknown, gone("c")]


def test_nothing_more_is_sent_when_a_guard_refuses_and_what_is_known_is_kept(tmp_path: Path) -> None:
    store = Store({"a": BUSY})
    known: dict[str, Answer] = {}

    def hold(planned: Sequence[Planned]) -> Mapping[str, Answer]:
        if store.asked:
            raise RuntimeError("the lease is lost")
        return {}

    with pytest.raises(RuntimeError, match="the lease is lost"):
        store.sending(tmp_path, hold).answers(PLANNED, again=False, known=known)
    assert store.asked == ["abc"]
    assert known == {"b": gone("b"), "c": gone("c")}


@pytest.mark.parametrize("singly", [False, True])
def test_what_is_held_on_a_repeated_attempt_is_looked_at_before_it_is_called_so(tmp_path: Path, singly: bool) -> None:
    """An earlier run sent these keys: its request may act late, and what it did to a referenced object must be known to be brought back.
    What still stands may go yet."""
    unknown = Answer("unknown", version_id="m")
    store = Store()

    def hold(planned: Sequence[Planned]) -> Mapping[str, Answer]:
        store.found = {"b": unknown}
        return {one.key: NEEDED for one in planned if one.key in "ab"}

    known: dict[str, Answer] = {}
    answers = store.sending(tmp_path, hold, singly=singly).answers(PLANNED, again=True, known=known)
    assert answers == [may_still_go(NEEDED), unknown, gone("c")]
    assert known == {"c": gone("c")}


def test_what_is_finally_refused_of_an_earlier_run_is_not_called_so(tmp_path: Path) -> None:
    """Regression: a request of a run that was killed was forgotten for the refusal of the next one."""
    denied = Answer("failed", code="AccessDenied")
    store = Store({"a": denied, "b": denied})
    known = {"b": denied}
    assert store.sending(tmp_path).answers(PLANNED, again=True, known=known) == [may_still_go(denied), denied, gone("c")]


class Halving(Store):
    """Cannot read one key."""

    def together(self, planned: Sequence[Planned]) -> Mapping[str, Answer | None]:
        if "c" in [one.key for one in planned]:
            self.asked.append("unreadable")
            raise NotReadable
        return super().together(planned)


def test_the_guards_are_asked_before_each_half_of_what_the_store_cannot_read(tmp_path: Path) -> None:
    store, guards = Halving(), Guards({}, {"a": NEEDED})
    answers = store.sending(tmp_path, guards.hold).answers(PLANNED, again=False, known={})
    assert answers == [NEEDED, gone("b"), gone("c")]
    assert guards.asked == ["abc", "a", "bc", "b", "c", "c"]
    assert store.asked == ["unreadable", "unreadable", "b", "unreadable", "c"]


def test_what_the_first_half_answered_is_kept_when_the_second_breaks_off(tmp_path: Path) -> None:
    store, known = Halving(), dict[str, Answer]()

    def hold(planned: Sequence[Planned]) -> Mapping[str, Answer]:
        if "b" in store.asked:
            raise RuntimeError("the lease is lost")
        return {}

    with pytest.raises(RuntimeError, match="the lease is lost"):
        store.sending(tmp_path, hold).answers(PLANNED, again=False, known=known)
    assert known == {"a": gone("a"), "b": gone("b")}


def test_a_request_for_nothing_is_not_sent(tmp_path: Path) -> None:
    store = Store()
    answers = store.sending(tmp_path, lambda some: dict.fromkeys("abc", NEEDED)).answers(PLANNED, again=False, known={})
    assert answers == [NEEDED] * 3
    assert store.asked == []


def test_no_answer_is_looked_up_before_it_is_sent_again(tmp_path: Path) -> None:
    lost = Answer("unknown", version_id="m")
    store = Store({"a": None, "b": NO_ANSWER}, settled={"a": lost})
    answers = store.sending(tmp_path, lambda _: {}).answers(PLANNED, again=False, known={})
    assert answers == [lost, gone("b"), gone("c")]
    assert (store.asked, store.looked_at) == (["abc", "b"], ["a", "b"])


def test_guards_are_asked_about_what_those_before_them_let_go() -> None:
    first, second = Guards({"a": NEEDED}), Guards({"b": NEEDED})
    assert held_by([first.hold, second.hold], PLANNED) == {"a": NEEDED, "b": NEEDED}
    assert (first.asked, second.asked) == (["abc"], ["bc"])


def test_the_time_that_counts_is_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the guards, which may ask the databases meanwhile; and nothing counts where nothing was sent."""
    told: list[dict[str, float]] = []
    monkeypatch.setattr(Pace, "answered", lambda _, **figures: told.append(figures))
    monkeypatch.setattr(sending, "seconds_on_the_wire", lambda: 0.25)
    store, guards = Store(), Guards({"a": NEEDED}, dict.fromkeys("abc", NEEDED))
    store.sending(tmp_path, guards.hold).answers(PLANNED, again=False, known={})
    store.sending(tmp_path, guards.hold).answers(PLANNED, again=False, known={})
    assert told == [{"keys": 2, "refused": 0, "seconds": 0.25}]


def test_what_is_held_behind_a_request_without_an_answer_is_not_called_left_alone(tmp_path: Path) -> None:
    """The store may carry that request out whenever it likes: the after-check must know of it."""
    store, guards = Store({"a": None, "b": BUSY}), Guards({}, {"a": NEEDED, "b": NEEDED})
    answers = store.sending(tmp_path, guards.hold).answers(PLANNED, again=False, known={})
    assert answers == [may_still_go(NEEDED), NEEDED, gone("c")]
    assert {"MayStillGo", "NotSent", *sending.DOUBTFUL} == set(UNANSWERED)


@pytest.mark.parametrize("later", [BUSY, Answer("failed", code="AccessDenied"), Answer("failed", code="InternalError")])
def test_a_request_without_an_answer_is_not_forgotten_for_a_later_refusal(
    tmp_path: Path, later: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "wait", lambda *_: None)
    store = Store({"a": None}, *[{"a": later}] * 10)
    answers = store.sending(tmp_path).answers(PLANNED, again=False, known={})
    assert answers[1:] == [gone("b"), gone("c")]
    assert answers[0].outcome == "failed"
    assert sending.is_unanswered(answers[0].code), "the store's own word, where that says as much"
