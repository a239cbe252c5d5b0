"""Intent before request, outcome whole or absent, totals from answers, one process at a time (rule 13)."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orphan_pipeline.deletion.ending import Ended
from orphan_pipeline.deletion.execute import Pretending, chunks_of, execute_plan, pretend
from orphan_pipeline.deletion.guards import Hold
from orphan_pipeline.deletion.ledger import Answer, Intent, Ledger, LedgerPlan, Planned
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.snapshot import Amount

AT = datetime(2026, 11, 1, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
PLAN = LedgerPlan(bucket="media", prefix="a/", sweep_id="s1", digest="d", dry_run=False)


def planned(keys: int) -> list[Planned]:
    return [Planned(f"{i:04d}", "e", 10, AT) for i in range(keys)]


def plan_of(path: Path, chunks: Sequence[int]) -> Path:
    lines = [{"chunk": chunk, "key": f"{i:04d}", "etag": "e", "size": 10, "last_modified": AT} for i, chunk in enumerate(chunks)]
    pq.write_table(pa.Table.from_pylist(lines), path)
    return path


class Recording(Pretending):
    """A deleter that looks at the disk when it is asked."""

    leaves_markers = True

    def __init__(self, ledger: Ledger, *, dies_at: int | None = None, answer: Answer | None = None) -> None:
        self.ledger, self.dies_at, self.answer = ledger, dies_at, answer or Answer("deleted", version_id="m")
        self.asked: list[tuple[int, bool, list[str]]] = []

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
        on_disk = sorted(path.name for path in self.ledger.folder.iterdir())
        self.asked.append((len(planned), unsettled, on_disk))
        if len(self.asked) - 1 == self.dies_at:
            raise KeyboardInterrupt
        return [self.answer] * len(planned)


def run(plan: Path, ledger: Ledger, deleter: Any, *, expires_at: datetime = NEVER) -> Ended:
    limits = Limits(expires_at=expires_at)
    return execute_plan(plan, ledger=ledger, of=PLAN, run_id="run", deleter=deleter, keys=1, limits=limits, report=lambda _: None)


def test_the_intent_is_on_disk_before_the_request_and_the_outcome_before_the_next(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    deleter = Recording(ledger)
    run(plan_of(tmp_path / "plan", [0, 1, 1]), ledger, deleter)
    assert deleter.asked == [
        (1, False, ["00000000.intent.json", "plan.json"]),
        (2, False, ["00000000.intent.json", "00000000.parquet", "00000001.intent.json", "canary_seen.json", "plan.json"]),
    ]


def test_resuming_skips_what_is_finished_and_settles_what_is_not(tmp_path: Path) -> None:
    ledger, plan = Ledger(tmp_path / "ledger"), plan_of(tmp_path / "plan", [0, 1, 2])
    with pytest.raises(KeyboardInterrupt):
        run(plan, ledger, Recording(ledger, dies_at=1))
    again = Recording(ledger)
    run(plan, ledger, again)
    assert [unsettled for _, unsettled, _ in again.asked] == [True, False]
    assert ledger.totals() == {"deleted": Amount(3, 30)}
    third = Recording(ledger)
    run(plan, ledger, third)
    assert third.asked == []


@pytest.mark.parametrize("outcome", ["deleted", "unknown"])
@pytest.mark.parametrize("version_id", [None, "null"])
def test_without_a_marker_id_it_stops_with_the_chunk_recorded(tmp_path: Path, outcome: Any, version_id: str | None) -> None:
    ledger = Ledger(tmp_path / "ledger")
    deleter = Recording(ledger, answer=Answer(outcome, version_id=version_id))
    with pytest.raises(Refused, match="chunk 0: '0000' is gone without a delete marker"):
        run(plan_of(tmp_path / "plan", [0, 1]), ledger, deleter)
    assert len(deleter.asked) == 1
    assert ledger.totals() == {outcome: Amount(1, 10)}
    with pytest.raises(Refused, match="plan d of a/ goes no further: '0000', and maybe others, went without a delete marker"):
        run(tmp_path / "plan", ledger, deleter)
    assert len(deleter.asked) == 1, "not one more request"


def test_answers_known_when_a_run_broke_off_are_taken_over_and_a_lost_marker_among_them_counts(tmp_path: Path) -> None:
    ledger, plan = Ledger(tmp_path / "ledger"), plan_of(tmp_path / "plan", [0, 0])
    ours = {"0001": Answer("deleted", version_id="m1")}

    class Dies(Pretending):
        leaves_markers = True

        def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
            known |= ours
            raise KeyboardInterrupt

    dies = Dies()
    with pytest.raises(KeyboardInterrupt):
        run(plan, ledger, dies)
    assert (ledger.parquet(), ledger.kept(0), ledger.totals()) == ([], ours, {})
    ours["0001"] = Answer("deleted", version_id="null")
    with pytest.raises(KeyboardInterrupt):
        run(plan, ledger, dies)
    with pytest.raises(Refused, match="'0001', and maybe others, went without a delete marker"):
        run(plan, ledger, dies)


def test_the_first_intent_of_a_chunk_stays(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.intend(0, run_id="first", at=AT)
    ledger.intend(0, run_id="second", at=NEVER)
    assert ledger.intent(0) == Intent(run_id="first", at=AT)


def test_a_chunk_in_two_places_is_an_error_not_a_silent_skip(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chunk 0 comes after chunk 1"):
        list(chunks_of(plan_of(tmp_path / "plan", [0, 1, 0])))


def test_an_outcome_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)

    def break_off(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"PAR1 half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", break_off)
        with pytest.raises(OSError, match="disk full"):
            ledger.record(0, planned(2), [Answer("deleted", "m")] * 2, at=AT)
    assert not ledger.finished(0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="zip"):
        ledger.record(0, planned(2), [Answer("deleted", "m")], at=AT)
    assert not ledger.finished(0)


def test_totals_are_of_the_answers(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(0, planned(3), [Answer("deleted", "m"), Answer("changed"), Answer("failed", code="AccessDenied")], at=AT)
    assert ledger.totals() == {"changed": Amount(1, 10), "deleted": Amount(1, 10), "failed": Amount(1, 10)}
    assert not ledger.begun
    run(plan_of(tmp_path / "plan", [0]), Ledger(tmp_path / "dry"), pretend)
    assert Ledger(tmp_path / "dry").totals() == {"would_delete": Amount(1, 10)}


def test_a_second_process_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from orphan_pipeline.deletion.ledger import Ledger
with Ledger(Path(sys.argv[1])).exclusively():
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Refused, match=f"being executed or restored by process {other.pid}"), Ledger(tmp_path).exclusively():
            pass
        other.kill()
    with Ledger(tmp_path).exclusively():
        pass


def test_a_plan_that_expires_on_the_way_stops_before_the_next_chunk(tmp_path: Path) -> None:
    plan, ledger = plan_of(tmp_path / "plan.parquet", [0, 1]), Ledger(tmp_path / "ledger")
    ended = run(plan, ledger, Recording(ledger), expires_at=AT)
    assert str(ended) == "stopped (expired): the plan expired at 2026-11-01 00:00 UTC: run a new sweep for the rest"
    assert not ledger.begun
    assert ledger.endings() == [ended]


def test_a_ledger_says_whose_it_is_and_takes_no_other_plan(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    assert ledger.plan() is None
    ledger.begin(PLAN)
    ledger.begin(PLAN)
    assert (ledger.plan(), ledger.begun, ledger.parquet()) == (PLAN, False, [])
    deleter = Recording(ledger)
    with pytest.raises(Refused, match=r"found the ledger of .*prefix='a/'.*, expected that of .*prefix='b/'"):
        execute_plan(
            plan_of(tmp_path / "plan", [0]),
            ledger=ledger,
            of=replace(PLAN, prefix="b/"),
            run_id="run",
            deleter=deleter,
            keys=1,
            limits=Limits(expires_at=NEVER),
            report=lambda _: None,
        )
    assert deleter.asked == []
