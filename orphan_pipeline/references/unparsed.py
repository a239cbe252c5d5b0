"""Which row it is whose document does not parse, asked after a statement failed on one, in the same snapshot. PostgreSQL is the judge: its
JSON is not everybody's."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from orphan_pipeline.references.sessions import Connection

MOST_DOCUMENTS = 500
MOST_BYTES = 4_000_000

# PostgreSQL 16 and later look themselves.
FIRST = sql.SQL(
    "SELECT source.row_id FROM ({documents}) AS source(row_id, document) WHERE NOT pg_input_is_valid(source.document, 'jsonb') LIMIT 1"
)
PARSE = sql.SQL("SELECT count(document::jsonb) FROM unnest(%s::text[]) AS document")


def first_unparsed(documents: sql.Composed, connection: Connection) -> str | None:
    """The id of the first row of `documents`, a statement that gives (row_id, text), whose text is no JSON; None when all are."""
    if connection.info.server_version >= 160000:
        row = connection.execute(FIRST.format(documents=documents)).fetchone()
        return None if row is None else str(row[0])
    with connection.cursor(name="orphan_pipeline_unparsed") as cursor:
        cursor.itersize = MOST_DOCUMENTS
        cursor.execute(documents)
        gathered: list[tuple[str, str]] = []
        size = 0
        for row_id, document in cursor:
            if document is not None:
                gathered.append((str(row_id), str(document)))
                size += len(str(document))
            if len(gathered) == MOST_DOCUMENTS or size > MOST_BYTES:
                if (found := _first(gathered, connection)) is not None:
                    return found
                gathered, size = [], 0
        return _first(gathered, connection)


def _first(documents: Sequence[tuple[str, str]], connection: Connection) -> str | None:
    """By halves: a document that does not parse costs a statement, not the snapshot."""
    if _all_parse(documents, connection):
        return None
    while len(documents) > 1:
        half = documents[: len(documents) // 2]
        documents = documents[len(documents) // 2 :] if _all_parse(half, connection) else half
    return documents[0][0]


def _all_parse(documents: Sequence[tuple[str, str]], connection: Connection) -> bool:
    try:
        with connection.transaction():
            connection.execute(PARSE, ([document for _, document in documents],))
    except psycopg.DataError:
        return False
    return True
