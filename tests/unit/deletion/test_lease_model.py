"""The lease (rule 14) as a state machine: runs take, renew, lose, give back and crash in any order, with another's writing between any
reading and writing, and never do two hold it that must not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orphan_pipeline.deletion.lease import lease as module
from orphan_pipeline.deletion.lease.document import Holder, LeaseDocument
from orphan_pipeline.deletion.lease.lease import Lease, leased
from orphan_pipeline.deletion.lease.registers import Reading
from orphan_pipeline.errors import Refused

EXPIRY = timedelta(seconds=60)
PURPOSES = ("deletion of sweep 1", "deletion of sweep 2", "restore r")
PARTS = ("a/", "b/")


def acquire(register: object, *, purpose: str, part: str, run_id: str, wait: timedelta = timedelta(0)) -> Lease:
    """Without the thread that renews it."""
    return module._acquire(
        register,  # type: ignore[arg-type]
        purpose=purpose,
        part=part,
        run_id=run_id,
        expiry=EXPIRY,
        wait=wait,
        report=lambda _: None,
    )


@dataclass
class World:
    """One document, one time. `meanwhile` happens once, between the next reading and its writing."""

    seconds: float = 0.0
    document: LeaseDocument | None = None
    tag: int = 0
    meanwhile: Callable[[], None] | None = None
    where: str = "here"

    def elapsed(self) -> float:
        return self.seconds

    def read(self) -> Reading:
        whole = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(self.seconds))  # as a Date header says it
        return Reading(document=self.document, tag=None if self.document is None else str(self.tag), now=whole)

    def write(self, document: LeaseDocument, *, after: Reading) -> bool:
        return self._change(document, after)

    def remove(self, *, after: Reading) -> bool:
        return self._change(None, after)

    def _change(self, document: LeaseDocument | None, after: Reading) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if (None if self.document is None else str(self.tag)) != after.tag:
            return False
        self.document, self.tag = document, self.tag + 1
        return True


class LeaseMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.held: list[tuple[str, str, Lease]] = []
        self.runs = 0
        self.clock = patch.object(module, "elapsed", self.world.elapsed)
        self.clock.start()

    def teardown(self) -> None:
        self.clock.stop()

    def _take(self, purpose: str, part: str) -> None:
        self.runs += 1
        try:
            lease = acquire(self.world, purpose=purpose, part=part, run_id=f"run {self.runs}")
        except Refused:
            return
        self.held.append((purpose, part, lease))

    @rule(purpose=st.sampled_from(PURPOSES), part=st.sampled_from(PARTS))
    def take(self, purpose: str, part: str) -> None:
        self._take(purpose, part)

    @rule(purposes=st.tuples(*[st.sampled_from(PURPOSES)] * 2), parts=st.tuples(*[st.sampled_from(PARTS)] * 2))
    def take_at_once(self, purposes: tuple[str, str], parts: tuple[str, str]) -> None:
        self.world.meanwhile = lambda: self._take(purposes[1], parts[1])
        self._take(purposes[0], parts[0])
        self.world.meanwhile = None

    @rule(data=st.data(), meanwhile=st.booleans(), purpose=st.sampled_from(PURPOSES), part=st.sampled_from(PARTS))
    def renew(self, data: st.DataObject, meanwhile: bool, purpose: str, part: str) -> None:
        if self.held:
            lease = data.draw(st.sampled_from(self.held))[2]
            self.world.meanwhile = (lambda: self._take(purpose, part)) if meanwhile else None
            try:
                lease._renew()
            except Refused as error:
                lease._lost = str(error)
            self.world.meanwhile = None

    @rule(data=st.data(), meanwhile=st.booleans(), purpose=st.sampled_from(PURPOSES), part=st.sampled_from(PARTS))
    def give_back(self, data: st.DataObject, meanwhile: bool, purpose: str, part: str) -> None:
        if self.held:
            entry = data.draw(st.sampled_from(self.held))
            self.held.remove(entry)
            self.world.meanwhile = (lambda: self._take(purpose, part)) if meanwhile else None
            module._give_back(self.world, entry[2]._holder)
            self.world.meanwhile = None

    @rule(seconds=st.floats(0.1, 90))
    def time_passes(self, seconds: float) -> None:
        """Who does not renew meanwhile is dead, or paused, and believes that it holds until its own deadline."""
        self.world.seconds += seconds

    @invariant()
    def nobody_holds_beside_another(self) -> None:
        holding = []
        for purpose, part, lease in self.held:
            try:
                lease.check()
            except Refused:
                continue
            holding.append((purpose, part))
        assert len({purpose for purpose, _ in holding}) <= 1, holding
        assert len(holding) == len(set(holding)), holding


TestLease = pytest.mark.filterwarnings("default")(LeaseMachine.TestCase)
TestLease.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_who_is_in_the_way_is_named() -> None:
    world = World()
    with patch.object(module, "elapsed", world.elapsed):
        acquire(world, purpose=PURPOSES[0], part="a/", run_id="run 1")
        with pytest.raises(Refused, match=r"held by deletion of sweep 1 \(a/\) on .*, process \d+, run run 1, since 2026-01-01 00:00:00"):
            acquire(world, purpose=PURPOSES[1], part="b/", run_id="run 2")
        acquire(world, purpose=PURPOSES[0], part="b/", run_id="run 3")
    assert world.document is not None
    assert [holder.part for holder in world.document.holders] == ["a/", "b/"]


def test_a_process_that_is_gone_keeps_nobody_out() -> None:
    """Only where its death is certain: the same boot, namespace and pid, and nobody there with that pid and start."""
    world = World()
    with patch.object(module, "elapsed", world.elapsed):
        acquire(world, purpose=PURPOSES[0], part="a/", run_id="run 1")
        assert world.document is not None
        own = world.document.holders[0]
        if own.process is None:
            pytest.skip("this system does not say which process is which")
        where, _, _ = own.process.rpartition(":")[0].rpartition(":")
        world.document = LeaseDocument(holders=(replace(own, process=f"{where}:{2**22 + 1}:77"),))
        acquire(world, purpose=PURPOSES[1], part="a/", run_id="run 2")
        world.document = LeaseDocument(holders=(replace(own, process=f"another boot:1:{2**22 + 1}:77"),))
        with pytest.raises(Refused):
            acquire(world, purpose=PURPOSES[1], part="a/", run_id="run 3")


def test_a_lease_that_was_taken_away_is_lost() -> None:
    world = World()
    with patch.object(module, "elapsed", world.elapsed):
        lease = acquire(world, purpose=PURPOSES[0], part="a/", run_id="run 1")
        lease.check()
        world.seconds = 60
        with pytest.raises(Refused, match="could not be renewed in time"):
            lease.check()


def test_it_is_kept_alive_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWALS", 600)  # often enough to be waited for, and no pause of the machine comes near an expiry
    world = World()
    seen: list[Holder] = []
    with leased(
        world,
        purpose="p",
        part="a/",
        run_id="r",
        expiry=EXPIRY,
        wait=timedelta(0),
        report=seen.append,  # type: ignore[arg-type]
    ) as lease:
        deadline = lease._deadline
        first = world.tag
        while world.tag < first + 2:
            lease.check()
        assert lease._deadline > deadline
    assert world.document is None
    assert not seen
