"""How fast to go: the rate follows what the store answers, in time that the tests make up, and all that share a file share it."""

import heapq
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from math import inf
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.deletion.pace import pace as pace_module
from orphan_pipeline.deletion.pace import shared as shared_module
from orphan_pipeline.deletion.pace.control import FLOOR, START, Rate
from orphan_pipeline.deletion.pace.pace import Interrupted, Pace, ceiling_of_host
from orphan_pipeline.deletion.pace.shared import FORGOTTEN_SECONDS, file_of
from orphan_pipeline.errors import Refused

LIMIT = 3000.0


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(shared_module, "monotonic", clock)
    monkeypatch.setattr(pace_module, "monotonic", clock)
    return clock


@dataclass
class Store:
    """Refuses what is above `limit` keys a second, of which `burst` may come at once."""

    limit: float
    burst: float
    left: float = 0
    at: float = 0

    def takes(self, keys: int, now: float) -> bool:
        self.left = min(self.burst, self.left + (now - self.at) * self.limit)
        self.at = now
        if self.left < keys:
            return False
        self.left -= keys
        return True


@dataclass
class Simulated:
    """Workers that send chunks of 1,000 as the pace lets them."""

    done: int = 0
    requests: int = 0
    refused: int = 0
    seconds: float = 0
    times: list[tuple[float, int]] = field(default_factory=list)


def simulate(clock: Clock, paces: list[Pace], store: Store, *, keys: int, workers: int = 8, latency: float = 0.05) -> Simulated:
    random, result, started = Random(7), Simulated(), clock.now
    events: list[tuple[float, int, Callable[[], None]]] = []
    order = iter(range(10**9))

    def later(seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(events, (clock.now + seconds, next(order), what))

    def ask(pace: Pace) -> None:
        if result.done >= keys:
            return
        wait = pace.try_take(1000)
        if wait:
            later(wait + random.random() * 0.002, lambda: ask(pace))
            return
        result.requests += 1
        result.times.append((clock.now, 1000))
        taken, sent = store.takes(1000, clock.now), clock.now
        result.refused += not taken
        later(latency * (0.5 + random.random()), lambda: answered(pace, taken, sent))

    def answered(pace: Pace, taken: bool, sent: float) -> None:
        result.done += 1000 * taken
        pace.answered(keys=1000, refused=0 if taken else 1000, seconds=clock.now - sent)
        ask(pace)

    for _, pace in zip(range(workers), cycle(paces), strict=False):
        later(0, partial(ask, pace))
    while result.done < keys:
        clock.now, _, what = heapq.heappop(events)
        what()
    result.seconds = clock.now - started
    return result


@pytest.mark.parametrize("burst", [1.0, 4.0])
@pytest.mark.parametrize("latency", [0.02, 0.3])
@pytest.mark.parametrize("runs", [1, 3])
def test_a_limit_of_the_store_is_used_up_and_seldom_passed(clock: Clock, tmp_path: Path, burst: float, latency: float, runs: int) -> None:
    """SPEC: at least 90 % of the rate at which it says SlowDown, with under 2 % of the requests refused, by all runs together."""
    paces = [Pace(tmp_path / "pace", ceiling=100_000) for _ in range(runs)]
    result = simulate(clock, paces, Store(LIMIT, LIMIT * burst), keys=1_000_000, latency=latency, workers=8 * runs)
    assert result.done / result.seconds >= 0.9 * LIMIT
    assert result.refused / result.requests < 0.02
    assert sum(pace.requests for pace in paces) <= result.requests
    assert sum(pace.slowed for pace in paces) == result.refused


def test_a_limit_that_is_gone_is_found_out(clock: Clock, tmp_path: Path) -> None:
    pace, store = Pace(tmp_path / "pace", ceiling=100_000), Store(LIMIT, LIMIT)
    simulate(clock, [pace], store, keys=200_000)
    store.limit = store.burst = 10 * LIMIT
    simulate(clock, [pace], store, keys=500_000)
    assert pace.keys_per_second > 5 * LIMIT


@pytest.mark.parametrize("ceiling", [1500, 20_000])
@pytest.mark.parametrize("runs", [1, 2])
def test_the_ceiling_is_held_by_all_runs_together(clock: Clock, tmp_path: Path, ceiling: int, runs: int) -> None:
    """1,500 is no multiple of a chunk: whole chunks counted by the second would only reach two thirds of it."""
    paces = [Pace(tmp_path / "pace", ceiling=ceiling) for _ in range(runs)]
    result = simulate(clock, paces, Store(inf, inf, left=inf), keys=(30 if ceiling < START else 60) * ceiling, workers=8 * runs)
    assert result.done / result.seconds >= 0.9 * ceiling
    for start, _ in result.times:
        assert sum(keys for at, keys in result.times if start <= at < start + 1) <= ceiling * 1.06 + 1000


def test_answers_that_take_ever_longer_lower_the_rate(clock: Clock, tmp_path: Path) -> None:
    pace = Pace(tmp_path / "pace", ceiling=10_000)
    for seconds in [0.5] * 20:
        pace.answered(keys=1000, refused=0, seconds=seconds)
    assert pace.keys_per_second == START
    for _ in range(100):
        clock.now += 0.6
        pace.answered(keys=1000, refused=0, seconds=5.0)
    assert pace.keys_per_second < START
    small = pace.keys_per_second
    pace.answered(keys=10, refused=0, seconds=60.0)
    assert pace.keys_per_second == small, "a canary says nothing of the time that a chunk takes"


def test_answers_that_are_late_now_and_then_lower_nothing(clock: Clock, tmp_path: Path) -> None:
    """As where the machine is short of processors: nine in a row, then one in time."""
    pace = Pace(tmp_path / "pace", ceiling=10_000)
    for seconds in [0.05] * 20 + [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 0.05] * 20:
        clock.now += 1
        pace.answered(keys=1000, refused=0, seconds=seconds)
    assert pace.keys_per_second >= START


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["grown", "lowered"]), st.floats(0, 100)), max_size=60), st.floats(FLOOR, 100_000))
def test_the_rate_stays_between_floor_and_ceiling(steps: list[tuple[str, float]], ceiling: float) -> None:
    now, rate = 0.0, Rate(at=0.0)
    for what, seconds in steps:
        now += seconds
        rate = rate.grown(now, ceiling=ceiling)
        before = rate.keys
        if what == "lowered":
            rate = rate.lowered(now, sent_at=now)
            assert rate.keys <= before
        assert FLOOR <= rate.keys <= ceiling


def test_what_was_under_way_when_the_rate_fell_lowers_it_no_further() -> None:
    lowered = Rate(at=0.0).lowered(10.0, sent_at=9.0)
    assert lowered.keys < START
    assert lowered.lowered(10.5, sent_at=9.9) == lowered
    assert lowered.lowered(11.0, sent_at=10.5).keys < lowered.keys


def test_a_rate_from_long_ago_or_before_the_boot_is_forgotten(clock: Clock, tmp_path: Path) -> None:
    pace = Pace(tmp_path / "pace", ceiling=100_000)
    pace.answered(keys=1000, refused=1000, seconds=0.1)
    assert pace.keys_per_second < START
    clock.now += FORGOTTEN_SECONDS + 1
    assert pace.keys_per_second == START
    pace.answered(keys=1000, refused=1000, seconds=0.1)
    clock.now = 5.0
    assert pace.keys_per_second == START
    assert pace.try_take(1) == 0
    (tmp_path / "pace").write_bytes(b"half")
    assert pace.keys_per_second == START


def test_two_processes_share_one_rate(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from orphan_pipeline.deletion.pace.pace import Pace\n"
        "pace = Pace(Path(sys.argv[1]), ceiling=100_000)\n"
        "assert pace.try_take(3_000_000) == 0\n"
        "pace.answered(keys=1000, refused=1000, seconds=0.1)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "pace")], check=True)
    pace = Pace(tmp_path / "pace", ceiling=100_000)
    assert pace.keys_per_second < START
    assert pace.try_take(1) > 0, "the keys that the other process took are counted"


def test_a_run_that_is_being_stopped_waits_no_longer(tmp_path: Path) -> None:
    pace = Pace(tmp_path / "pace", ceiling=1)
    pace.take(1000)
    pace.stopping.set()
    with pytest.raises(Interrupted):
        pace.take(1)
    pace.close()


def test_hosts_share_the_ceiling() -> None:
    assert ceiling_of_host(3000, hosts=4) == 750
    with pytest.raises(Refused, match="max_keys_per_second: found 3 for 4 hosts"):
        ceiling_of_host(3, hosts=4)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"orphan_pipeline-{os.getuid()}"


def test_the_file_is_one_a_bucket_of_a_store_and_nobody_elses(temporary: Path) -> None:
    files = {file_of("https://s3.example.com", "media"), file_of("https://s3.example.com", "other"), file_of("https://s4", "media")}
    assert len(files) == 3
    assert {file.parent for file in files} == {temporary}
    assert temporary.stat().st_mode & 0o777 == 0o700
    temporary.rmdir()
    temporary.symlink_to(temporary.parent)
    with pytest.raises(Refused, match="found a folder of another user"):
        file_of("https://s3.example.com", "media")
