"""A sample of what a source says, for a person to look at: counts over all of it, and a thousand raw values by chance. Reading a source
for a sweep belongs in `extract`."""

import random
from dataclasses import dataclass

import psycopg
from psycopg import sql

from orphan_pipeline.references.cut import Cut
from orphan_pipeline.references.extract import prepare
from orphan_pipeline.references.kinds.files import FileReading, OpenFile
from orphan_pipeline.references.problems import problem_text
from orphan_pipeline.references.refusals import refusal
from orphan_pipeline.settings.model import ReferenceSettings

SAMPLE = 1000

COUNTS = """
SELECT count(q.raw), count(q.problem) FROM ({statement}) AS q(row_id, raw, problem)
"""

CHOSEN = """
SELECT q.raw FROM ({statement}) AS q(row_id, raw, problem)
WHERE q.raw IS NOT NULL AND q.problem IS NULL ORDER BY random() LIMIT {size}
"""

ONE_PROBLEM = """
SELECT q.row_id, q.problem FROM ({statement}) AS q(row_id, raw, problem) WHERE q.problem IS NOT NULL LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`keys` raw values stand in all of the source; `raws` are some. `problem`: what a sweep would be refused for, in one line."""

    keys: int
    raws: tuple[str, ...]
    problem: str | None


def sample_of_source(source: ReferenceSettings, cut: Cut, *, size: int = SAMPLE) -> Sample:
    """Two passes in the server; nothing but the sample comes over the wire. Raises Refused for what cannot be read at all."""
    reading = prepare(source, cut)
    connection = cut.connection
    try:
        counted = connection.execute(sql.SQL(COUNTS).format(statement=reading.statement)).fetchone()
        assert counted is not None  # an aggregate gives one row
        keys, problems = counted
        chosen = connection.execute(sql.SQL(CHOSEN).format(statement=reading.statement, size=sql.Literal(size))).fetchall()
        problem = connection.execute(sql.SQL(ONE_PROBLEM).format(statement=reading.statement)).fetchone() if problems else None
    except psycopg.Error as error:
        raise refusal(error, f"source {source.name} in database {source.database}") from None
    assert isinstance(keys, int)
    said = None if problem is None else str(reading.refused(str(problem[0]), problem_text(str(problem[1]))))
    return Sample(keys=keys, raws=tuple(str(raw) for (raw,) in chosen), problem=said)


def sample_of_file(opened: OpenFile, *, size: int = SAMPLE) -> tuple[int, Sample]:
    """Rows, and the sample, of a file source, read once from its beginning to its end. Raises Refused as a sweep would."""
    chance = random.Random(0)
    rows, keys, raws, last = 0, 0, list[str](), ""
    for batch in FileReading(opened=opened).batches():
        for row_id, raw, _ in batch:
            rows += row_id != last
            last = row_id
            if raw is None:
                continue
            keys += 1
            if len(raws) < size:
                raws.append(raw)
            elif (place := chance.randrange(keys)) < size:
                raws[place] = raw
    return rows, Sample(keys=keys, raws=tuple(raws), problem=None)
