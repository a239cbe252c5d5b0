"""Reads one source inside its cut as keys: the raw values that `extract` gives, by the rules of `normalise`. The one function by which
references are read, for the snapshot and wherever else they are asked for."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from orphan_pipeline.references.cut import Cut
from orphan_pipeline.references.extract import Reading, prepare
from orphan_pipeline.references.kinds.files import FileReading
from orphan_pipeline.references.normalise import explain, key_sql, none_is_json, teach
from orphan_pipeline.references.schema import REFERENCES
from orphan_pipeline.references.transport.extracted import RAW, Extracted
from orphan_pipeline.references.variants import variants_sql
from orphan_pipeline.settings.model import ReferenceSettings

DUCKDB_BYTES = 256 * 2**20
BYTES_A_QUERY = 2 * 2**20
"""A query takes ten milliseconds to plan, however little it is asked of: the values of one answer take three."""

KEYS = pa.schema([(name, REFERENCES.field(name).type) for name in ("key", "derived", "row_id")])

# A problem carries its raw value along; the variants of a key that is none are not made.
NORMALISE = """
WITH keyed AS MATERIALIZED (SELECT row_id, raw, {key} AS key, {problem} AS problem FROM extracted)
SELECT key, false AS derived, row_id, problem, CASE WHEN problem IS NOT NULL THEN raw END AS raw FROM keyed
WHERE key IS NOT NULL OR problem IS NOT NULL  -- neither: a foreign URL that is excused
UNION ALL
SELECT derived_key, true, row_id, NULL, NULL
FROM (SELECT unnest({variants}) AS derived_key, row_id FROM keyed WHERE problem IS NULL AND key IS NOT NULL) WHERE derived_key <> ''
"""


@dataclass(slots=True)
class Tally:
    """What was read so far. `rows` of the source, `without_key` of them gave none; `references` are raw values that are keys, `derived`
    the keys of variants; `foreign` values were excused; `received` are bytes of the database's answers."""

    rows: int = 0
    references: int = 0
    derived: int = 0
    without_key: int = 0
    received: int = 0
    foreign: int = 0

    def add(self, extracted: Extracted) -> None:
        self.rows += extracted.rows
        self.references += extracted.values.num_rows
        self.without_key += extracted.without_key
        self.received += extracted.received


def read_keys(source: ReferenceSettings, cut: Cut, *, tally: Tally | None = None) -> Iterator[pa.Table]:
    """Tables of the schema `KEYS`, one row a reference, in no order, some megabytes at a time: every key that the source names.

    Raises Refused for whatever keeps the set from being complete: the first row found that is not as declared, or what PostgreSQL
    refuses. Exhaust or close it inside the cut.
    """
    yield from keys_of(prepare(source, cut), tally=tally)


def keys_of(reading: Reading | FileReading, *, tally: Tally | None = None) -> Iterator[pa.Table]:
    """As `read_keys`, of a source that was prepared."""
    counted = tally if tally is not None else Tally()
    rules = key_sql(reading.source.key, json_may_be_key=reading.source.json_may_be_key)
    variants, templates = variants_sql(reading.source.variants)
    query = NORMALISE.format(key=rules.key, problem=rules.problem, variants=variants)
    with ExitStack() as opened:
        connection: duckdb.DuckDBPyConnection | None = None  # it takes 22 ms of a core to open, and the commonest source needs none
        for extracted, is_plain in _gathered(reading, reading.extracted() if isinstance(reading, Reading) else _of_file(reading)):
            counted.add(extracted)
            if is_plain:
                keys = _plain(extracted.values)
            else:
                connection = connection or opened.enter_context(_taught())
                keys = _keys(reading, connection, query, {**rules.parameters, **templates}, extracted.values)
            derived = pc.sum(keys["derived"]).as_py() or 0
            foreign = extracted.values.num_rows - (keys.num_rows - derived)
            counted.derived += derived
            counted.foreign += foreign
            counted.references -= foreign
            yield keys


def _taught() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"memory_limit": f"{DUCKDB_BYTES // 2**20}MiB", "temp_directory": ""})
    teach(connection)
    return connection


def _is_plain(reading: Reading | FileReading, extracted: Extracted) -> bool:
    """Without rules and variants a value is its key, unless it is empty, JSON or a URL, and no URL is without two slashes: the commonest
    case, answered without a query."""
    plain = extracted.plain and not reading.source.key.steps and not reading.source.variants
    return plain and none_is_json(extracted.values["raw"])


def _gathered(reading: Reading | FileReading, pieces: Iterable[Extracted]) -> Iterator[tuple[Extracted, bool]]:
    """The same, each with whether it is plain; those together that need a query."""
    waiting: list[Extracted] = []
    for piece in pieces:
        if _is_plain(reading, piece):
            yield piece, True
            continue
        waiting.append(piece)
        if sum(each.values.nbytes for each in waiting) >= BYTES_A_QUERY:
            yield Extracted.together(waiting), False
            waiting.clear()
    if waiting:
        yield Extracted.together(waiting), False


def _plain(values: pa.Table) -> pa.Table:
    return pa.Table.from_arrays([values["raw"], pa.repeat(False, values.num_rows), values["row_id"]], schema=KEYS)


def _keys(
    reading: Reading | FileReading, connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, str], values: pa.Table
) -> pa.Table:
    """Raises Refused for the first value that is no key by the source's rules."""
    connection.register("extracted", values)
    keys: pa.Table = connection.sql(query, params=parameters).to_arrow_table()
    connection.unregister("extracted")
    for problem in keys.filter(keys["problem"].is_valid()).slice(0, 1).to_pylist():
        raise reading.refused(problem["row_id"], explain(problem["problem"], problem["raw"]))
    return keys.select(KEYS.names).cast(KEYS)


def _of_file(reading: FileReading) -> Iterator[Extracted]:
    last_row: str | None = None
    for batch in reading.batches():
        found = [(row_id, raw) for row_id, raw, _ in batch if raw is not None]
        rows = 0
        for row_id, _, _ in batch:  # the references of one row follow one another
            rows += row_id != last_row
            last_row = row_id
        values = pa.table({"row_id": [row_id for row_id, _ in found], "raw": [raw for _, raw in found]}, schema=RAW)
        yield Extracted(values=values, rows=rows, without_key=len(batch) - len(found), received=0)
