"""Snapshots under fire: rows that move, migrations that run, partitions that go, while the references are read with several connections.
Each snapshot is complete, or the sweep fails. `make proof` takes ORPHAN_PIPELINE_SNAPSHOTS of each."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.references import cut
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, Limits, open_cut
from orphan_pipeline.references.read import read_keys
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Asked, Database, until

Source = Callable[..., ReferenceSettings]
Allow = Callable[[str], None]

SNAPSHOTS = int(os.environ.get("ORPHAN_PIPELINE_SNAPSHOTS", "40"))
SLOWER_SNAPSHOTS = int(os.environ.get("ORPHAN_PIPELINE_SNAPSHOTS", "10"))
SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED", "4"))
LATEST = 5000
"""Of rows that move on for ever, so many are looked for; those before them go."""

MOVES = 20
"""So many there and back in one sweep: they take about as long as it does."""

ROWS = 60
ALL = {f"k{n}" for n in range(1, ROWS + 1)}
MOVE = "WITH moved AS (DELETE FROM {} WHERE id %% 3 = %s RETURNING *) INSERT INTO {} SELECT * FROM moved"


@pytest.fixture(autouse=True)
def asked(small_windows: Asked) -> Asked:
    """All tables here are read as large ones are."""
    return small_windows


@dataclass(slots=True)
class Sweeps:
    """How many were complete, in how many of these two connections read windows of one table, and what the others were refused for."""

    asked: Asked
    complete: int = 0
    by_two: int = 0
    refused: list[str] = field(default_factory=list)

    def take(self, databases: dict[str, str], *sources: ReferenceSettings, limits: Limits | None = None) -> list[set[str]]:
        """The keys of each source."""
        reached = {name: DatabaseUnderCut(url=url, connections=2) for name, url in databases.items()}
        found, most = [], 0
        with open_cut(reached, sources, limits=limits) as cuts:
            for source in sources:
                self.asked.by.clear()
                found.append(keys(source, cuts[source.database]))
                most = max(most, len(self.asked.by))
        self.complete += 1
        self.by_two += most > 1
        return found

    def take_whole_or_refuse(self, url: str, source: ReferenceSettings) -> None:
        """One more sweep of `ALL`."""
        try:
            [found] = self.take({"app": url}, source, limits=Limits(lock_timeout=timedelta(seconds=10)))
        except Refused as error:
            self.refused.append(str(error))
        else:
            assert found == ALL

    def __str__(self) -> str:
        return f"{self.complete} complete, {self.by_two} of them read by two connections, {len(self.refused)} refused"


def table_of(database: Database, name: str, rows: int, kind: str = "") -> None:
    """Rows so long that few lie in one block."""
    database.run(
        f"CREATE TABLE {name} (id int PRIMARY KEY, data jsonb, padding text) {kind}",
        f"INSERT INTO {name} SELECT n, jsonb_build_array('k' || n), repeat('x', 1500) FROM generate_series(1, {rows}) AS n",
    )


def keys(source: ReferenceSettings, frozen: Cut) -> set[str]:
    return {str(key) for table in read_keys(source, frozen) for key in table["key"].to_pylist()}


@contextmanager
def meanwhile(work: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """Calls `work` with 0, 1, 2, … in another thread for as long as the body runs; it must have got somewhere. What is given waits until
    it has done so many, or failed: on a slow machine the body is not to be over before."""
    enough, worked = threading.Event(), [0]

    def run() -> None:
        while not enough.is_set():
            work(worked[0])
            worked[0] += 1

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run)

        def has_done(wanted: int) -> None:
            until(lambda: worked[0] >= wanted or done.done())

        try:
            yield has_done
        finally:
            enough.set()
        done.result(timeout=60)
        assert worked[0] > 5


def test_rows_that_move_between_tables_are_never_missing(app: Database, source: Source, asked: Asked) -> None:
    table_of(app, "documents", ROWS)
    table_of(app, "history", 0)
    live, history = source("$[*]"), source("$[*]", name="history", table="history")
    begins = threading.Event()
    with psycopg.connect(app.url, autocommit=True) as session:

        def rest() -> None:
            """Or the tables grow faster than they are read."""
            session.execute("VACUUM documents, history")
            begins.clear()
            begins.wait(timeout=5)

        def move(n: int) -> None:
            session.execute(MOVE.format("documents", "history").encode(), (n % 3,))
            if n % (2 * MOVES) == MOVES - 1:  # every other time in between: whoever comes late finds other sizes too
                rest()
            session.execute(MOVE.format("history", "documents").encode(), ((n + 1) % 3,))
            if n % (2 * MOVES) == 2 * MOVES - 1:
                rest()

        with meanwhile(move) as has_moved:
            sizes, sweeps = set(), Sweeps(asked)
            for n in range(SNAPSHOTS):
                has_moved(min(n, MOVES // 2))
                begins.set()
                in_live, in_history = sweeps.take({"app": app.url}, live, history)
                assert in_live | in_history == ALL
                sizes.add(len(in_live))
    print(f"\nrows move between tables: {sweeps}")
    assert sweeps.by_two
    assert len(sizes) > 1, "no row moved while the snapshots were taken"


def test_rows_that_move_to_another_database_are_never_missing(app: Database, database_url: str, source: Source, asked: Asked) -> None:
    """The database that rows leave is named, and so frozen, first; a row is in the other before it leaves. The other way round it could be
    looked for where it is not yet, and then where it is no more."""
    with (
        psycopg.connect(database_url, autocommit=True) as other_admin,
        psycopg.connect(app.url, autocommit=True) as one,
        psycopg.connect(database_url, autocommit=True) as two,
    ):
        other = Database(database_url, other_admin)
        for database in (app, other):
            database.run("CREATE TABLE documents (id int PRIMARY KEY, data jsonb)")
        live, archive = source("$[*]"), source("$[*]", name="archive", database="other")
        born, looked_for_from = [0], [0]

        def move(n: int) -> None:
            one.execute("INSERT INTO documents VALUES (%s, jsonb_build_array('k' || %s::int))", (n, n))
            born[0] = n + 1
            if n >= 20:
                two.execute("INSERT INTO documents VALUES (%s, jsonb_build_array('k' || %s::int))", (n - 20, n - 20))
                one.execute("DELETE FROM documents WHERE id = %s", (n - 20,))
            if n % 100 == 0:  # or each snapshot would take longer than the one before
                two.execute("DELETE FROM documents WHERE id < %s", (looked_for_from[0],))

        sweeps = Sweeps(asked)
        with meanwhile(move) as has_moved:
            for n in range(SLOWER_SNAPSHOTS):
                has_moved(20 + 3 * n)
                latest = born[0]
                looked_for_from[0] = max(0, latest - LATEST)
                expected = {f"k{n}" for n in range(looked_for_from[0], latest)}
                in_live, in_archive = sweeps.take({"app": app.url, "other": database_url}, live, archive)
                assert in_live | in_archive >= expected
    print(f"\nrows move to another database: {sweeps}")
    assert sweeps.by_two
    assert born[0] > 40, "no row moved while the snapshots were taken"


MIGRATIONS = [
    ["ALTER TABLE documents ALTER COLUMN id TYPE bigint", "ALTER TABLE documents ALTER COLUMN id TYPE int"],
    [
        "CREATE TABLE swapped (LIKE documents INCLUDING ALL)",
        "INSERT INTO swapped SELECT * FROM documents",
        "ALTER TABLE documents RENAME TO gone",
        "ALTER TABLE swapped RENAME TO documents",
        "DROP TABLE gone",
    ],
    ["CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM documents", "TRUNCATE documents", "INSERT INTO documents SELECT * FROM kept"],
    ["VACUUM FULL documents"],
]


def test_migrations_at_random_moments(app: Database, source: Source, asked: Asked) -> None:
    table_of(app, "documents", ROWS)
    chance, turns = random.Random(SEED), threading.Semaphore(0)
    with psycopg.connect(app.url) as session:

        def migrate(n: int) -> None:
            turns.acquire(timeout=5)
            statements = chance.choice(MIGRATIONS)
            session.autocommit = statements[0].startswith("VACUUM")
            for statement in statements:
                session.execute(statement.encode())
            if not session.autocommit:
                session.commit()
            session.autocommit = False
            # Now and then so long that several connections are in the snapshot before the next one queues behind the first.
            threading.Event().wait(chance.random() * chance.choice([0.01, 0.2]))

        sweeps = Sweeps(asked)
        with meanwhile(migrate) as has_migrated:
            for n in range(20 * SLOWER_SNAPSHOTS):
                if n >= SLOWER_SNAPSHOTS and sweeps.by_two and sweeps.complete > len(sweeps.refused):
                    break
                has_migrated(n)
                turns.release(2)  # or a sweep that takes long would meet so many that none is complete
                sweeps.take_whole_or_refuse(app.url, source("$[*]"))
            turns.release()
        print(f"\nmigrations, seed {SEED}: {sweeps}")
    assert sweeps.by_two
    assert sweeps.complete > len(sweeps.refused), "a proof of completeness needs sweeps that are complete"
    assert all("documents" in said and "\n" not in said for said in sweeps.refused)


def few_of(app: Database, allow: Allow) -> None:
    """`reader` may read all rows until row-level security is switched on, then three."""
    table_of(app, "documents", ROWS)
    app.run("CREATE POLICY few ON documents USING (id <= 3)")
    allow("GRANT USAGE ON SCHEMA public TO {}")
    allow("GRANT SELECT ON documents TO {}")


def test_row_level_security_that_comes_and_goes(app: Database, reader: str, allow: Allow, source: Source, asked: Asked) -> None:
    """Switching it waits behind our locks: whoever joins finds it as the first did."""
    few_of(app, allow)
    chance = random.Random(SEED)
    with psycopg.connect(app.url, autocommit=True) as session:

        def switch(n: int) -> None:
            how, at_most = [("ENABLE", 0.05), ("DISABLE", 0.2)][n % 2]
            session.execute(f"ALTER TABLE documents {how} ROW LEVEL SECURITY".encode())
            threading.Event().wait(chance.random() * at_most)

        sweeps = Sweeps(asked)
        with meanwhile(switch) as has_switched:
            for n in range(20 * SLOWER_SNAPSHOTS):
                if n >= SLOWER_SNAPSHOTS and sweeps.by_two and sweeps.refused:
                    break
                has_switched(n)
                sweeps.take_whole_or_refuse(reader, source("$[*]"))
        print(f"\nrow-level security, seed {SEED}: {sweeps}")
    assert sweeps.by_two
    assert sweeps.refused
    said = 'source documents in database app: query would be affected by row-level security policy for table "documents"'
    assert all(refused.startswith(said) for refused in sweeps.refused)


@pytest.mark.parametrize("joined", [1, 3])
def test_row_level_security_that_is_switched_on_in_a_cut(
    app: Database, reader: str, allow: Allow, source: Source, asked: Asked, joined: int
) -> None:
    """It waits until the cut is read, by one connection or by those that had joined; the next cut is refused."""
    few_of(app, allow)
    reached = {"app": DatabaseUnderCut(url=reader, connections=3)}
    with ThreadPoolExecutor(1) as pool, psycopg.connect(app.url, autocommit=True) as session:
        with open_cut(reached, [source("$[*]")]) as cuts:
            assert len(cuts["app"].sessions.up_to(joined)) == joined
            asked.together = Barrier(joined, timeout=60)
            done = pool.submit(session.execute, b"ALTER TABLE documents ENABLE ROW LEVEL SECURITY")
            while not waits(app):
                assert not done.done(), "row-level security was switched on beside our locks"
            assert keys(source("$[*]"), cuts["app"]) == ALL
            assert len(asked.by) == joined
        done.result(timeout=60)
        asked.together = None
        with pytest.raises(Refused, match="would be affected by row-level security policy"):
            Sweeps(asked).take({"app": reader}, source("$[*]"))


@pytest.mark.parametrize("joined", [1, 3])
@pytest.mark.parametrize(
    ("how", "waits_for_us", "complete"),
    [
        ("DETACH PARTITION documents_2", True, True),
        ("DETACH PARTITION documents_2 CONCURRENTLY", False, True),
        ("ATTACH PARTITION more DEFAULT", False, False),
    ],
)
def test_partitions_that_come_and_go_meanwhile(
    app: Database, source: Source, asked: Asked, how: str, waits_for_us: bool, complete: bool, joined: int
) -> None:
    """`joined` connections are in the snapshot when the partition is to change. Where the change waits behind our locks no more can join;
    where a partition is new, what was read is refused."""
    table_of(app, "documents", 0, "PARTITION BY RANGE (id)")
    app.run(
        f"CREATE TABLE documents_1 PARTITION OF documents FOR VALUES FROM (1) TO ({ROWS // 2})",
        f"CREATE TABLE documents_2 PARTITION OF documents FOR VALUES FROM ({ROWS // 2}) TO ({ROWS + 1})",
        "CREATE TABLE more (LIKE documents INCLUDING ALL)",
        f"INSERT INTO documents SELECT n, jsonb_build_array('k' || n), repeat('x', 1500) FROM generate_series(1, {ROWS}) AS n",
    )
    reached = {"app": DatabaseUnderCut(url=app.url, connections=3)}
    with ThreadPoolExecutor(1) as pool, psycopg.connect(app.url, autocommit=True) as session:
        with open_cut(reached, [source("$[*]")]) as cuts:
            cuts["app"].sessions.up_to(joined)
            reading = joined if waits_for_us else 3
            asked.together = Barrier(reading, timeout=60)
            changed = pool.submit(session.execute, f"ALTER TABLE documents {how}".encode())
            while not changed.done() and not waits(app):
                threading.Event().wait(0.01)
            if complete:
                assert keys(source("$[*]"), cuts["app"]) == ALL
            else:
                with pytest.raises(Refused, match=r"reads public\.more, not locked before the snapshot"):
                    keys(source("$[*]"), cuts["app"])
            assert len(asked.by) == reading
        changed.result(timeout=60)


def waits(app: Database) -> bool:
    row = app.admin.execute(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND datname = current_database()"
    ).fetchone()
    return row is not None and row[0] > 0


def test_row_level_security_that_is_switched_on_before_the_locks(
    app: Database, reader: str, allow: Allow, source: Source, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the tables were found, and nothing was amiss."""
    few_of(app, allow)
    real = cut._lock

    def late(*how: Any) -> None:
        app.run("ALTER TABLE documents ENABLE ROW LEVEL SECURITY")
        real(*how)

    monkeypatch.setattr(cut, "_lock", late)
    with (
        open_cut({"app": DatabaseUnderCut(url=reader, connections=3)}, [source("$[*]")]) as cuts,
        pytest.raises(Refused, match="would be affected by row-level security policy"),
    ):
        keys(source("$[*]"), cuts["app"])


def test_a_migration_that_waits_takes_no_connection_hostage(app: Database, source: Source) -> None:
    """It queues behind our locks; a second connection of ours would queue behind it. It is given up, the first reads all."""
    table_of(app, "documents", ROWS)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(app.url, autocommit=True) as session:
        with open_cut({"app": DatabaseUnderCut(url=app.url, connections=4)}, [source("$[*]")]) as cuts:
            done = pool.submit(session.execute, b"TRUNCATE documents")
            while not waits(app):
                assert not done.done(), "the migration did not wait"
            assert keys(source("$[*]"), cuts["app"]) == ALL
            assert len(cuts["app"].sessions.up_to(4)) == 1
        done.result(timeout=60)


def test_all_connections_read_one_snapshot(app: Database, source: Source) -> None:
    table_of(app, "documents", ROWS)
    with open_cut({"app": DatabaseUnderCut(url=app.url, connections=4)}, [source("$[*]")]) as cuts:
        app.run("DELETE FROM documents WHERE id > 10", """INSERT INTO documents VALUES (999, '["late"]', '')""")
        assert len(cuts["app"].sessions.up_to(4)) == 4
        assert keys(source("$[*]"), cuts["app"]) == ALL
        assert keys(source(name="texts", column="padding", json_paths=()), cuts["app"]) == {"x" * 1500}


def test_a_view_over_a_foreign_table_is_refused(app: Database, source: Source, asked: Asked) -> None:
    """Its rows are in another server's snapshot, behind no lock of ours."""
    available = app.admin.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'").fetchone()
    if available == (0,):
        pytest.skip("this PostgreSQL has no postgres_fdw")
    known = psycopg.conninfo.conninfo_to_dict(app.url)
    table_of(app, "hidden", 3)
    app.run(
        "CREATE EXTENSION postgres_fdw",
        f"CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{known['host']}', port '{known['port']}', "
        f"dbname '{known['dbname']}')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user '{known['user']}', password '{known['password']}')",
        "CREATE FOREIGN TABLE far (id int, data jsonb) SERVER itself OPTIONS (table_name 'hidden')",
        "CREATE VIEW documents AS SELECT * FROM far",
    )
    try:
        with pytest.raises(
            Refused, match=r"^table public\.far in database app cannot be locked: it is a foreign table, .*name that server under databases"
        ):
            Sweeps(asked).take({"app": app.url}, source("$[*]"))
    finally:
        app.run("DROP EXTENSION postgres_fdw CASCADE")
