"""One cut in time on a real PostgreSQL: locks before the snapshot, all snapshots before the first read, refusals in one line."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, Limits, open_cut
from orphan_pipeline.references.extract import prepare
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database, Take, until

Source = Callable[..., ReferenceSettings]
Allow = Callable[[str], None]

SOON = Limits(statement_timeout=timedelta(seconds=3))
"""Long enough for what else a cut asks, on a slow machine too: the limit is each statement's."""


def keys(source: ReferenceSettings, frozen: Cut) -> list[str | None]:
    return [raw for batch in prepare(source, frozen).batches() for _, raw, _ in batch]


def table_of(app: Database, rows: int, name: str = "documents") -> None:
    app.run(
        f"CREATE TABLE {name} (id int PRIMARY KEY, data jsonb)",
        f"INSERT INTO {name} SELECT n, jsonb_build_array('k' || n) FROM generate_series(1, {rows}) AS n",
    )


def waiting(app: Database) -> bool:
    """Whether some session of this database waits for a lock."""
    row = app.admin.execute(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND datname = current_database()"
    ).fetchone()
    return row is not None and row[0] > 0


@contextmanager
def meanwhile(app: Database, *statements: str) -> Iterator[None]:
    """Runs the statements in another session; the body begins once they wait for a lock. They are done on exit."""
    with ThreadPoolExecutor(1) as pool, psycopg.connect(app.url) as session:

        def run() -> None:
            for statement in statements:
                session.execute(statement.encode())
            session.commit()

        done = pool.submit(run)
        while not waiting(app):
            assert not done.done(), "the statements did not wait"
        yield
        done.result(timeout=60)


REWRITES = [
    ("ALTER TABLE documents ALTER COLUMN id TYPE bigint",),
    ("TRUNCATE documents",),
    (
        "CREATE TABLE swapped AS SELECT * FROM documents",
        "ALTER TABLE documents RENAME TO gone",
        "ALTER TABLE swapped RENAME TO documents",
    ),
]


@pytest.mark.parametrize("migration", REWRITES)
def test_a_snapshot_alone_is_emptied_by_a_migration(app: Database, migration: tuple[str, ...]) -> None:
    """Why there are locks. Should PostgreSQL mend this one day, this test says so."""
    table_of(app, 10)
    with psycopg.connect(app.url) as unlocked:
        unlocked.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        unlocked.execute("SELECT 1")
        app.run(*migration)
        assert unlocked.execute("SELECT count(*) FROM documents").fetchone() == (0,)


@pytest.mark.parametrize("migration", REWRITES)
def test_a_migration_waits_for_the_cut(app: Database, source: Source, migration: tuple[str, ...]) -> None:
    table_of(app, 10)
    documents = source("$[*]")
    with ThreadPoolExecutor(1) as pool:
        with open_cut({"app": DatabaseUnderCut(url=app.url)}, [documents]) as cuts:

            def migrate() -> None:
                with psycopg.connect(app.url) as session:
                    for statement in migration:
                        session.execute(statement.encode())

            done = pool.submit(migrate)
            while not waiting(app):
                assert not done.done(), "the migration did not wait"
            assert len(keys(documents, cuts["app"])) == 10
        done.result(timeout=60)


def test_locks_and_settings_take_no_snapshot(app: Database) -> None:
    """What the order of the cut rests on: what commits after LOCK TABLE and before the first query is seen."""
    table_of(app, 1)
    with psycopg.connect(app.url) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.read_only = True
        session.execute("SET LOCAL row_security = off")
        session.execute("LOCK TABLE documents IN ACCESS SHARE MODE")
        app.run("INSERT INTO documents VALUES (2, '[]')")
        assert session.execute("SELECT count(*) FROM documents").fetchone() == (2,)
        app.run("INSERT INTO documents VALUES (3, '[]')")
        assert session.execute("SELECT count(*) FROM documents").fetchone() == (2,)


@pytest.mark.parametrize("migration", REWRITES[::2])
def test_the_cut_waits_for_a_migration_and_sees_what_it_left(app: Database, take: Take, source: Source, migration: tuple[str, ...]) -> None:
    table_of(app, 10)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(app.url) as session:
        for statement in migration:
            session.execute(statement.encode())
        session.execute("INSERT INTO documents VALUES (11, '[\"new\"]')")
        taken = pool.submit(take, source("$[*]"))
        while not waiting(app):
            assert not taken.done()
        session.commit()
        assert len(taken.result(timeout=60).keys) == 11


def test_a_lock_that_does_not_come_in_time(app: Database, take: Take, source: Source) -> None:
    table_of(app, 1)
    with psycopg.connect(app.url) as session:
        session.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Refused) as refused:
            take(source("$[*]"), limits=Limits(lock_timeout=timedelta(milliseconds=100)))
    assert str(refused.value) == (
        "source documents in database app: canceling statement due to lock timeout (is a migration running? run the sweep again after it)"
    )


def test_no_lock_is_held_while_another_is_awaited_by_another_session(app: Database, source: Source) -> None:
    """The cut of one database is one session: a migration that queues behind it can never stand between two of ours."""
    table_of(app, 1)
    until(lambda: not app.ours())  # the server has not heard that the test before has hung up
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [source("$[*]"), source("$[*]", name="again")]):
        assert len(app.ours()) == 1


def test_all_databases_are_frozen_before_any_is_read(app: Database, postgres: PostgresServer, database_url: str, source: Source) -> None:
    with psycopg.connect(database_url, autocommit=True) as other_admin:
        other = Database(database_url, other_admin)
        table_of(app, 5)
        table_of(other, 5)
        live, history = source("$[*]"), source("$[*]", name="history", database="other")
        databases = {
            "app": DatabaseUnderCut(url=app.url),
            "other": DatabaseUnderCut(url=other.url),
            "unused": DatabaseUnderCut(url="postgresql://nobody@127.0.0.1:1/none"),
        }
        with open_cut(databases, [live, history]) as cuts:
            for database in (app, other):
                database.run("DELETE FROM documents WHERE id > 2", "INSERT INTO documents VALUES (9, '[\"late\"]')")
            for one in (live, history):
                assert keys(one, cuts[one.database]) == ["k1", "k2", "k3", "k4", "k5"]
        assert list(cuts) == ["app", "other"]
        assert cuts["app"].system_identifier == cuts["other"].system_identifier
        assert cuts["app"].snapshot_at <= cuts["other"].snapshot_at


def test_what_a_cut_says_of_itself(app: Database, source: Source) -> None:
    table_of(app, 1)
    before = datetime.now(UTC)
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [source("$[*]")]) as cuts:
        frozen = cuts["app"]
    identifier = app.admin.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert (frozen.system_identifier,) == identifier
    oid = app.admin.execute("SELECT oid::bigint FROM pg_database WHERE datname = current_database()").fetchone()
    assert (frozen.database_oid,) == oid
    assert frozen.timeline == 1
    # One machine, one clock.
    assert before <= frozen.host_snapshot_at <= frozen.snapshot_at <= datetime.now(UTC)
    assert frozen.snapshot_at.tzinfo == UTC
    assert frozen.snapshot.count(":") == 2
    assert "/" in frozen.lsn
    assert app.admin.execute("SHOW server_version").fetchone() == (frozen.server_version,)
    assert "postgresql" not in repr(frozen)
    assert frozen.connection.closed


def test_another_server_than_the_pinned_one(app: Database, source: Source) -> None:
    table_of(app, 1)
    identifier = app.admin.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert identifier is not None
    pinned = DatabaseUnderCut(url=app.url, system_identifier=identifier[0])
    with open_cut({"app": pinned}, [source("$[*]")]):
        pass
    other = DatabaseUnderCut(url=app.url, system_identifier="7431")
    with pytest.raises(Refused) as refused, open_cut({"app": other}, [source("$[*]")]):
        pytest.fail("the cut was opened")
    assert str(refused.value) == (
        f"database app: its system_identifier is {identifier[0]}, the settings say 7431: another server or database?"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"table": "nowhere"}, 'relation "nowhere" does not exist'),
        ({"table": "nowhere.documents"}, 'relation "nowhere.documents" does not exist'),
        ({"column": "body"}, 'column "body" does not exist'),
    ],
)
def test_a_table_or_column_that_does_not_exist(app: Database, take: Take, source: Source, settings: dict[str, str], said: str) -> None:
    table_of(app, 1)
    with pytest.raises(Refused) as refused:
        take(source("$[*]", **settings))
    assert str(refused.value) == f"source documents in database app: {said}"


def test_a_table_that_may_not_be_read(app: Database, reader: str, allow: Allow, take: Take, source: Source) -> None:
    table_of(app, 1)
    allow("GRANT USAGE ON SCHEMA public TO {}")
    with pytest.raises(Refused) as refused:
        take(source("$[*]"), app=reader)
    assert str(refused.value) == "source documents in database app: permission denied for table documents"


def test_select_alone_is_enough(app: Database, reader: str, allow: Allow, take: Take, source: Source) -> None:
    table_of(app, 3)
    allow("GRANT USAGE ON SCHEMA public TO {}")
    allow("GRANT SELECT ON documents TO {}")
    assert take(source("$[*]"), app=reader).keys == ["k1", "k2", "k3"]


def test_row_level_security_is_an_error_not_fewer_rows(
    app: Database, reader: str, allow: Allow, take: Take, source: Source, statement: Source
) -> None:
    table_of(app, 4)
    app.run("ALTER TABLE documents ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON documents USING (id = 1)")
    allow("GRANT USAGE ON SCHEMA public TO {}")
    allow("GRANT SELECT ON documents TO {}")
    with psycopg.connect(reader) as session:
        assert session.execute("SELECT count(*) FROM documents").fetchone() == (1,)
    said = 'query would be affected by row-level security policy for table "documents"'
    with pytest.raises(Refused) as refused:
        take(source("$[*]"), app=reader)
    assert str(refused.value).startswith(f"source documents in database app: {said}")
    with pytest.raises(Refused) as refused:
        take(statement("SELECT data ->> 0 FROM documents"), app=reader)
    assert str(refused.value).startswith(f"source avatars in database app: {said}")


def test_a_view_is_locked_with_its_owners_rights(
    app: Database, reader: str, allow: Allow, take: Take, source: Source, statement: Source
) -> None:
    table_of(app, 2, "hidden")
    app.run("CREATE VIEW documents AS SELECT * FROM hidden")
    allow("GRANT USAGE ON SCHEMA public TO {}")
    allow("GRANT SELECT ON documents TO {}")
    assert take(source("$[*]"), app=reader).keys == ["k1", "k2"]
    assert take(statement("SELECT data ->> 0 FROM documents"), app=reader).keys == ["k1", "k2"]
    one = statement("SELECT data ->> 0 FROM documents")
    with open_cut({"app": DatabaseUnderCut(url=reader)}, [one]) as cuts:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            app.admin.execute("BEGIN; SET LOCAL lock_timeout = 100; TRUNCATE hidden")
        app.admin.execute("ROLLBACK")
        assert keys(one, cuts["app"]) == ["k1", "k2"]


def test_partitions_are_locked_with_their_table(app: Database, reader: str, allow: Allow, take: Take, statement: Source) -> None:
    app.run(
        "CREATE TABLE parted (id int, key text) PARTITION BY LIST (id)",
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)",
        "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2)",
        "INSERT INTO parted VALUES (1, 'a'), (2, 'b')",
    )
    allow("GRANT USAGE ON SCHEMA public TO {}")
    allow("GRANT SELECT ON parted TO {}")
    one = statement("SELECT key FROM parted WHERE id = 1")
    assert take(one, app=reader).keys == ["a"]
    with open_cut({"app": DatabaseUnderCut(url=reader)}, [one]) as cuts:
        locked = app.admin.execute(
            "SELECT array_agg(c.relname::text ORDER BY c.relname) FROM pg_class c WHERE c.oid = ANY(%s)", (list(cuts["app"].locked),)
        ).fetchone()
    assert locked == (["parted", "parted_1", "parted_2"],)


def test_a_materialized_view_cannot_be_locked(
    app: Database, reader: str, allow: Allow, take: Take, source: Source, statement: Source
) -> None:
    """REFRESH swaps its contents: in an older snapshot it is empty."""
    table_of(app, 2)
    app.run(
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM documents",
        "CREATE VIEW over_it AS SELECT * FROM kept",
    )
    said = (
        "table public.kept in database app cannot be locked: it is a materialized view, and a REFRESH could empty it unseen while it is "
        "read; name its query as sql, or a view with that query"
    )
    for one in (source("$[*]", table="kept"), source("$[*]", table="over_it"), statement("SELECT data ->> 0 FROM kept")):
        with pytest.raises(Refused) as refused:
            take(one)
        assert str(refused.value) == said
    # Whoever may only read the view above it is told the same: regression, "run the sweep again" would never have helped.
    allow("GRANT USAGE ON SCHEMA public TO {}")
    allow("GRANT SELECT ON over_it TO {}")
    with pytest.raises(Refused) as refused:
        take(source("$[*]", table="over_it"), app=reader)
    assert str(refused.value) == said


def test_a_table_that_only_a_function_reads(app: Database, take: Take, statement: Source) -> None:
    table_of(app, 2, "hidden")
    app.run("CREATE FUNCTION avatars() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT data ->> 0 FROM hidden; END $$")
    with pytest.raises(Refused) as refused:
        take(statement("SELECT * FROM avatars()"))
    assert str(refused.value) == (
        "source avatars in database app: reads public.hidden, not locked before the snapshot: a function reads it, or a view "
        "or partition changed meanwhile; name the table in the source, or run the sweep again"
    )
    # Named beside the function, the table is locked with the others.
    assert take(statement("SELECT * FROM avatars() WHERE EXISTS (SELECT FROM hidden)")).keys == ["k1", "k2"]


def test_a_table_that_only_a_function_in_parallel_workers_reads(app: Database, take: Take, statement: Source) -> None:
    """Regression: what a worker locked nobody saw, and so nobody asked whether it had been locked before the snapshot."""
    table_of(app, 2, "hidden")
    app.run(
        "CREATE TABLE big WITH (parallel_workers = 2) AS SELECT n AS id FROM generate_series(1, 50000) AS n",
        "CREATE FUNCTION known(n int) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000 AS "
        "$$ BEGIN RETURN EXISTS (SELECT FROM hidden WHERE id = n); END $$",
    )
    database = sql.Identifier(app.admin.info.dbname)
    eager = {
        "parallel_leader_participation": "off",
        "parallel_setup_cost": "0",
        "parallel_tuple_cost": "0",
        "min_parallel_table_scan_size": "0",
    }
    known = "SELECT id::text FROM big WHERE known(id)"
    try:
        for name, value in eager.items():
            app.admin.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, sql.Identifier(name), sql.Literal(value)))
        with psycopg.connect(app.url) as session:
            assert "Gather" in str(session.execute(f"EXPLAIN {known}".encode()).fetchall()), "this would be no parallel query anyway"
        with pytest.raises(Refused, match=r"^source avatars in database app: reads public\.hidden, not locked before the snapshot"):
            take(statement(known))
    finally:
        app.admin.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))


def test_a_table_behind_a_function_that_is_swapped_meanwhile(app: Database, statement: Source) -> None:
    """The new table is in no catalogue that the snapshot shows, and all of its rows are invisible."""
    table_of(app, 2, "hidden")
    app.run("CREATE FUNCTION avatars() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT data ->> 0 FROM hidden; END $$")
    avatars = statement("SELECT * FROM avatars()")
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [avatars]) as cuts:
        app.run("CREATE TABLE swapped AS SELECT * FROM hidden", "DROP TABLE hidden", "ALTER TABLE swapped RENAME TO hidden")
        with pytest.raises(Refused, match="reads hidden, not locked before the snapshot"):
            keys(avatars, cuts["app"])


def test_another_table_of_the_name_in_a_schema_that_is_searched_first(app: Database, source: Source) -> None:
    """All of its rows are invisible in the snapshot. Regression: an AssertionError."""
    table_of(app, 2)
    app.run("CREATE SCHEMA other")
    documents = source("$[*]")
    with open_cut({"app": DatabaseUnderCut(url=f"{app.url}?options=-csearch_path%3Dother,public")}, [documents]) as cuts:
        table_of(app, 3, "other.documents")
        with pytest.raises(Refused, match="another table documents was made before the one that was locked; name its schema in table"):
            keys(documents, cuts["app"])


def test_another_table_whose_type_is_newer_than_the_snapshot_too(app: Database, source: Source, statement: Source) -> None:
    """Regression: a ValueError, and of a statement that it gave no column."""
    app.run("CREATE TABLE documents (id int, key text)", "INSERT INTO documents VALUES (1, 'k1')", "CREATE SCHEMA other")
    column, query = source(column="key"), statement("SELECT key FROM documents")
    with open_cut({"app": DatabaseUnderCut(url=f"{app.url}?options=-csearch_path%3Dother,public")}, [column, query]) as cuts:
        app.run("CREATE TYPE other.kind AS ENUM ('k2')", "CREATE TABLE other.documents (id int, key other.kind)")
        with pytest.raises(Refused, match="another table documents was made before the one that was locked; name its schema in table"):
            keys(column, cuts["app"])
        with pytest.raises(
            Refused, match=r"^source avatars in database app: column key is of a type that was made since the snapshot; name"
        ):
            keys(query, cuts["app"])


def test_an_index_that_is_built_meanwhile_changes_nothing(app: Database, source: Source) -> None:
    table_of(app, 2)
    documents = source("$[*]")
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [documents]) as cuts:
        app.run("CREATE INDEX ON documents (data)")
        assert keys(documents, cuts["app"]) == ["k1", "k2"]


def test_a_partition_that_is_attached_meanwhile(app: Database, source: Source) -> None:
    app.run(
        "CREATE TABLE documents (id int, data jsonb) PARTITION BY LIST (id)",
        "CREATE TABLE documents_1 PARTITION OF documents FOR VALUES IN (1)",
        "CREATE TABLE documents_2 (id int, data jsonb)",
    )
    documents = source("$[*]")
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [documents]) as cuts:
        app.run("ALTER TABLE documents ATTACH PARTITION documents_2 FOR VALUES IN (2)")
        with pytest.raises(Refused, match=r"reads public\.documents_2, not locked before the snapshot"):
            keys(documents, cuts["app"])


def test_a_connection_that_is_lost(app: Database, source: Source) -> None:
    table_of(app, 2)
    documents = source("$[*]")
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [documents]) as cuts:
        reading = prepare(documents, cuts["app"])
        app.admin.execute("SELECT pg_terminate_backend(%s, 5000)", (cuts["app"].connection.info.backend_pid,))
        with pytest.raises(Refused) as refused:
            list(reading.batches())
    assert str(refused.value) == ("source documents in database app: terminating connection due to administrator command")


def test_a_statement_that_takes_too_long(app: Database, take: Take, statement: Source) -> None:
    with pytest.raises(Refused) as refused:
        take(statement("SELECT pg_sleep(600)::text"), limits=SOON)
    assert str(refused.value) == "source avatars in database app: canceling statement due to statement timeout"


def test_limits_of_the_role_do_not_end_the_cut(app: Database, reader: str, allow: Allow, take: Take, statement: Source) -> None:
    """They hold until the cut has said otherwise: on a slow machine that takes a moment too."""
    allow("ALTER ROLE {} SET statement_timeout = '3s'")
    allow("ALTER ROLE {} SET idle_in_transaction_session_timeout = '3s'")
    if app.admin.info.server_version >= 170000:
        allow("ALTER ROLE {} SET transaction_timeout = '3s'")
    assert take(statement("SELECT 'a' || pg_sleep(3.5)::text"), app=reader).keys == ["a"]


def test_connections_that_do_not_come_about_name_no_secret(app: Database, take: Take, source: Source) -> None:
    secret = "s3same st?eet"
    known = psycopg.conninfo.conninfo_to_dict(app.url)
    where = f"{known['host']}:{known['port']}"
    for url, said in {
        f"postgresql://nobody:{quote(secret)}@{where}/references": "password authentication failed",
        f"postgresql://nobody:{quote(secret)}@127.0.0.1:1/references": "port 1 failed",
        f"postgresql+psycopg://nobody:{quote(secret)}@{where}/references": "its URL cannot be read, expected postgresql://",
        f"nobody {secret}": "its URL cannot be read, expected postgresql://",
        app.url.replace("/references", "/nowhere"): 'database "nowhere" does not exist',
    }.items():
        with pytest.raises(Refused) as refused:
            take(source("$[*]"), app=url)
        assert str(refused.value).startswith("database app: ")
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
        assert "s3same" not in str(refused.value)
        assert str(known["password"]) not in str(refused.value)
        assert refused.value.__suppress_context__
