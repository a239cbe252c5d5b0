"""Snapshots from a real streaming replica: only of the pinned primary, only once it has caught up, with the same locks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import psycopg
import pytest

from orphan_pipeline.demo.servers import PostgresServer, running_postgres
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, open_cut
from orphan_pipeline.references.read import read_keys
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Asked, Database
from references.standby import running_standby

Source = Callable[..., ReferenceSettings]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary of its own, since replaying everybody's writes would make these tests slow, and its standby."""
    folder = tmp_path_factory.mktemp("replica")
    with running_postgres(folder / "primary") as primary:
        primary.create_database("replicated")
        with running_standby(primary, folder, "--max_standby_streaming_delay=0") as standby:
            yield primary, standby


@pytest.fixture
def live(servers: tuple[PostgresServer, PostgresServer]) -> Iterator[Database]:
    primary, _ = servers
    url = primary.url("replicated")
    with psycopg.connect(url, autocommit=True) as admin:
        database = Database(url, admin)
        database.run(
            "DROP TABLE IF EXISTS documents",
            "CREATE TABLE documents (id int PRIMARY KEY, data jsonb)",
            "INSERT INTO documents SELECT n, to_jsonb(ARRAY['k' || n]) FROM generate_series(1, 2000) AS n",
        )
        yield database


@pytest.fixture
def under_cut(live: Database, servers: tuple[PostgresServer, PostgresServer]) -> DatabaseUnderCut:
    return DatabaseUnderCut(url=live.url, replica=servers[1].url("replicated"), connections=3)


@pytest.fixture
def paused(
    live: Database, servers: tuple[PostgresServer, PostgresServer], under_cut: DatabaseUnderCut, source: Source
) -> Iterator[psycopg.Connection]:
    """The standby has caught up, and replays nothing more."""
    with open_cut({"app": under_cut}, [source("$[*]")]):
        pass
    with psycopg.connect(servers[1].url(), autocommit=True) as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        yield standby
        standby.execute("SELECT pg_wal_replay_resume()")


def test_a_snapshot_from_the_replica_has_what_was_written_before(
    live: Database, under_cut: DatabaseUnderCut, source: Source, small_windows: Asked
) -> None:
    """Read by several connections to the replica, in one snapshot that it exported."""
    small_windows.together = Barrier(3, timeout=60)
    for n in range(3):
        live.run(f"""INSERT INTO documents VALUES ({9000 + n}, '["late{n}"]')""")
        with open_cut({"app": under_cut}, [source("$[*]")]) as cuts:
            assert cuts["app"].from_replica
            assert "/" in cuts["app"].lsn
            small_windows.by.clear()
            keys = {key for table in read_keys(source("$[*]"), cuts["app"]) for key in table["key"].to_pylist()}
            assert len(keys) == 2001 + n
            assert len(small_windows.by) == 3
            assert f"late{n}" in keys
    live.run("SET synchronous_commit = off", """INSERT INTO documents VALUES (9999, '["unflushed"]')""")
    with open_cut({"app": under_cut}, [source("$[*]")]) as cuts:
        assert len(cuts["app"].sessions.up_to(3)) == 3, "a standby exports its snapshot too"
        assert "unflushed" in {key for table in read_keys(source("$[*]"), cuts["app"]) for key in table["key"].to_pylist()}


def test_a_replica_that_does_not_catch_up(live: Database, paused: psycopg.Connection, under_cut: DatabaseUnderCut, source: Source) -> None:
    live.run("""INSERT INTO documents VALUES (9000, '["late"]')""")
    hurried = replace(under_cut, replica_wait=timedelta(seconds=1))
    with pytest.raises(Refused) as refused, open_cut({"app": hurried}, [source("$[*]")]):
        pytest.fail("the cut was opened")
    said = str(refused.value)
    assert said.startswith("database app: its replica is ")
    assert said.endswith(" bytes of WAL behind the primary after 1 s (replica_wait): is replication running?")


def test_a_replica_that_catches_up_in_time(live: Database, paused: psycopg.Connection, under_cut: DatabaseUnderCut, source: Source) -> None:
    live.run("""INSERT INTO documents VALUES (9000, '["late"]')""")
    began = datetime.now(UTC)
    paused.execute("SELECT pg_wal_replay_resume()")
    with open_cut({"app": under_cut}, [source("$[*]")]) as cuts:
        assert "late" in {key for table in read_keys(source("$[*]"), cuts["app"]) for key in table["key"].to_pylist()}
        assert cuts["app"].snapshot_at >= began


def test_what_is_no_replica_of_this_primary(
    live: Database, servers: tuple[PostgresServer, PostgresServer], postgres: PostgresServer, under_cut: DatabaseUnderCut, source: Source
) -> None:
    primary, standby = servers
    with open_cut({"app": under_cut}, [source("$[*]")]):
        """The standby has what it is asked for below."""
    for url, replica, said in [
        (live.url, postgres.url(), "not a replica of it"),
        (live.url, live.url, "its replica is no standby: promoted, or the primary's own URL?"),
        (standby.url("replicated"), standby.url("replicated"), "is a standby; url names the primary, replica the standby"),
        (standby.url("replicated"), None, "is a standby; name the primary as url, and the standby as replica"),
    ]:
        with pytest.raises(Refused) as refused, open_cut({"app": replace(under_cut, url=url, replica=replica)}, [source("$[*]")]):
            pytest.fail("the cut was opened")
        assert said in str(refused.value)
        assert primary.password not in str(refused.value)


def test_a_conflict_with_recovery_fails_the_sweep(live: Database, under_cut: DatabaseUnderCut, source: Source) -> None:
    """A migration that the primary lets through is replayed; the standby then ends who stands in its way."""
    with open_cut({"app": under_cut}, [source("$[*]")]) as cuts:
        live.run("TRUNCATE documents")
        said = r"^source documents in database app: .*conflict with recovery.*max_standby_streaming_delay"
        with pytest.raises(Refused, match=said):
            read_until_it_fails(source("$[*]"), cuts["app"])


def read_until_it_fails(source: ReferenceSettings, cut: Cut) -> None:
    """The standby ends whoever stands in its way when it comes to the record, which may be a moment from now."""
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while datetime.now(UTC) < deadline:
        keys = [key for table in read_keys(source, cut) for key in table["key"].to_pylist()]
        assert len(keys) == 2000, "never fewer"
