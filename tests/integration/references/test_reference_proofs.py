"""Snapshots under fire: rows that move, migrations that run, partitions that go, while the references are read with several connections.
Each snapshot is complete, or the sweep fails. `make proof` takes ORPHAN_PIPELINE_SNAPSHOTS of each."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, Limits, open_cut
from orphan_pipeline.references.read import read_keys
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Asked, Database

Source = Callable[..., ReferenceSettings]

SNAPSHOTS = int(os.environ.get("ORPHAN_PIPELINE_SNAPSHOTS", "40"))
SLOWER_SNAPSHOTS = int(os.environ.get("ORPHAN_PIPELINE_SNAPSHOTS", "10"))
SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED", "4"))
LATEST = 5000
"""Of rows that move on for ever, so many are looked for; as many more are kept meanwhile."""

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
    """How many were complete, and in how many of these two connections read windows of one table."""

    asked: Asked
    complete: int = 0
    by_two: int = 0

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

    def __str__(self) -> str:
        return f"{self.complete} complete, {self.by_two} of them read by two connections"


def table_of(database: Database, name: str, rows: int, kind: str = "") -> None:
    """Rows so long that few lie in one block."""
    database.run(
        f"CREATE TABLE {name} (id int PRIMARY KEY, data jsonb, padding text) {kind}",
        f"INSERT INTO {name} SELECT n, jsonb_build_array('k' || n), repeat('x', 1500) FROM generate_series(1, {rows}) AS n",
    )


def keys(source: ReferenceSettings, cut: Cut) -> set[str]:
    return {str(key) for table in read_keys(source, cut) for key in table["key"].to_pylist()}


@contextmanager
def meanwhile(work: Callable[[int], None]) -> Iterator[None]:
    """Calls `work` with 0, 1, 2, … in another thread for as long as the body runs; it must have got somewhere."""
    enough = threading.Event()

    def run() -> int:
        n = 0
        while not enough.is_set():
            work(n)
            n += 1
        return n

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run)
        try:
            yield
        finally:
            enough.set()
        assert done.result(timeout=60) > 5


def test_rows_that_move_between_tables_are_never_missing(app: Database, source: Source, asked: Asked) -> None:
    table_of(app, "documents", ROWS)
    table_of(app, "history", 0)
    live, history = source("$[*]"), source("$[*]", name="history", table="history")
    begins = threading.Event()
    with psycopg.connect(app.url, autocommit=True) as session:

        def move(n: int) -> None:
            session.execute(MOVE.format("documents", "history").encode(), (n % 3,))
            session.execute(MOVE.format("history", "documents").encode(), ((n + 1) % 3,))
            if n % MOVES == MOVES - 1:  # or the tables grow faster than they are read
                session.execute("VACUUM documents, history")
                begins.clear()
                begins.wait(timeout=5)

        with meanwhile(move):
            sizes, sweeps = set(), Sweeps(asked)
            for _ in range(SNAPSHOTS):
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
        born = [0]

        def move(n: int) -> None:
            one.execute("INSERT INTO documents VALUES (%s, jsonb_build_array('k' || %s::int))", (n, n))
            born[0] = n + 1
            if n >= 20:
                two.execute("INSERT INTO documents VALUES (%s, jsonb_build_array('k' || %s::int))", (n - 20, n - 20))
                one.execute("DELETE FROM documents WHERE id = %s", (n - 20,))
            if n >= 2 * LATEST:  # or each snapshot would take longer than the one before
                two.execute("DELETE FROM documents WHERE id = %s", (n - 2 * LATEST,))

        sweeps = Sweeps(asked)
        with meanwhile(move):
            for _ in range(SLOWER_SNAPSHOTS):
                expected = {f"k{n}" for n in range(max(0, born[0] - LATEST), born[0])}
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
    chance = random.Random(SEED)
    with psycopg.connect(app.url) as session:

        def migrate(n: int) -> None:
            statements = chance.choice(MIGRATIONS)
            session.autocommit = statements[0].startswith("VACUUM")
            for statement in statements:
                session.execute(statement.encode())
            if not session.autocommit:
                session.commit()
            session.autocommit = False
            # Now and then so long that several connections are in the snapshot before the next one queues behind the first.
            threading.Event().wait(chance.random() * chance.choice([0.01, 0.2]))

        sweeps, refused = Sweeps(asked), list[str]()
        with meanwhile(migrate):
            for n in range(20 * SLOWER_SNAPSHOTS):
                if n >= SLOWER_SNAPSHOTS and sweeps.by_two:
                    break
                try:
                    [found] = sweeps.take({"app": app.url}, source("$[*]"), limits=Limits(lock_timeout=timedelta(seconds=10)))
                except Refused as error:
                    refused.append(str(error))
                else:
                    assert found == ALL
        print(f"\nmigrations, seed {SEED}: {sweeps}, {len(refused)} sweeps failed")
    assert sweeps.by_two
    assert all("documents" in said and "\n" not in said for said in refused)


@pytest.mark.parametrize(
    "how", ["DETACH PARTITION documents_2", "DETACH PARTITION documents_2 CONCURRENTLY", "ATTACH PARTITION more DEFAULT"]
)
def test_partitions_that_come_and_go_meanwhile(app: Database, source: Source, how: str) -> None:
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
            changed = pool.submit(session.execute, f"ALTER TABLE documents {how}".encode())
            while not changed.done() and not waits(app):
                threading.Event().wait(0.01)
            assert complete_or_refused(source("$[*]"), cuts["app"])
        changed.result(timeout=60)


def complete_or_refused(source: ReferenceSettings, cut: Cut) -> bool:
    try:
        return keys(source, cut) == ALL
    except Refused as refused:
        return "not locked before the snapshot" in str(refused)


def waits(app: Database) -> bool:
    row = app.admin.execute(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND datname = current_database()"
    ).fetchone()
    return row is not None and row[0] > 0


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
