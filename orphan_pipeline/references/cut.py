"""One cut in time over all databases (rule 4a): every table that a source reads is locked, then every snapshot is
frozen, and only then is anything read. What is read in the cut belongs in `extract`.

A snapshot alone is not enough: a migration that rewrites a table (ALTER, TRUNCATE, rename-swap) and commits between the
snapshot and the read leaves the table *empty* in that snapshot, without an error. ACCESS SHARE locks taken before the
snapshot make the migration wait.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.kinds.columns import where_clause
from orphan_pipeline.references.refusals import connection_refusal, refusal, refusing
from orphan_pipeline.settings.model import ReferenceSettings

Connection = psycopg.Connection[tuple[object, ...]]

# A database that vanishes must end the sweep, not hang it. A URL that says otherwise wins.
CONNECTION_DEFAULTS: dict[str, Any] = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

# Whatever a statement reads, through views, rules, functions or partitions, it has a lock on: more than any plan shows.
# A table that is newer than the snapshot is not in its pg_class; the functions asked in its place look at the present.
LOCKED = sql.SQL("""
SELECT l.relation::bigint, n.nspname::text, coalesce(c.relname, l.relation::regclass::text), has_table_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.relation >= 16384  -- the system's own lie below
  AND CASE WHEN c.oid IS NOT NULL THEN c.relkind IN ('r', 'p', 'v', 'm', 'f')
           ELSE pg_get_indexdef(l.relation) IS NULL AND l.relation::regclass::text NOT LIKE 'pg_toast.%' END
ORDER BY l.relation
""")

# statement_timestamp() is from before the snapshot, clock_timestamp() from after it: only the former may set a cutoff.
FREEZE = sql.SQL("""
SELECT statement_timestamp(), (SELECT system_identifier::text FROM pg_control_system()), pg_current_snapshot()::text,
       pg_is_in_recovery(), CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END,
       current_setting('server_version')
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUnderCut:
    """How to reach a database, and which one it must turn out to be (None: any)."""

    url: str = field(repr=False)
    system_identifier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the cut waits for a lock, and how long one statement may run (zero: as long as it takes)."""

    lock_timeout: timedelta = timedelta(seconds=30)
    statement_timeout: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One database, frozen. `snapshot_at` is by its own clock and `host_snapshot_at` by this host's; both lie just
    before the snapshot. `locked` holds the oids of all tables that were locked before it."""

    database: str
    snapshot_at: datetime
    host_snapshot_at: datetime
    system_identifier: str
    snapshot: str
    lsn: str
    server_version: str
    locked: frozenset[int]
    connection: Connection = field(repr=False)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or partition, as the database spells it."""

    oid: int
    schema: str | None
    name: str

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name) if self.schema is None else sql.Identifier(self.schema, self.name)


@contextmanager
def open_cut(
    databases: Mapping[str, DatabaseUnderCut], sources: Sequence[ReferenceSettings], *, limits: Limits | None = None
) -> Iterator[Mapping[str, Cut]]:
    """Yields the cut of every database that a source names, all frozen before the first is yielded; gone on exit.

    Raises Refused, one line, for a database that does not answer, is not the pinned one or is a standby, and for a
    table or column that is missing, may not be read, is under row-level security, or cannot be locked in time.
    """
    wanted = limits or Limits()
    names = dict.fromkeys(source.database for source in sources if source.of_postgres)
    with ExitStack() as stack:
        connections = {name: stack.enter_context(closing(_connect(name, databases[name]))) for name in names}
        found = {}
        for name, connection in connections.items():
            with refusing(f"database {name}"):
                found[name] = _tables_read(connection, [source for source in sources if source.database == name], wanted)
        for name, connection in connections.items():
            with refusing(f"database {name}"):
                _lock(name, connection, found[name], wanted)
        # Nothing slow between these: the databases' snapshots lie as close together as they can.
        cuts = {name: _freeze(name, connection) for name, connection in connections.items()}
        for name, cut in cuts.items():
            _must_be(databases[name].system_identifier, cut)
            _must_be_locked(cut, found[name])
        yield cuts


@contextmanager
def relations_read(
    name: str, database: DatabaseUnderCut, sources: Sequence[ReferenceSettings]
) -> Iterator[tuple[Connection, tuple[Relation, ...]]]:
    """A connection, and what the sources read there through it: tables, views, and what these stand on where that may be read too."""
    with closing(_connect(name, database)) as connection, refusing(f"database {name}"):
        yield connection, _tables_read(connection, sources, Limits())


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


def refuse_unlocked(cut: Cut, source: str) -> None:
    """To be called after a source was read. Raises Refused when the read touched a table that was not locked before the
    snapshot (behind a function, or in a view or partition that is new): it may have been emptied meanwhile, unseen."""
    for relation in _locked_now(cut.connection):
        if relation.oid not in cut.locked:
            raise Refused(
                f"source {source} in database {cut.database}: reads {relation}, not locked before the snapshot: "
                f"a function reads it, or a view or partition changed meanwhile; name the table in the source, "
                f"or run the sweep again"
            )


def _connect(name: str, database: DatabaseUnderCut) -> Connection:
    try:
        parameters = conninfo_to_dict(database.url)
    except psycopg.ProgrammingError:
        # libpq repeats the text that it does not understand, password and all.
        raise Refused(f"database {name}: its URL cannot be read, expected postgresql://user:password@host:port/database") from None
    ours = {"application_name": "orphan_pipeline", "client_encoding": "utf8"}
    try:
        connection: Connection = psycopg.connect(make_conninfo(**{**CONNECTION_DEFAULTS, **parameters, **ours}))
    except psycopg.Error as error:
        password = parameters.get("password")
        raise connection_refusal(error, name, str(password) if password else None) from None
    connection.read_only = True
    connection.prepare_threshold = None
    return connection


def _begin(connection: Connection, isolation: psycopg.IsolationLevel, limits: Limits) -> None:
    """SET does not take the snapshot, nor does LOCK TABLE; the first SELECT does."""
    connection.isolation_level = isolation
    # Under row-level security PostgreSQL then answers with an error, not with fewer rows.
    connection.execute("SET LOCAL row_security = off")
    milliseconds = {"lock_timeout": limits.lock_timeout, "statement_timeout": limits.statement_timeout}
    for setting, value in milliseconds.items():
        connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(setting), sql.Literal(int(value.total_seconds() * 1000))))
    # One database waits, idle, while another is read: its role's own limit must not end the cut.
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    if connection.info.server_version >= 170000:
        connection.execute("SET LOCAL transaction_timeout = 0")


def _tables_read(connection: Connection, sources: Sequence[ReferenceSettings], limits: Limits) -> tuple[Relation, ...]:
    """What the sources read, found out in a transaction of its own, which ends before the locks are taken: locks of two
    sessions of ours with a migration waiting between them are a deadlock that PostgreSQL cannot see."""
    # A statement that waits for a migration looks for its tables in the catalogue as it was before: not in one snapshot.
    _begin(connection, psycopg.IsolationLevel.READ_COMMITTED, limits)
    for source in sources:
        try:
            connection.execute(sql.SQL("{} LIMIT 0").format(source_statement(source)))
        except psycopg.Error as error:
            raise refusal(error, f"source {source.name} in database {source.database}") from None
    # What may not be read is what views and partitioned tables stand on: it is locked with them.
    relations = _locked_now(connection, only_readable=True)
    connection.rollback()
    return tuple(relations)


def _lock(database: str, connection: Connection, relations: Sequence[Relation], limits: Limits) -> None:
    _begin(connection, psycopg.IsolationLevel.REPEATABLE_READ, limits)
    for relation in relations:
        try:
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(relation.identifier))
        except psycopg.Error as error:
            raise refusal(error, f"table {relation} in database {database} cannot be locked") from None


def _freeze(database: str, connection: Connection) -> Cut:
    host_snapshot_at = datetime.now(UTC)
    try:
        row = connection.execute(FREEZE).fetchone()
        assert row is not None  # a SELECT without FROM gives one row
        locked = frozenset(relation.oid for relation in _locked_now(connection))
    except psycopg.Error as error:
        raise refusal(error, f"database {database}") from None
    at, identifier, snapshot, standby, lsn, version = row
    if standby:
        raise Refused(f"database {database}: is a standby; reading from a standby is not available yet, name the primary")
    assert isinstance(at, datetime)
    return Cut(
        database=database,
        snapshot_at=at.astimezone(UTC),
        host_snapshot_at=host_snapshot_at,
        system_identifier=str(identifier),
        snapshot=str(snapshot),
        lsn=str(lsn),
        server_version=str(version),
        locked=locked,
        connection=connection,
    )


def _must_be(pinned: str | None, cut: Cut) -> None:
    if pinned is not None and pinned != cut.system_identifier:
        raise Refused(
            f"database {cut.database}: its system_identifier is {cut.system_identifier}, the settings say {pinned}: a stale clone?"
        )


def _must_be_locked(cut: Cut, relations: Sequence[Relation]) -> None:
    """A table that was dropped and made anew between finding and locking has another oid by now."""
    for relation in relations:
        if relation.oid not in cut.locked:
            raise Refused(f"table {relation} in database {cut.database}: was replaced while the sweep was locking it; run the sweep again")


def _locked_now(connection: Connection, *, only_readable: bool = False) -> list[Relation]:
    return [_relation(row) for row in connection.execute(LOCKED).fetchall() if row[3] or not only_readable]


def _relation(row: Sequence[object]) -> Relation:
    oid, schema, name = row[:3]
    assert isinstance(oid, int)
    return Relation(oid, None if schema is None else str(schema), str(name))
