"""Connections to one database: how they are opened and how their transactions begin. One of them exports its snapshot; more of them
read the same snapshot at once. What is locked before it belongs in `locks`, what is read in it in `extract`.

A connection that joins later must never wait for a lock: between it and the one that holds the locks a migration may be waiting, a
deadlock that PostgreSQL cannot see. It takes what it can have at once, or is given up.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.figures import CutFigures
from orphan_pipeline.references.locks import Relation, lock
from orphan_pipeline.references.refusals import connection_refusal

Connection = psycopg.Connection[tuple[object, ...]]

# A database that vanishes must end the sweep, not hang it. A URL that says otherwise wins.
CONNECTION_DEFAULTS: dict[str, Any] = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

EXPORT = sql.SQL("SELECT pg_export_snapshot()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the cut waits for a lock, and how long one statement may run (zero: as long as it takes)."""

    lock_timeout: timedelta = timedelta(seconds=30)
    statement_timeout: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUnderCut:
    """How to reach a database, and which one it must turn out to be: `system_identifier` as the settings pin it, alone or with the
    database's oid (None: any); `swept` as a sweep saw it (None: whichever). With `replica`, the URL of a standby, the cut is taken there,
    once it has replayed what the primary had written, or refused after `replica_wait`."""

    url: str = field(repr=False)
    system_identifier: str | None = None
    swept: CutFigures | None = None
    connections: int = 1
    limits: Limits = field(default_factory=Limits)
    replica: str | None = field(default=None, repr=False)
    replica_wait: timedelta = timedelta(minutes=5)


def connect(name: str, url: str) -> Connection:
    """A read-only connection, not in a transaction. Raises Refused, without the password, when it does not come about."""
    try:
        parameters = conninfo_to_dict(url)
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


def begin(connection: Connection, isolation: psycopg.IsolationLevel, limits: Limits) -> None:
    """SET does not take the snapshot, nor does LOCK TABLE; the first SELECT does."""
    connection.isolation_level = isolation
    # Under row-level security PostgreSQL then answers with an error, not with fewer rows.
    connection.execute("SET LOCAL row_security = off")
    milliseconds = {"lock_timeout": limits.lock_timeout, "statement_timeout": limits.statement_timeout}
    for setting, value in milliseconds.items():
        connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(setting), sql.Literal(int(value.total_seconds() * 1000))))
    # One database waits, idle, while another is read: its role's own limit must not end the cut.
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    # What a worker of a parallel query locks is seen by nobody, and gone when it ends: a function there could read what was not locked.
    connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
    # Each statement reads a slice of a table: compiling it takes longer than running it.
    connection.execute("SET LOCAL jit = off")
    if connection.info.server_version >= 170000:
        connection.execute("SET LOCAL transaction_timeout = 0")


class Sessions:
    """The connections that read one frozen database: first the one that holds locks and snapshot, more when they are asked for."""

    def __init__(self, *, name: str, url: str, first: Connection, relations: Sequence[Relation], most: int, limits: Limits) -> None:
        self._name, self._url, self._relations, self._limits = name, url, relations, limits
        self._all = [first]
        self.most = most
        self._snapshot: str | None = None

    def up_to(self, wanted: int) -> list[Connection]:
        """At least one connection and at most `wanted`, or the database's limit, all in the same snapshot."""
        while len(self._all) < min(wanted, self.most):
            joined = self._join()
            if joined is None:
                self.most = len(self._all)
            else:
                self._all.append(joined)
        return self._all[:wanted]

    def close_joined(self) -> None:
        """All but the first, which belongs to whoever opened it."""
        for connection in self._all[1:]:
            connection.close()

    def _join(self) -> Connection | None:
        if self._snapshot is None:
            row = self._all[0].execute(EXPORT).fetchone()
            assert row is not None  # a SELECT without FROM gives one row
            self._snapshot = str(row[0])
        try:
            connection = connect(self._name, self._url)
        except Refused:
            return None  # the role's or the server's limit of connections: fewer do it too
        try:
            begin(connection, psycopg.IsolationLevel.REPEATABLE_READ, self._limits)
            lock(connection, self._relations, wait=False)
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self._snapshot)))
        except errors.LockNotAvailable:
            connection.close()
            return None  # a migration waits behind our locks
        except BaseException:
            with suppress(psycopg.Error):
                connection.close()
            raise
        return connection
