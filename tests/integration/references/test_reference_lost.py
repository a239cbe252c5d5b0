"""One of several connections that read a table is lost or cancelled in the middle: no snapshot, one line with the source's name, and none
of the others goes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import SECONDS, Asked, Database, Take, until

Source = Callable[..., ReferenceSettings]

GATE = 7
READ_AT_ONCE = 3

# The first half is read; whoever comes to a row of the second stands at the gate, in the middle of its statement.
AT_THE_GATE = f"id <= 2000 OR pg_advisory_xact_lock_shared({GATE}) IS NOT NULL"

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextmanager
def gate(app: Database) -> Iterator[None]:
    with psycopg.connect(app.url, autocommit=True) as keeper:
        keeper.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        yield


def asked_of(app: Database, statement: str) -> list[int]:
    return [int(row[0]) for row in app.admin.execute(statement.encode()).fetchall()]


@pytest.mark.parametrize("way", ["windows", "copies"])
@pytest.mark.parametrize("which", ["the first", "a joined one"])
@pytest.mark.parametrize(
    ("ended_by", "said"),
    [
        ("pg_terminate_backend", "terminating connection due to administrator command"),
        ("pg_cancel_backend", "canceling statement due to user request"),
    ],
)
def test_one_connection_of_several(
    app: Database, take: Take, source: Source, small_windows: Asked, way: str, which: str, ended_by: str, said: str
) -> None:
    app.run(
        "CREATE TABLE documents (id int PRIMARY KEY, data jsonb, key text)",
        "INSERT INTO documents SELECT n, jsonb_build_array('k' || n), 'k' || n FROM generate_series(1, 4000) AS n",
    )
    one = source("$[*]", where=AT_THE_GATE) if way == "windows" else source(column="key", where=AT_THE_GATE)
    until(lambda: not app.ours())  # who has hung up is there until the server hears of it
    with ThreadPoolExecutor(1) as pool, gate(app):
        taken = pool.submit(take, one)
        until(lambda: taken.done() or asked_of(app, WAITING) == [READ_AT_ONCE])
        ours = app.ours()
        assert len(ours) == READ_AT_ONCE
        if way == "windows":
            assert small_windows.by.keys() == {*ours}
            assert sum(map(len, small_windows.by.values())) > READ_AT_ONCE, "nothing was read before"
        app.admin.execute(f"SELECT {ended_by}(%s)".encode(), (ours[0 if which == "the first" else 1],))
        with pytest.raises(Refused) as refused:
            taken.result(timeout=SECONDS)
        # The gate is still closed: whoever stood there was cancelled.
        until(lambda: not app.ours())
    assert str(refused.value) == f"source documents in database app: {said}"


def test_all_are_read_when_the_gate_opens(app: Database, take: Take, source: Source, small_windows: Asked) -> None:
    """Without anybody lost: that the gate alone takes nothing away."""
    app.run(
        "CREATE TABLE documents (id int PRIMARY KEY, data jsonb)",
        "INSERT INTO documents SELECT n, jsonb_build_array('k' || n) FROM generate_series(1, 4000) AS n",
    )
    with ThreadPoolExecutor(1) as pool:
        with gate(app):
            taken = pool.submit(take, source("$[*]", where=AT_THE_GATE))
            until(lambda: taken.done() or asked_of(app, WAITING) == [READ_AT_ONCE])
        assert sorted(taken.result(timeout=SECONDS).keys) == sorted(f"k{n}" for n in range(1, 4001))
    assert len(small_windows.by) == READ_AT_ONCE
