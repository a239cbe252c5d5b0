"""Which database it is: a copy of the server's files, and another database of the same server, have its system_identifier."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from orphan_pipeline.demo.servers import PostgresServer, running_postgres
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import DatabaseUnderCut, open_cut
from orphan_pipeline.references.figures import CutFigures
from orphan_pipeline.references.identity import full_identifier, unlike
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database
from references.standby import running_standby

Source = Callable[..., ReferenceSettings]
TABLE = "CREATE TABLE documents (id int PRIMARY KEY, data jsonb)"
NAME = "live"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_postgres(tmp_path_factory.mktemp("original")) as server:
        with psycopg.connect(server.create_database(NAME), autocommit=True) as admin:
            admin.execute(TABLE)
        yield server


@pytest.fixture(scope="module")
def promoted(original: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A copy that was promoted, and has written since. What it had replayed is not written out yet: its last checkpoint is of before."""
    with running_standby(original, tmp_path_factory.mktemp("promoted"), "--checkpoint_timeout=1h") as copy:
        with psycopg.connect(original.url(NAME), autocommit=True) as admin:
            admin.execute("CREATE TABLE much AS SELECT repeat('x', 1000) FROM generate_series(1, 8000)")
        with psycopg.connect(copy.url(NAME), autocommit=True) as admin:
            while admin.execute("SELECT to_regclass('much')").fetchone() == (None,):
                """Not replayed yet."""
            admin.execute("SELECT pg_promote()")
            admin.execute("CREATE TABLE written_since AS SELECT generate_series(1, 1000)")
        yield copy


@contextmanager
def frozen(source: ReferenceSettings, url: str, **more: object) -> Iterator[CutFigures]:
    with open_cut({"app": replace(DatabaseUnderCut(url=url), **more)}, [source]) as cuts:  # type: ignore[arg-type]
        yield cuts["app"].figures()


def seen(source: ReferenceSettings, url: str, **more: object) -> CutFigures:
    with frozen(source, url, **more) as cut:
        return cut


def refused(source: ReferenceSettings, url: str, **more: object) -> str:
    with pytest.raises(Refused) as found, frozen(source, url, **more):
        pytest.fail("the cut was opened")
    return str(found.value)


def test_a_copy_that_was_promoted_is_on_another_timeline(original: PostgresServer, promoted: PostgresServer, source: Source) -> None:
    """Regression: it has the pinned identifier, and nothing else was compared."""
    documents = source("$[*]")
    before = seen(documents, original.url(NAME))
    pinned = full_identifier(before)
    copied = seen(documents, promoted.url(NAME), system_identifier=pinned)
    assert (copied.system_identifier, copied.database_oid) == (before.system_identifier, before.database_oid), "no pin tells them apart"
    assert (before.timeline, copied.timeline) == (1, 2)
    assert unlike(before, copied) == "its timeline is 2, it was 1: a failover, or a copy that was promoted"
    said = refused(documents, promoted.url(NAME), swept=before)
    assert said == f"database app: not as the sweep saw it: {unlike(before, copied)}: run a new sweep"


def test_another_database_of_the_same_server(original: PostgresServer, source: Source) -> None:
    """Regression: it passed the pin."""
    documents = source("$[*]")
    before = seen(documents, original.url(NAME))
    staging = original.create_database("app_staging")
    with psycopg.connect(staging, autocommit=True) as admin:
        admin.execute(TABLE)
    found = seen(documents, staging, system_identifier=before.system_identifier)
    assert found.system_identifier == before.system_identifier, "the identifier alone pins the server"
    said = refused(documents, staging, system_identifier=full_identifier(before))
    assert said == (
        f"database app: its system_identifier is {full_identifier(found)}, the settings say {full_identifier(before)}: "
        "another server or database?"
    )
    assert "another database of that server" in refused(documents, staging, swept=before)
    assert seen(documents, original.url(NAME), system_identifier=full_identifier(before), swept=before).lsn >= before.lsn


def test_what_lies_behind_is_no_later_state(original: PostgresServer, source: Source) -> None:
    documents = source("$[*]")
    before = replace(seen(documents, original.url(NAME)), lsn="FFFFFFFF/0")
    assert ": restored, or an older copy: run a new sweep" in refused(documents, original.url(NAME), swept=before)


def test_a_replica_is_of_the_same_database_and_timeline(
    original: PostgresServer, promoted: PostgresServer, source: Source, tmp_path: Path
) -> None:
    """Regression: a standby of the copy has the identifier, and may have replayed more than the original has written. And a replica's
    URL may name another database than the primary's."""
    documents = source("$[*]")
    hurried = timedelta(seconds=1)
    with running_standby(promoted, tmp_path) as foreign:
        said = refused(documents, original.url(NAME), replica=foreign.url(NAME), replica_wait=hurried)
        assert (
            said
            == "database app: its replica is on timeline 2, the primary on 1, after 1 s (replica_wait): does it follow another primary?"
        )
        assert seen(documents, promoted.url(NAME), replica=foreign.url(NAME)).timeline == 2, "its own primary's"
        said = refused(documents, promoted.url(NAME), replica=foreign.url(), replica_wait=hurried)
        assert said.startswith("database app: its replica's URL names another database of the server (oid ")


def test_cuts_of_primary_and_replica_in_turns_never_differ(original: PostgresServer, source: Source, tmp_path: Path) -> None:
    """What trips on an ordinary night is approved unread. Idle, and after a little and after much was written."""
    documents = source("$[*]")
    with running_standby(original, tmp_path) as standby, psycopg.connect(original.url(NAME), autocommit=True) as admin:
        before = seen(documents, original.url(NAME))
        for n in range(12):
            if n % 3 == 1:
                admin.execute("INSERT INTO documents VALUES (%s, '[]') ON CONFLICT DO NOTHING", [n])
            if n % 3 == 2:
                admin.execute("SELECT pg_switch_wal()")
            for replica in (standby.url(NAME), None):
                now = seen(documents, original.url(NAME), replica=replica)
                assert unlike(before, now) is None, (n, replica)
                before = now


def test_an_ordinary_role_is_told_and_a_server_may_keep_its_timeline_to_itself(
    app: Database, reader: str, allow: Callable[[str], None], source: Source
) -> None:
    app.run(TABLE)
    allow("GRANT USAGE ON SCHEMA public TO {}")
    allow("GRANT SELECT ON documents TO {}")
    before = seen(source("$[*]"), reader)
    assert (before.database_oid is None, before.timeline) == (False, 1)
    app.run("REVOKE EXECUTE ON FUNCTION pg_control_checkpoint() FROM PUBLIC")
    try:
        now = seen(source("$[*]"), reader, swept=before)
    finally:
        app.run("GRANT EXECUTE ON FUNCTION pg_control_checkpoint() TO PUBLIC")
    assert now.timeline is None
    assert unlike(now, replace(before, lsn=now.lsn)) is None, "what is not known is not compared, from either side"
