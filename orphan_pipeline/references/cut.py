"""One cut in time over all databases (rule 4a): every table that a source reads is locked, then every snapshot is
frozen, and only then is anything read. What is read in the cut belongs in `extract`.

A snapshot alone is not enough: a migration that rewrites a table (ALTER, TRUNCATE, rename-swap) and commits between the
snapshot and the read leaves the table *empty* in that snapshot, without an error. ACCESS SHARE locks taken before the
snapshot make the migration wait.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.figures import CutFigures
from orphan_pipeline.references.identity import SERVER_AND_DATABASE, full_identifier, timeline_of, unlike
from orphan_pipeline.references.kinds.columns import where_clause
from orphan_pipeline.references.locks import UNLOCKABLE, NotLocked, Relation, lock, locked_now
from orphan_pipeline.references.refusals import refusal, refusing
from orphan_pipeline.references.replica import wait_for_replay
from orphan_pipeline.references.sessions import Connection, DatabaseUnderCut, Limits, Sessions, begin, connect
from orphan_pipeline.settings.model import ReferenceSettings

__all__ = ["Connection", "Cut", "DatabaseUnderCut", "Limits", "Relation", "open_cut", "refuse_unlocked"]

# statement_timestamp() is from before the snapshot, clock_timestamp() from after it: only the former may set a cutoff.
FREEZE = sql.SQL("""
SELECT statement_timestamp(), {server_and_database}, pg_current_snapshot()::text, pg_is_in_recovery(),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text ELSE pg_current_wal_lsn()::text END,
       current_setting('server_version')
""").format(server_and_database=SERVER_AND_DATABASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(CutFigures):
    """One database, frozen. `locked` holds the oids of all tables that were locked before it. `connection` is the one that holds locks
    and snapshot; `sessions` gives more connections in the same snapshot."""

    locked: frozenset[int]
    connection: Connection = field(repr=False)
    sessions: Sessions = field(repr=False)

    def figures(self) -> CutFigures:
        """What is written down of it."""
        return CutFigures(**{each.name: getattr(self, each.name) for each in fields(CutFigures)})


@contextmanager
def open_cut(
    databases: Mapping[str, DatabaseUnderCut], sources: Sequence[ReferenceSettings], *, limits: Limits | None = None
) -> Iterator[Mapping[str, Cut]]:
    """Yields the cut of every database that a source names, all frozen before the first is yielded; gone on exit. `limits` take the
    place of the databases' own.

    Raises Refused, one line, for a database that does not answer, is not the pinned or swept one or is a standby, for a replica that does
    not catch up, and for a table or column that is missing, may not be read, is under row-level security, or cannot be locked in time.
    """
    names = dict.fromkeys(source.database for source in sources if source.of_postgres)
    wanted = {name: replace(databases[name], limits=limits or databases[name].limits) for name in names}
    with ExitStack() as stack:
        connections = {name: stack.enter_context(closing(_connect(name, wanted[name]))) for name in names}
        found, timelines = {}, {}
        for name, connection in connections.items():
            with refusing(f"database {name}"):
                timelines[name] = timeline_of(connection)
                found[name] = _tables_read(name, connection, [source for source in sources if source.database == name], wanted[name].limits)
        for name, connection in connections.items():
            with refusing(f"database {name}"):
                _lock(name, connection, found[name], wanted[name].limits)
        # Nothing slow between these: the databases' snapshots lie as close together as they can.
        cuts = {name: _freeze(name, connection, wanted[name], found[name], timelines[name]) for name, connection in connections.items()}
        for name, cut in cuts.items():
            stack.callback(cut.sessions.close_joined)
            _must_be(wanted[name], cut)
            _must_be_locked(cut, found[name])
        yield cuts


@contextmanager
def relations_read(
    name: str, database: DatabaseUnderCut, sources: Sequence[ReferenceSettings]
) -> Iterator[tuple[Connection, tuple[Relation, ...]]]:
    """A connection, and what the sources read there through it: tables, views, and what these stand on where that may be read too."""
    with closing(connect(name, database.url)) as connection, refusing(f"database {name}"):
        yield connection, _tables_read(name, connection, sources, Limits())


def source_statement(source: ReferenceSettings) -> sql.Composed:
    """The one column that a source reads, as a statement."""
    if source.table is not None and source.column is not None:
        return sql.SQL("SELECT {} FROM {} {}").format(sql.Identifier(source.column), table_identifier(source.table), where_clause(source))
    return sql.SQL("SELECT q.* FROM ({}\n) AS q").format(source_sql(source))


def source_sql(source: ReferenceSettings) -> sql.SQL:
    """The operator's own statement; on a line of its own, since it may end in a `--` comment."""
    assert source.sql is not None  # the settings hold either a table or a statement
    return sql.SQL(source.sql)


def table_identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def refuse_unlocked(cut: Cut, source: str, connection: Connection | None = None) -> None:
    """To be called after a source was read, for each connection that did. Raises Refused when the read touched a table that was not
    locked before the snapshot (behind a function, or in a view or partition that is new): it may have been emptied meanwhile, unseen."""
    for relation in locked_now(connection or cut.connection):
        if relation.oid not in cut.locked:
            raise Refused(
                f"source {source} in database {cut.database}: reads {relation}, not locked before the snapshot: "
                f"a function reads it, or a view or partition changed meanwhile; name the table in the source, "
                f"or run the sweep again"
            )


def _connect(name: str, database: DatabaseUnderCut) -> Connection:
    if database.replica is None:
        return connect(name, database.url)
    standby = connect(name, database.replica)
    try:
        wait_for_replay(name, database, standby)
    except BaseException:
        standby.close()
        raise
    return standby


def _tables_read(database: str, connection: Connection, sources: Sequence[ReferenceSettings], limits: Limits) -> tuple[Relation, ...]:
    """What the sources read, found out in a transaction of its own, which ends before the locks are taken: locks of two
    sessions of ours with a migration waiting between them are a deadlock that PostgreSQL cannot see."""
    # A statement that waits for a migration looks for its tables in the catalogue as it was before: not in one snapshot.
    begin(connection, psycopg.IsolationLevel.READ_COMMITTED, limits)
    for source in sources:
        try:
            connection.execute(sql.SQL("{} LIMIT 0").format(source_statement(source)))
        except psycopg.Error as error:
            raise refusal(error, f"source {source.name} in database {source.database}") from None
    for relation in locked_now(connection):  # below a view too, whoever may read it
        if relation.kind in UNLOCKABLE:
            raise Refused(f"table {relation} in database {database} cannot be locked: {UNLOCKABLE[relation.kind]}")
    # What may not be read is what views and partitioned tables stand on: it is locked with them.
    relations = locked_now(connection, only_readable=True)
    connection.rollback()
    return tuple(relations)


def _lock(database: str, connection: Connection, relations: Sequence[Relation], limits: Limits) -> None:
    begin(connection, psycopg.IsolationLevel.REPEATABLE_READ, limits)
    try:
        lock(connection, relations)
    except NotLocked as unlocked:
        raise refusal(unlocked.error, f"table {unlocked.relation} in database {database} cannot be locked") from None


def _freeze(database: str, connection: Connection, reached: DatabaseUnderCut, relations: Sequence[Relation], timeline: int | None) -> Cut:
    host_snapshot_at = datetime.now(UTC)
    try:
        row = connection.execute(FREEZE).fetchone()
        assert row is not None  # a SELECT without FROM gives one row
        locked = frozenset(relation.oid for relation in locked_now(connection))
    except psycopg.Error as error:
        raise refusal(error, f"database {database}") from None
    at, identifier, oid, snapshot, standby, lsn, version = row
    if standby and reached.replica is None:
        raise Refused(f"database {database}: is a standby; name the primary as url, and the standby as replica")
    if not standby and reached.replica is not None:
        raise Refused(f"database {database}: its replica is no standby any more: was it promoted?")
    assert isinstance(at, datetime)
    assert isinstance(oid, int)
    return Cut(
        database=database,
        snapshot_at=at.astimezone(UTC),
        host_snapshot_at=host_snapshot_at,
        system_identifier=str(identifier),
        snapshot=str(snapshot),
        lsn=str(lsn),
        server_version=str(version),
        from_replica=reached.replica is not None,
        database_oid=oid,
        timeline=timeline,
        locked=locked,
        connection=connection,
        sessions=Sessions(
            name=database,
            url=reached.replica or reached.url,
            first=connection,
            relations=relations,
            most=reached.connections,
            limits=reached.limits,
        ),
    )


def _must_be(reached: DatabaseUnderCut, cut: Cut) -> None:
    pinned = reached.system_identifier
    if pinned is not None:
        found = full_identifier(cut) if "/" in pinned else cut.system_identifier
        if found != pinned:
            raise Refused(
                f"database {cut.database}: its system_identifier is {found}, the settings say {pinned}: another server or database?"
            )
    why = unlike(reached.swept, cut) if reached.swept is not None else None
    if why is not None:
        raise Refused(f"database {cut.database}: not as the sweep saw it: {why}: run a new sweep")


def _must_be_locked(cut: Cut, relations: Sequence[Relation]) -> None:
    """A table that was dropped and made anew between finding and locking has another oid by now."""
    for relation in relations:
        if relation.oid not in cut.locked:
            raise Refused(f"table {relation} in database {cut.database}: was replaced while the sweep was locking it; run the sweep again")
