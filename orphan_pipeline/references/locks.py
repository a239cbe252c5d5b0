"""Which tables a statement reads, and the locks that keep migrations from emptying them unseen (rule 4a)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

# Whatever a statement reads, through views, rules, functions or partitions, it has a lock on: more than any plan shows.
# A table that is newer than the snapshot is not in its pg_class; the functions asked in its place look at the present.
LOCKED = sql.SQL("""
SELECT l.relation::bigint, n.nspname::text, coalesce(c.relname, l.relation::regclass::text), c.relkind::text,
       has_table_privilege(c.oid, 'SELECT')
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


# PostgreSQL has no lock for these that keeps their rows where they are.
UNLOCKABLE = {
    "m": "it is a materialized view, and a REFRESH could empty it unseen while it is read; "
    "name its query as sql, or a view with that query",
    "f": "it is a foreign table, whose rows its own server could lose unseen while they are read; "
    "name that server under databases and its table as a source",
}


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view; `kind` as in pg_class. `schema` and `kind` are None for one that is newer than the snapshot."""

    oid: int
    schema: str | None
    name: str
    kind: str | None

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name) if self.schema is None else sql.Identifier(self.schema, self.name)


class NotLocked(Exception):
    """PostgreSQL did not give the lock on this relation; its error is the cause."""

    def __init__(self, relation: Relation, error: psycopg.Error) -> None:
        super().__init__(str(relation))
        self.relation = relation
        self.error = error


def lock(connection: psycopg.Connection[tuple[object, ...]], relations: Iterable[Relation], *, wait: bool = True) -> None:
    """ACCESS SHARE on each. Takes no snapshot. Raises what PostgreSQL says: with `wait`, as NotLocked."""
    for relation in relations:
        try:
            statement = "LOCK TABLE {} IN ACCESS SHARE MODE" if wait else "LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT"
            connection.execute(sql.SQL(statement).format(relation.identifier))
        except psycopg.Error as error:
            if wait:
                raise NotLocked(relation, error) from error
            raise


def locked_now(connection: psycopg.Connection[tuple[object, ...]], *, only_readable: bool = False) -> list[Relation]:
    """What this connection's transaction holds a lock on. Tables that the role may not read (those below a view) on wish left out."""
    return [_relation(row) for row in connection.execute(LOCKED).fetchall() if row[4] or not only_readable]


def _relation(row: Sequence[object]) -> Relation:
    oid, schema, name, kind = row[:4]
    assert isinstance(oid, int)
    return Relation(oid, None if schema is None else str(schema), str(name), None if kind is None else str(kind))
