import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from orphan_pipeline.demo import processes
from orphan_pipeline.demo.processes import free_ports, running, wait_until
from orphan_pipeline.errors import Refused


def test_a_child_that_ends_early_is_refused_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = [sys.executable, "-c", "import sys; print('port taken'); sys.exit(3)"]
    with (
        pytest.raises(Refused, match=r"^Server ended with status 3 instead of starting: port taken$"),
        running(program, log=log, cwd=tmp_path, env=dict(os.environ)) as child,
    ):
        wait_until("Server", child, log, lambda: False)


def test_a_deaf_child_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.2)
    log = tmp_path / "log"
    deaf = "import signal, time\nfor s in (2, 3): signal.signal(s, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(99)"
    with running([sys.executable, "-c", deaf], log=log, cwd=tmp_path, env=dict(os.environ)) as child:
        wait_until("Server", child, log, lambda: "up" in log.read_text())
    assert child.returncode == -9


def test_a_child_hears_us_where_a_shell_sent_us_to_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: `make demo KEEP=1 &` was killed outright, and Dagster's processes stayed: they had inherited SIGINT ignored."""
    monkeypatch.setattr(processes, "_STOP_SECONDS", 5)
    log = tmp_path / "log"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with running(["/bin/sh", "-c", "echo up; exec sleep 99"], log=log, cwd=tmp_path, env=dict(os.environ)) as child:
            wait_until("Server", child, log, lambda: "up" in log.read_text())
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.returncode == -signal.SIGINT


def test_an_exception_stops_the_child(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import time; time.sleep(99)"]
    with (
        pytest.raises(KeyboardInterrupt),
        running(program, log=tmp_path / "log", cwd=tmp_path, env=dict(os.environ)) as child,
    ):
        raise KeyboardInterrupt
    assert not psutil.pid_exists(child.pid)


def test_twin_ports_are_free_ports_apart() -> None:
    ports = free_ports(20, twin_offset=10_000)
    assert len(set(ports)) == 20
    assert all(10_240 <= port < 20_000 for port in ports)
