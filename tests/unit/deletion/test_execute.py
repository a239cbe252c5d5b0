"""Several chunks at once: the canary alone and looked at, guards asked in order, whatever stops or breaks a run leaves the ledger exact."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Lock, Semaphore
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orphan_pipeline.deletion.ending import Ended
from orphan_pipeline.deletion.execute import Pretending, execute_plan
from orphan_pipeline.deletion.guards import Hold
from orphan_pipeline.deletion.ledger import Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.sending import may_still_go
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.errors import Refused

AT = datetime(2026, 11, 1, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
OF = LedgerPlan(bucket="media", prefix="a/", sweep_id="s1", digest="d", dry_run=False)
SECONDS = 60
"""How long a test waits for what must come."""


def plan_of(path: Path, chunks: int, *, keys: int = 2) -> Path:
    lines = [
        {"chunk": chunk, "key": f"{chunk:02d}-{i}", "etag": "e", "size": 10, "last_modified": AT}
        for chunk in range(chunks)
        for i in range(keys)
    ]
    pq.write_table(pa.Table.from_pylist(lines), path)
    return path


class Deleting(Pretending):
    """Deletes everything, and does what a test wants on the way."""

    leaves_markers = True

    def __init__(self, on_chunk: Callable[[int], object] = lambda _: None) -> None:
        self.on_chunk, self.lock = on_chunk, Lock()
        self.keys: list[str] = []
        self.verified: list[list[Answer]] = []
        self.gone: dict[str, Answer] = {}

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
        self.on_chunk(int(planned[0].key[:2]))
        with self.lock:
            self.keys += [one.key for one in planned]
        return [Answer("deleted", version_id=f"m{one.key}") for one in planned]

    def as_left(self, planned: Sequence[Planned], held: Mapping[str, Answer]) -> Mapping[str, Answer]:
        return {one.key: self.gone.get(one.key) or held[one.key] for one in planned}

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        self.verified.append(list(answers))


class Guarding:
    """Holds what it is told to, and writes down what it is asked."""

    def __init__(self, name: str, log: list[str], *, held: Mapping[str, Answer] | None = None, fails_at: str = "") -> None:
        self.name, self.log, self.held, self.fails_at = name, log, held or {}, fails_at

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        self._note(f"before {chunk} {' '.join(one.key for one in planned)}")
        return {one.key: self.held[one.key] for one in planned if one.key in self.held}

    def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {}

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        self._note(f"after {chunk} {' '.join(answer.outcome for answer in answers)}")

    def finish(self) -> None:
        self._note("finish")

    def _note(self, line: str) -> None:
        self.log.append(f"{self.name} {line}")
        if self.fails_at and line.startswith(self.fails_at):
            raise Refused(f"{self.name} says no")


def run(plan: Path, ledger: Ledger, deleter: Any, *, limits: Limits | None = None, concurrency: int = 4, **more: Any) -> Ended:
    return execute_plan(
        plan,
        ledger=ledger,
        of=OF,
        run_id="run",
        deleter=deleter,
        keys=1,
        limits=limits or Limits(expires_at=NEVER),
        concurrency=concurrency,
        **{"report": lambda _: None, **more},
    )


def test_so_many_chunks_go_at_once_and_the_canary_alone(tmp_path: Path) -> None:
    together, begun = Barrier(4), []

    def wait_for_the_others(chunk: int) -> None:
        begun.append(chunk)
        if chunk > 0:
            together.wait(SECONDS)

    deleter = Deleting(wait_for_the_others)
    ledger = Ledger(tmp_path / "ledger")
    ended = run(plan_of(tmp_path / "plan", 9), ledger, deleter)
    assert (ended.reason, ended.keys, ended.chunks) == ("completed", 18, 9)
    assert begun[0] == 0
    assert deleter.verified == [[Answer("deleted", version_id="m00-0"), Answer("deleted", version_id="m00-1")]]
    assert sorted(deleter.keys) == [f"{chunk:02d}-{i}" for chunk in range(9) for i in range(2)]
    assert {outcome: amount.objects for outcome, amount in ledger.totals().items()} == {"deleted": 18}


def test_a_canary_that_is_not_what_the_store_said_is_the_last_chunk_of_this_run_and_of_the_next(tmp_path: Path) -> None:
    class Lying(Deleting):
        def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
            raise Refused(f"canary: {planned[0].key} still stands")

    ledger, deleter = Ledger(tmp_path / "ledger"), Lying()
    for _ in range(2):
        with pytest.raises(Refused, match="canary: 00-0 still stands"):
            run(plan_of(tmp_path / "plan", 3), ledger, deleter)
    assert deleter.keys == ["00-0", "00-1"]
    assert [(end.reason, end.words) for end in ledger.endings()] == [("refused", "canary: 00-0 still stands")]


def test_when_one_chunk_fails_the_others_come_to_their_outcome_and_none_is_begun(tmp_path: Path) -> None:
    pace, begun = Pace(tmp_path / "pace", ceiling=1e9), Event()

    def fail_in_two(chunk: int) -> None:
        if chunk == 1:
            begun.set()
            assert pace.stopping.wait(SECONDS)  # until the run knows of the failure
        if chunk == 2:
            assert begun.wait(SECONDS)
            raise OSError("the disk of the lake is full")

    ledger = Ledger(tmp_path / "ledger")
    with pytest.raises(OSError, match="disk of the lake"):
        run(plan_of(tmp_path / "plan", 30), ledger, Deleting(fail_in_two), concurrency=2, pace=pace)
    assert {ledger.finished(chunk) for chunk in (0, 1)} == {True}
    assert ledger.unfinished() == [2]
    assert len(ledger.parquet()) == 2, "what had begun is finished, nothing else is begun"
    [end] = ledger.endings()
    assert (end.reason, end.words) == ("failed", "the disk of the lake is full")
    again = Deleting()
    assert run(plan_of(tmp_path / "plan", 30), ledger, again).reason == "completed"
    assert ledger.totals()["deleted"].objects == 60
    assert len(set(again.keys)) == len(again.keys)


def test_a_worker_that_waits_to_send_again_gives_up_when_another_fails(tmp_path: Path) -> None:
    pace, waiting = Pace(tmp_path / "pace", ceiling=1e9), Event()

    class Waiting(Deleting):
        def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
            if planned[0].key == "01-0":
                known["01-0"] = Answer("deleted", version_id="mine")
                waiting.set()
                pace.wait(10 * SECONDS)
            if planned[0].key == "02-0":
                assert waiting.wait(SECONDS)
                raise Refused("no more")
            return super().__call__(planned, unsettled=unsettled, known=known, hold=hold)

    ledger = Ledger(tmp_path / "ledger")
    with pytest.raises(Refused, match="no more"):
        run(plan_of(tmp_path / "plan", 4), ledger, Waiting(), concurrency=2, pace=pace)
    assert ledger.kept(1) == {"01-0": Answer("deleted", version_id="mine")}
    assert ledger.unfinished() == [1, 2]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_kill_switch_stops_before_the_next_chunk(tmp_path: Path, concurrency: int) -> None:
    switch = tmp_path / "STOP"
    limits = Limits(expires_at=NEVER, kill_switch=switch)
    earlier, written = Semaphore(0), Event()

    def act(chunk: int) -> None:
        if chunk < 5:
            earlier.release()
        elif chunk == 5:
            assert all(earlier.acquire(timeout=SECONDS) for _ in range(5)), "they have begun, so that they count"
            switch.with_suffix(".new").write_text("wait for Ana")
            switch.with_suffix(".new").replace(switch)  # in one step: another worker may read it at any moment
            written.set()
        else:  # the other workers must not run ahead of the one that writes it
            assert written.wait(SECONDS)

    deleter = Deleting(act)
    ledger = Ledger(tmp_path / "ledger")
    ended = run(plan_of(tmp_path / "plan", 40), ledger, deleter, limits=limits, concurrency=concurrency)
    assert str(ended) == f"stopped (kill switch): {switch} stands there: wait for Ana. Remove it to let deletion go on"
    assert 6 <= ended.chunks <= 6 + 2 * concurrency
    assert ledger.unfinished() == []
    assert run(tmp_path / "plan", ledger, deleter, limits=limits).keys == 0
    switch.unlink()
    assert run(tmp_path / "plan", ledger, Deleting(), limits=limits).reason == "completed"
    assert ledger.totals()["deleted"].objects == 80
    assert len(ledger.endings()) == 1, "one a run; the tests' runs all have one id"


@pytest.mark.parametrize("concurrency", [1, 8])
def test_never_more_than_the_cap(tmp_path: Path, concurrency: int) -> None:
    limits, ledger = Limits(expires_at=NEVER, max_deletions=9), Ledger(tmp_path / "ledger")
    plan = plan_of(tmp_path / "plan", 10)
    ended = run(plan, ledger, Deleting(), limits=limits, concurrency=concurrency)
    assert (ended.reason, ended.keys) == ("cap", 8)
    assert [run(plan, ledger, Deleting(), limits=limits).keys for _ in range(3)] == [8, 4, 0]


def test_guards_are_asked_in_order_and_the_next_only_of_what_is_left(tmp_path: Path) -> None:
    log: list[str] = []
    needed, reason = Answer("referenced_again", code="documents"), Answer("held", code="the hook says so")
    guards = [Guarding("first", log, held={"01-0": needed}), Guarding("second", log, held={"01-0": reason, "01-1": reason})]
    ledger, deleter = Ledger(tmp_path / "ledger"), Deleting()
    run(plan_of(tmp_path / "plan", 2), ledger, deleter, guards=guards)
    assert log == [
        "first before 0 00-0 00-1",
        "second before 0 00-0 00-1",
        "first after 0 deleted deleted",
        "second after 0 deleted deleted",
        "first before 1 01-0 01-1",
        "second before 1 01-1",
        "first after 1 referenced_again held",
        "second after 1 referenced_again held",
        "first finish",
        "second finish",
    ]
    assert deleter.keys == ["00-0", "00-1"]
    assert dict(zip("01", (answer for _, answer in ledger.recorded(1)), strict=True)) == {"0": needed, "1": reason}


def test_a_guard_that_says_no_leaves_no_intent_and_every_guard_finishes(tmp_path: Path) -> None:
    log: list[str] = []
    guards = [Guarding("first", log, fails_at="finish"), Guarding("second", log, fails_at="before 1")]
    ledger, deleter = Ledger(tmp_path / "ledger"), Deleting()
    with pytest.raises(Refused):
        run(plan_of(tmp_path / "plan", 3), ledger, deleter, guards=guards, concurrency=1)
    assert log[-2:] == ["first finish", "second finish"]
    assert (ledger.unfinished(), deleter.keys) == ([], ["00-0", "00-1"])


def test_a_chunk_that_lost_a_marker_is_looked_after_before_the_run_ends(tmp_path: Path) -> None:
    """Regression: its other keys were not asked after, and nobody would have done so later: the plan goes no further."""

    class Suspended(Deleting):
        def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
            marker = None if planned[0].key == "02-0" else "m"
            return [Answer("deleted", version_id=marker), *(Answer("deleted", version_id="m") for _ in planned[1:])]

    log: list[str] = []
    with pytest.raises(Refused, match="chunk 2: '02-0' is gone without a delete marker"):
        run(plan_of(tmp_path / "plan", 5), Ledger(tmp_path / "ledger"), Suspended(), guards=[Guarding("g", log)])
    assert "g after 2 deleted deleted" in log


def test_the_first_error_ends_the_run_and_the_others_are_told(tmp_path: Path) -> None:
    """Regression: a guard that failed afterwards hid that an object was lost."""

    class Suspended(Deleting):
        def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
            return [Answer("deleted", version_id=None) for _ in planned]

    log: list[str] = []
    said: list[str] = []
    ledger = Ledger(tmp_path / "ledger")
    guards = [Guarding("first", log, fails_at="after 0"), Guarding("second", log, fails_at="finish")]
    with pytest.raises(Refused, match="'00-0' is gone without a delete marker"):
        run(plan_of(tmp_path / "plan", 3), ledger, Suspended(), guards=guards, report=said.append)
    assert said[-2:] == ["besides: first says no", "besides: second says no"]
    [end] = ledger.endings()
    assert (end.reason, "is gone without a delete marker" in end.words) == ("refused", True)


def test_every_guard_is_told_of_a_chunk_also_behind_one_that_says_no(tmp_path: Path) -> None:
    """Regression: what another guard had to do after this chunk was left to the plan's next run."""
    log: list[str] = []
    guards = [Guarding("first", log, fails_at="after 1"), Guarding("second", log)]
    with pytest.raises(Refused, match="first says no"):
        run(plan_of(tmp_path / "plan", 3), Ledger(tmp_path / "ledger"), Deleting(), guards=guards, concurrency=1)
    assert "second after 1 deleted deleted" in log


def test_the_canary_is_looked_at_once_and_before_anything_can_be_brought_back(tmp_path: Path) -> None:
    """Regression: a key of it that came back, by the question after its chunk, stopped every later run of the plan."""
    log: list[str] = []

    class Looking(Deleting):
        def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
            log.append("verify")

    ledger, plan = Ledger(tmp_path / "ledger"), plan_of(tmp_path / "plan", 3)
    limits = Limits(expires_at=NEVER, max_deletions=2)
    run(plan, ledger, Looking(), guards=[Guarding("g", log)], limits=limits)
    assert log == ["g before 0 00-0 00-1", "verify", "g after 0 deleted deleted", "g finish"]
    log.clear()
    assert run(plan, ledger, Looking(), guards=[Guarding("g", log)]).reason == "completed"
    assert "verify" not in log


def test_a_canary_that_nobody_looked_at_is_looked_at_by_the_next_run(tmp_path: Path) -> None:
    class Killed(Deleting):
        def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
            raise KeyboardInterrupt

    ledger, plan = Ledger(tmp_path / "ledger"), plan_of(tmp_path / "plan", 3)
    with pytest.raises(KeyboardInterrupt):
        run(plan, ledger, Killed())
    deleter = Deleting()
    assert run(plan, ledger, deleter).reason == "completed"
    assert len(deleter.verified) == 1


def test_a_guard_is_asked_after_the_outcome_is_on_disk(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")

    class Looking(Guarding):
        def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
            assert ledger.finished(chunk)
            super().after(chunk, planned, answers)

    log: list[str] = []
    run(plan_of(tmp_path / "plan", 5), ledger, Deleting(), guards=[Looking("g", log)])
    assert sorted(line for line in log if "after" in line) == [f"g after {chunk} deleted deleted" for chunk in range(5)]


def test_a_key_held_only_now_that_an_earlier_run_made_go_keeps_what_the_store_shows(tmp_path: Path) -> None:
    """Otherwise the ledger would say `left alone` of an object that is gone, and nobody would bring it back."""
    plan, ledger, deleter = plan_of(tmp_path / "plan", 1), Ledger(tmp_path / "ledger"), Deleting()
    ledger.begin(OF)
    ledger.intend(0, run_id="killed", at=AT)
    gone = Answer("unknown", version_id="m", code="SettledByLooking")
    deleter.gone["00-0"] = gone
    needed = Answer("referenced_again", code="documents")
    log: list[str] = []
    run(plan, ledger, deleter, guards=[Guarding("g", log, held={"00-0": needed, "00-1": needed})])
    assert [answer for _, answer in ledger.recorded(0)] == [gone, may_still_go(needed)], "and what stands may yet go by that run's request"
    assert log[1] == "g after 0 unknown referenced_again", "so that it is brought back"


def test_a_cancelled_run_says_so(tmp_path: Path) -> None:
    def cancel(chunk: int) -> None:
        if chunk == 1:
            raise KeyboardInterrupt

    ledger = Ledger(tmp_path / "ledger")
    with pytest.raises(KeyboardInterrupt):
        run(plan_of(tmp_path / "plan", 3), ledger, Deleting(cancel), concurrency=1)
    [end] = ledger.endings()
    assert (end.reason, end.words, end.keys) == ("cancelled", "KeyboardInterrupt", 2)
    assert ledger.unfinished() == [1]


def test_a_plan_without_rows_is_completed(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([], schema=pq.read_schema(plan_of(tmp_path / "plan", 1))), tmp_path / "empty")
    assert run(tmp_path / "empty", Ledger(tmp_path / "ledger"), Deleting()).reason == "completed"


def test_each_worker_rests_after_each_chunk_unless_the_run_is_being_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[bool] = []
    wait = Event.wait

    def resting(self: Event, timeout: float | None = None) -> bool:
        if timeout != 17.0:
            return wait(self, timeout)
        rests.append(self.is_set())
        return False

    monkeypatch.setattr(Event, "wait", resting)
    run(plan_of(tmp_path / "plan", 5), Ledger(tmp_path / "ledger"), Deleting(), rest=timedelta(seconds=17))
    assert rests == [False] * 5
