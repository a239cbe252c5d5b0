"""When a standby may stand in for its primary: it is one of it, on the same timeline, and it has replayed all that the primary had written
when it was asked. Asked after the inventory, so that a file uploaded and referenced before its end is seen as referenced (rule 1)."""

from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep

from psycopg import sql

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.identity import SERVER_AND_DATABASE, timeline_of
from orphan_pipeline.references.refusals import refusing
from orphan_pipeline.references.sessions import Connection, DatabaseUnderCut, connect

# The insert position: with synchronous_commit off a transaction is visible before its record is written out.
PRIMARY = sql.SQL("""
SELECT {server_and_database}, pg_is_in_recovery(),
       CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_insert_lsn() - '0/0')::bigint END,
       current_setting('wal_block_size')::int
""").format(server_and_database=SERVER_AND_DATABASE)

STANDBY = sql.SQL("""
SELECT {server_and_database}, pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0) END
""").format(server_and_database=SERVER_AND_DATABASE)

# Headers of a WAL page and of a segment's first page. At a page's end the insert position already lies behind the header of the next,
# which is not written before there is more to write; what has been replayed ends before it.
PAGE_HEADERS = (24, 40)
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Primary:
    system_identifier: str
    oid: int
    timeline: int | None
    position: int


def wait_for_replay(name: str, database: DatabaseUnderCut, standby: Connection) -> None:
    """Returns when `standby` has replayed what the primary held at the call. Raises Refused when it is no standby of that primary, or
    has not caught up within `replica_wait`. Leaves `standby` outside of a transaction."""
    primary = _primary(name, database)
    deadline = monotonic() + database.replica_wait.total_seconds()
    while True:
        with refusing(f"replica of database {name}"):
            row = standby.execute(STANDBY).fetchone()
            standby.rollback()
            timeline = timeline_of(standby)
        assert row is not None  # a SELECT without FROM gives one row
        identifier, oid, in_recovery, replayed = row
        if identifier != primary.system_identifier:
            raise Refused(
                f"database {name}: the replica's system_identifier is {identifier}, the primary's {primary.system_identifier}: "
                f"not a replica of it"
            )
        if oid != primary.oid:
            raise Refused(
                f"database {name}: its replica's URL names another database of the server (oid {oid}, the primary's {primary.oid})"
            )
        if not in_recovery:
            raise Refused(f"database {name}: its replica is no standby: promoted, or the primary's own URL?")
        assert isinstance(replayed, int)
        behind = primary.position - replayed
        elsewhere = timeline is not None and primary.timeline is not None and timeline != primary.timeline
        if behind <= 0 and not elsewhere:
            return
        if monotonic() >= deadline and elsewhere:
            raise Refused(
                f"database {name}: its replica is on timeline {timeline}, the primary on {primary.timeline}, after "
                f"{_said(database.replica_wait)} (replica_wait): does it follow another primary?"
            )
        if monotonic() >= deadline:
            raise Refused(
                f"database {name}: its replica is {behind:,} bytes of WAL behind the primary after {_said(database.replica_wait)} "
                f"(replica_wait): is replication running?"
            )
        sleep(POLL_SECONDS)


def _primary(name: str, database: DatabaseUnderCut) -> _Primary:
    with connect(name, database.url) as connection, refusing(f"database {name}"):
        timeline = timeline_of(connection)
        row = connection.execute(PRIMARY).fetchone()
    assert row is not None  # a SELECT without FROM gives one row
    identifier, oid, in_recovery, position, page = row
    if in_recovery:
        raise Refused(f"database {name}: is a standby; url names the primary, replica the standby")
    assert isinstance(oid, int)
    assert isinstance(position, int)
    assert isinstance(page, int)
    header = position % page
    return _Primary(str(identifier), oid, timeline, position - header if header in PAGE_HEADERS else position)


def _said(wait: timedelta) -> str:
    return f"{wait.total_seconds():,.0f} s"
