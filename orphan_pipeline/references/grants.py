"""The least that a database must allow: the SQL of a role that may read what the sources name, and nothing else.

SELECT on single columns would not do: LOCK TABLE, without which a snapshot can be emptied (see `cut`), asks for it on the whole table.
Who wants columns kept back names a view that leaves them out.
"""

import re
from collections.abc import Sequence

from psycopg import sql

from orphan_pipeline.references.cut import Connection, DatabaseUnderCut, relations_read
from orphan_pipeline.settings.model import ReferenceSettings

ROLE = sql.Identifier("orphan_pipeline")
PASSWORD = "choose-a-password"

# What stands under a view or a partitioned table is read with the rights of the view's owner, or of the partitioned table.
BELOW = """
SELECT d.refobjid::bigint FROM pg_catalog.pg_rewrite AS r
JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND r.ev_class = ANY(%(oids)s) AND d.refobjid <> r.ev_class
UNION
SELECT i.inhrelid::bigint FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = ANY(%(oids)s)
"""


def grants(name: str, database: DatabaseUnderCut, sources: Sequence[ReferenceSettings]) -> list[str]:
    """The statements, each one line, for the sources of one database. It is asked which tables they read, so whoever its URL names must be
    allowed to. Raises Refused as a sweep would."""
    with relations_read(name, database, sources) as (connection, relations):
        below = {row[0] for row in connection.execute(BELOW, {"oids": [relation.oid for relation in relations]}).fetchall()}
        wanted = [relation for relation in relations if relation.oid not in below or _named(relation.name, sources)]
        schemas = dict.fromkeys(relation.schema for relation in wanted if relation.schema is not None)
        statements = [
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {};").format(ROLE, sql.Literal(PASSWORD)),
            sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on;").format(ROLE),
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {};").format(sql.Identifier(_name_of(connection)), ROLE),
            *(sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(sql.Identifier(schema), ROLE) for schema in schemas),
            *(sql.SQL("GRANT SELECT ON TABLE {} TO {};").format(relation.identifier, ROLE) for relation in wanted),
        ]
        return [statement.as_string(connection) for statement in statements]


def _named(relation: str, sources: Sequence[ReferenceSettings]) -> bool:
    """Whether a source speaks of the table itself, and not only through a view."""
    texts = [text for source in sources for text in (source.sql, source.where) if text is not None]
    tables = [source.table.rpartition(".")[2] for source in sources if source.table is not None]
    return relation in tables or any(re.search(rf"\b{re.escape(relation)}\b", text, re.IGNORECASE) for text in texts)


def _name_of(connection: Connection) -> str:
    return connection.info.dbname
