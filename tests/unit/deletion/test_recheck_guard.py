"""Rule 10 as a guard: what is asked when, how long an answer is used, and what follows when something is in use after it went."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_none

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.noted import NotedChunks, read_noted
from orphan_pipeline.deletion.recheck import blocks, guard
from orphan_pipeline.deletion.recheck.blocks import read_block
from orphan_pipeline.deletion.recheck.guard import NOTED, Recheck
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.recheck.asking import Asked
from orphan_pipeline.references.recheck.indexes import Form
from orphan_pipeline.references.recheck.ways import Keys, Way
from orphan_pipeline.settings.model import ReferenceSettings

AT = datetime(2026, 11, 1, tzinfo=UTC)
SOURCE = ReferenceSettings.model_validate({"name": "documents", "database": "app", "sql": "SELECT k FROM t"})
FORM: Any = Form(condition=lambda raws: pytest.fail("not asked in SQL here"), indexes=(), one_by_one=False)


@dataclass
class Clock:
    seconds: float = 1000.0

    def elapsed(self) -> float:
        return self.seconds


@dataclass
class Databases:
    """What is in use, and every question. Each takes `seconds`."""

    clock: Clock
    by_index: bool = True
    in_use: set[str] = field(default_factory=set)
    seconds: float = 0.0
    questions: list[list[str]] = field(default_factory=list)

    def ways(self, keys: Keys) -> Sequence[Way]:
        return [Way(source=SOURCE, form=FORM if self.by_index else None, why="no index")]

    def ask(self, keys: Keys) -> Asked:
        asked = [str(key) for key in keys.to_pylist()]
        self.questions.append(asked)
        began = self.clock.seconds
        self.clock.seconds += self.seconds
        return Asked(in_use={key: "documents" for key in asked if key in self.in_use}, began=began, seconds=self.seconds)


@dataclass
class World:
    folder: Path
    clock: Clock
    databases: Databases
    outcomes: dict[str, str] = field(default_factory=dict)
    back: list[tuple[list[str], list[int]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None
    """What another worker does while keys are brought back."""

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger")

    def bring_back(self, keys: Collection[str], chunks: Collection[int]) -> Mapping[str, str]:
        self.back.append((list(keys), list(chunks)))
        self.meanwhile()
        return {key: self.outcomes.get(key, "restored") for key in keys}

    def recheck(self, *, keys_per_second: int = 3000, max_age: timedelta = timedelta(minutes=15)) -> Recheck:
        return Recheck(
            asker=self.databases,
            plan=self.folder / "plan.parquet",
            ledger=self.ledger,
            max_age=max_age,
            keys_per_second=keys_per_second,
            bring_back=self.bring_back,
            report=self.said.append,
        )

    def gone(self, recheck: Recheck, chunk: int, outcome: Any = "deleted") -> None:
        """As the executor does it: outcome first, then the guard."""
        answers = [Answer(outcome, version_id="v")] * 2
        self.ledger.record(chunk, rows(chunk), answers, at=AT)
        recheck.after(chunk, rows(chunk), answers)


def rows(chunk: int) -> list[Planned]:
    return [Planned(f"{chunk}/{n}", "e", 1, AT) for n in range(2)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A plan of twenty chunks with two keys each."""
    lines = [{"chunk": chunk, "key": one.key} for chunk in range(20) for one in rows(chunk)]
    columns = {"chunk": pa.array([line["chunk"] for line in lines], pa.int32()), "key": pa.array([str(line["key"]) for line in lines])}
    pq.write_table(pa.table(columns), tmp_path / "plan.parquet")
    clock = Clock()
    for module in (blocks, guard):
        monkeypatch.setattr(module, "elapsed", clock.elapsed)
    monkeypatch.setattr(guard, "wait_random_exponential", lambda **_: wait_none())
    return World(tmp_path, clock, Databases(clock))


def test_what_is_in_use_is_held_and_one_question_serves_the_chunks_behind(world: World) -> None:
    world.databases.in_use = {"0/1", "7/0", "8/0"}
    recheck = world.recheck()
    assert recheck.before(0, rows(0)) == {"0/1": Answer("referenced_again", code="documents")}
    assert recheck.before(7, rows(7)) == {"7/0": Answer("referenced_again", code="documents")}
    assert len(world.databases.questions) == 1
    assert recheck.before(8, rows(8)) == {"8/0": Answer("referenced_again", code="documents")}
    assert recheck.before(9, rows(9)[:1]) == {}, "an earlier guard may have held the rest"
    assert [question[0] for question in world.databases.questions] == ["0/0", "8/0"]
    held = Answer("referenced_again", code="documents")
    recheck.after(0, rows(0), [Answer("deleted", version_id="m"), held])
    recheck.after(7, rows(7), [held, Answer("deleted", version_id="m")])
    assert recheck.figures.held == {"documents": 2}, "as the ledger has it"


def test_an_answer_is_used_no_longer_than_it_may(world: World) -> None:
    recheck = world.recheck()
    recheck.before(0, rows(0))
    world.clock.seconds += 9
    recheck.before(1, rows(1))
    world.clock.seconds += 2
    world.databases.in_use = {"2/0"}
    assert "2/0" in recheck.before(2, rows(2))


def test_by_passes_answers_age_from_before_the_first_look_and_never_beyond_the_limit(world: World) -> None:
    world.databases.by_index, world.databases.seconds = False, 300
    recheck = world.recheck()
    recheck.before(0, rows(0))
    world.clock.seconds += 599
    recheck.before(19, rows(19))
    assert len(world.databases.questions) == 1
    world.clock.seconds += 2
    recheck.before(1, rows(1))
    assert len(world.databases.questions) == 2


def test_asking_that_takes_longer_than_an_answer_may_be_used_ends_the_run(world: World) -> None:
    world.databases.by_index, world.databases.seconds = False, 900
    with pytest.raises(Refused, match=r"took 900 s, longer than an answer may be used .* raise deletion.recheck_max_age"):
        world.recheck().before(0, rows(0))


def test_a_block_by_passes_is_what_can_go_in_half_of_the_time(world: World) -> None:
    world.databases.by_index = False
    recheck = world.recheck(keys_per_second=10, max_age=timedelta(seconds=600))  # 3,000 keys: three chunks
    recheck.before(0, rows(0))
    recheck.before(3, rows(3))
    assert [len(question) for question in world.databases.questions] == [6, 6]


def test_what_comes_into_use_after_its_chunk_is_brought_back_with_the_next_question(world: World) -> None:
    recheck = world.recheck()
    recheck.before(0, rows(0))
    world.gone(recheck, 0)
    world.gone(recheck, 1)
    world.gone(recheck, 2, "changed")
    world.databases.in_use = {"0/1", "1/0", "2/0"}
    recheck.before(8, rows(8))
    assert world.back == [(["0/1", "1/0"], [0, 1])]
    assert recheck.figures.brought_back == {"0/1": "restored", "1/0": "restored"}
    assert "asked again after its chunk: source documents is using '0/1': restored" in world.said
    world.gone(recheck, 8)
    world.databases.in_use = {"8/0", "0/0"}
    recheck.finish()
    assert world.back[1:] == [(["8/0"], [8])], "the last chunks are asked after too, and none twice"
    assert read_noted(world.ledger.folder / NOTED) == NotedChunks(below=3, also=(8,))


def test_by_index_what_went_does_not_wait_for_long(world: World) -> None:
    recheck = world.recheck()
    for chunk in range(7):
        world.gone(recheck, chunk)
    assert world.databases.questions == []
    world.gone(recheck, 7)
    assert len(world.databases.questions) == 1
    world.gone(recheck, 8)
    world.clock.seconds += 11
    world.gone(recheck, 9)
    assert len(world.databases.questions) == 2


def test_a_run_that_was_killed_before_it_asked_after_is_made_up_for(world: World) -> None:
    first = world.recheck()
    world.gone(first, 0)
    first.finish()
    world.gone(first, 1)
    world.gone(first, 2)  # killed here
    world.databases.in_use = {"0/0", "1/1"}
    world.recheck().finish()
    assert world.back == [(["1/1"], [1])]
    assert world.recheck()._gone == {}


def test_behind_a_key_that_stays_away_every_other_chunk_is_asked_after(world: World) -> None:
    """Regression: the first key that could not be brought back kept all later chunks from being asked after."""
    for chunk in range(20):
        world.ledger.record(chunk, rows(chunk), [Answer("deleted", version_id="v")] * 2, at=AT)
    world.databases.in_use, world.outcomes = {"0/1", "1/0", "19/1"}, {"0/1": "unknown"}
    first = world.recheck()
    with pytest.raises(Refused, match="'0/1' became referenced"):
        first.finish()
    assert {key for keys, _ in world.back for key in keys} == {"0/1", "1/0", "19/1"}
    assert read_noted(world.ledger.folder / NOTED) == NotedChunks(below=0, also=tuple(range(1, 20)))


@pytest.mark.parametrize("outcome", ["lost", "refused", "unknown"])
def test_what_cannot_be_brought_back_ends_the_run_and_is_named(world: World, outcome: str) -> None:
    recheck = world.recheck()
    world.gone(recheck, 0)
    world.databases.in_use, world.outcomes = {"0/1"}, {"0/1": outcome}
    with pytest.raises(
        Refused,
        match=rf"'0/1' became referenced by source documents .* not be brought back \({outcome}\): orphan-pipeline restore --key '0/1'",
    ):
        recheck.finish()
    assert len(world.back) == (1 if outcome == "unknown" else guard.ATTEMPTS), (
        "the application may be writing under the key: looked at again"
    )
    with pytest.raises(Refused):
        world.recheck().finish()


@pytest.mark.parametrize("outcome", ["newer", "deleted_again"])
def test_what_the_application_did_itself_is_no_failure(world: World, outcome: str) -> None:
    recheck = world.recheck()
    world.gone(recheck, 0)
    world.databases.in_use, world.outcomes = {"0/1"}, {"0/1": outcome}
    recheck.finish()
    assert recheck.figures.brought_back == {"0/1": outcome}


def test_a_plan_that_is_not_the_one_that_was_asked_about_is_refused(world: World) -> None:
    recheck = world.recheck()
    with pytest.raises(Refused, match="there is no chunk 20: was the plan edited"):
        recheck.before(20, rows(20))
    with pytest.raises(Refused, match="chunk 1 has 2 keys, expected 3: was the plan edited"):
        recheck.before(1, [*rows(1), *rows(2)[:1]])


def test_several_workers_share_one_question(world: World) -> None:
    world.databases.in_use = {f"{chunk}/0" for chunk in range(8)}
    recheck = world.recheck()
    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(lambda chunk: recheck.before(chunk, rows(chunk)), range(8)))
    assert [list(one) for one in held] == [[f"{chunk}/0"] for chunk in range(8)]
    # Which worker comes first decides where the block begins; each asks at most once.
    assert 1 <= len(world.databases.questions) <= 8


@given(st.lists(st.sets(st.integers(0, 30), max_size=6), max_size=8))
def test_chunks_that_were_asked_after_are_remembered_exactly(found: list[set[int]]) -> None:
    noted, expected = NotedChunks(), set[int]()
    for chunks in found:
        noted = noted.with_chunks(chunks)
        expected |= chunks
    assert {chunk for chunk in range(40) if chunk in noted} == expected
    assert noted.below not in noted


@pytest.mark.parametrize("row_group", [1, 7, 10, 1000])
@pytest.mark.parametrize(("first", "chunks"), [(0, 1), (0, 3), (2, 2), (4, 1), (3, 9), (5, 1)])
def test_a_block_is_read_whole_wherever_its_row_groups_end(tmp_path: Path, row_group: int, first: int, chunks: int) -> None:
    keys = [(chunk, f"{chunk}-{n}") for chunk, size in enumerate([3, 10, 10, 10, 4]) for n in range(size)]
    table = pa.table({"chunk": pa.array([chunk for chunk, _ in keys], pa.int32()), "key": [key for _, key in keys]})
    pq.write_table(table, tmp_path / "plan.parquet", row_group_size=row_group)
    counts, found = read_block(tmp_path / "plan.parquet", first, chunks)
    assert found.to_pylist() == [key for chunk, key in keys if first <= chunk < first + chunks]
    assert counts == Counter(chunk for chunk, _ in keys if first <= chunk < first + chunks)


def test_what_was_answered_counts_before_anything_is_brought_back(world: World) -> None:
    """Regression: while keys were brought back, another worker let its chunk go by the answer before. Chunks are not begun in their order,
    so that one is asked about more than once."""
    recheck = world.recheck()
    recheck.before(2, rows(2))
    world.gone(recheck, 2)
    world.databases.in_use = {"2/0", "5/1"}
    held: list[Mapping[str, Answer]] = []
    world.meanwhile = lambda: held.append(recheck.before(5, rows(5)))
    recheck.before(1, rows(1))
    assert world.back == [(["2/0"], [2])]
    assert held == [{"5/1": Answer("referenced_again", code="documents")}]


def test_what_an_earlier_run_finished_is_not_asked_about_as_coming(world: World) -> None:
    recheck = world.recheck()
    for chunk in (1, 3, 19):
        world.gone(recheck, chunk)
    again = world.recheck()
    again.before(0, rows(0))
    [asked] = world.databases.questions[-1:]
    coming = [one.key for chunk in (0, 2, 4, 5, 6, 7) for one in rows(chunk)]
    assert asked == coming + [one.key for chunk in (1, 3, 19) for one in rows(chunk)], "those are asked after"
