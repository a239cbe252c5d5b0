"""Reads a statement that gives rows (row_id, raw, problem), one a key, as a stream of COPY: for sources that no table's blocks divide,
and for those whose rows are small anyway."""

import io
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from pyarrow import csv

from orphan_pipeline.references.sessions import Connection
from orphan_pipeline.references.transport.extracted import RAW, BadRow, Extracted
from orphan_pipeline.references.transport.parallel import Put, in_parallel

WANTED_BYTES = 1_000_000

# Quoted, an empty text; not quoted, null.
COPY = sql.SQL("COPY ({statement}\n) TO STDOUT (FORMAT csv, FORCE_QUOTE *)")
COLUMNS = ["row_id", "raw", "problem"]
AS_TEXT = csv.ConvertOptions(
    column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
)
BY_COMMAS = csv.ParseOptions(newlines_in_values=True)


def read_copies(statements: Sequence[sql.Composable], connections: Sequence[Connection]) -> Iterator[Extracted]:
    """What the statements give, each asked once, in no order; what one gives, in its order. Raises what PostgreSQL says, BadRow for a row
    with a problem, and UnicodeDecodeError."""
    waiting: SimpleQueue[sql.Composable] = SimpleQueue()
    for statement in statements:
        waiting.put(statement)

    def read(connection: Connection, put: Put) -> None:
        while True:
            try:
                statement = waiting.get_nowait()
            except Empty:
                return
            for extracted in _copy(statement, connection):
                if not put(extracted):
                    return

    return in_parallel(read, connections)


def _copy(statement: sql.Composable, connection: Connection) -> Iterator[Extracted]:
    last_row: str | None = None
    with connection.cursor() as cursor, cursor.copy(COPY.format(statement=statement)) as copy:
        gathered, size = list[bytes](), 0
        for line in copy:
            gathered.append(bytes(line))
            size += len(line)
            if size >= WANTED_BYTES:
                extracted, last_row = _extracted(b"".join(gathered), last_row)
                yield extracted
                gathered, size = [], 0
    if gathered:
        yield _extracted(b"".join(gathered), last_row)[0]


def _extracted(text: bytes, last_row: str | None) -> tuple[Extracted, str | None]:
    """Rows that follow one another with one id are one row of the source."""
    text.isascii() or text.decode()
    table = csv.read_csv(
        io.BytesIO(text),
        read_options=csv.ReadOptions(column_names=COLUMNS, use_threads=False, block_size=len(text) + 1),
        parse_options=BY_COMMAS,
        convert_options=AS_TEXT,
    ).combine_chunks()
    for row in table.filter(table["problem"].is_valid()).slice(0, 1).to_pylist():
        raise BadRow(row["row_id"], row["problem"])
    ids = table["row_id"]
    changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_pylist().count(True)
    values = table.select(RAW.names).filter(table["raw"].is_valid()).cast(RAW)
    extracted = Extracted(
        values=values,
        rows=changes + (ids[0].as_py() != last_row),
        without_key=len(table) - len(values),
        received=len(text),
    )
    return extracted, ids[-1].as_py()
