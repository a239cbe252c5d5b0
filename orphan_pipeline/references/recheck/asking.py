"""Asks the primary databases which of some keys are in use right now (rule 10): through the same sources, cut, key rules and variants
as the snapshot. Which keys are asked when, and what follows, is decided in `deletion.recheck`.

Several databases are looked at A, B, A: a row that moves from B to A between two looks is gone from B when B is looked at, and in A
when A is looked at again. With more of them all but the last are looked at twice, so that each stands behind each other one once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from orphan_pipeline.duck import duck
from orphan_pipeline.elapsed import elapsed
from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, Limits, open_cut
from orphan_pipeline.references.derived import glob_matches_sql
from orphan_pipeline.references.extract import Reading
from orphan_pipeline.references.kinds.files import FileReading, OpenFile, open_files
from orphan_pipeline.references.normalise import teach
from orphan_pipeline.references.recheck.reading import read_keys, reading_of, reading_of_few
from orphan_pipeline.references.recheck.ways import KEYS_EXPLAINED, Keys, Way, narrowed, raws_of, slices, way_of
from orphan_pipeline.settings.model import ReferenceSettings

By = Literal["auto", "pass"]
MEMORY_BYTES = 192 * 2**20
KEY = pa.schema([pa.field("key", pa.string())])

# The keys that are asked for are few and known, the source's many and streamed: the side that is held must not be swapped.
PREPARE = "SET disabled_optimizers = 'build_side_probe_side'"
FILL = "CREATE OR REPLACE TEMP TABLE asked AS SELECT DISTINCT key FROM asked_keys"
IN_USE = "SELECT DISTINCT found.key FROM found SEMI JOIN asked USING (key)"

# A glob keeps what it matches for some key of its source: these are held, on disk where they are too many, for as long as it takes.
HOLD = "CREATE OR REPLACE TEMP TABLE parents AS SELECT DISTINCT key FROM found"
LET_GO = "DROP TABLE parents"
HELD_IN_USE = "SELECT DISTINCT parents.key FROM parents SEMI JOIN asked USING (key)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which of the keys are in use, each with the name of a source that says so. `began`: `elapsed()` before the first look."""

    in_use: Mapping[str, str]
    began: float
    seconds: float


class Asker:
    """Asks for any number of keys at a time; memory holds those keys and one batch of a source. One thread at a time may use it."""

    def __init__(
        self,
        *,
        databases: Mapping[str, DatabaseUnderCut],
        sources: Sequence[ReferenceSettings],
        spill_under: Path,
        by: By = "auto",
        limits: Limits | None = None,
    ) -> None:
        self._databases, self._sources, self._by, self._limits = databases, sources, by, limits
        self._spill_under = spill_under
        self._stack = ExitStack()
        self._ways: dict[str, Way] = {}

    def __enter__(self) -> Self:
        self._connection = self._stack.enter_context(duck(self._spill_under, memory_bytes=MEMORY_BYTES))
        self._connection.execute(PREPARE)
        teach(self._connection)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def ways(self, keys: Keys) -> Sequence[Way]:
        """How each source is asked: found out once, with keys of the plan, and kept."""
        if not self._ways:
            of_postgres = [source for source in self._sources if source.of_postgres]
            with open_cut(self._databases, of_postgres, limits=self._limits) as cuts:
                for source in self._sources:
                    place = cuts[source.database] if source.of_postgres else None
                    self._ways[source.name] = _way(source, place, self._connection, keys, self._by)
        return list(self._ways.values())

    def ask(self, keys: Keys) -> Asked:
        """Raises Refused when a database does not answer or a source does not say what it should: then nothing is known."""
        began = elapsed()
        ways = self.ways(keys)
        in_use: dict[str, str] = {}
        if any(way.form is None for way in ways):
            self._connection.register("asked_keys", pa.table({"key": keys}))
            self._connection.execute(FILL)
            self._connection.unregister("asked_keys")
        files = open_files(self._sources, now=datetime.now(UTC))
        for way in ways:
            if not way.source.of_postgres:
                in_use.update((key, way.source.name) for key in self._in_use(way, files[way.source.name], keys))
        for database in looks([source.database for source in self._sources if source.of_postgres]):
            own = [way for way in ways if way.source.of_postgres and way.source.database == database]
            under_cut = self._databases[database]
            if all(way.form is not None for way in own):
                under_cut = replace(under_cut, connections=1)
            with open_cut({database: under_cut}, [way.source for way in own], limits=self._limits) as cuts:
                for way in own:
                    for key in self._in_use(way, cuts[database], keys):
                        in_use.setdefault(key, way.source.name)
        return Asked(in_use=in_use, began=began, seconds=elapsed() - began)

    def _in_use(self, way: Way, place: Cut | OpenFile, keys: Keys) -> Iterable[str]:
        if way.form is None:
            return self._found_by_a_pass(reading_of(way.source, place))
        assert isinstance(place, Cut)
        in_use: set[str] = set()
        for some in slices(keys):
            raws = raws_of(way.source, self._connection, some)
            # An index narrows to a few rows: no table is made for them.
            for table in read_keys(reading_of_few(narrowed(way.source, way.form, raws, place), place)) if raws else ():
                in_use |= set(map(str, table["key"].filter(pc.is_in(table["key"], value_set=keys)).to_pylist()))
        return in_use

    def _found_by_a_pass(self, reading: Reading | FileReading) -> list[str]:
        with self._streamed(read_keys(reading)) as found:
            self._connection.register("found", found)
            try:
                if not reading.globs:
                    return self._keys(IN_USE)
                self._connection.execute(HOLD).fetchall()
            finally:
                self._connection.unregister("found")
        in_use = self._keys(HELD_IN_USE)
        for template in reading.globs:
            matches, parameters = glob_matches_sql(template, objects="asked", parents="parents")
            in_use += self._keys(matches, parameters)
        self._connection.execute(LET_GO)
        return in_use

    def _keys(self, query: str, parameters: Mapping[str, str] | None = None) -> list[str]:
        return [row[0] for row in self._connection.execute(query, dict(parameters or {})).fetchall()]

    @contextmanager
    def _streamed(self, tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatchReader]:
        """As DuckDB can scan it. What the reading raises comes out as it was raised: DuckDB would only quote it."""
        raised: list[Exception] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for table in tables:
                    yield from table.cast(KEY).to_batches()
            except Exception as error:
                raised.append(error)
                raise

        try:
            yield pa.RecordBatchReader.from_batches(KEY, batches())
        except duckdb.Error as error:
            if raised:
                raise raised[0] from None
            raise Refused(f"asking again: DuckDB cannot go on: {error}") from error


def looks(databases: Sequence[str]) -> list[str]:
    """Which database is looked at when: each once, then all but the last again."""
    names = list(dict.fromkeys(databases))
    return [*names, *names[:-1]]


def recheck_advice(sources: Sequence[ReferenceSettings], cuts: Mapping[str, Cut], *, by: By = "auto") -> Sequence[Way]:
    """For `check`: how each source would be asked again before deletion, and the index that would help, in a cut that is open already.
    A thousand made-up keys are asked for, as many as the planner is asked about before a deletion."""
    keys = pa.chunked_array([pa.array([f"orphan_pipeline/no-such-key-{n}" for n in range(KEYS_EXPLAINED)], pa.string())])
    with duckdb.connect() as connection:
        return [_way(source, cuts[source.database] if source.of_postgres else None, connection, keys, by) for source in sources]


def _way(source: ReferenceSettings, cut: Cut | None, connection: duckdb.DuckDBPyConnection, keys: Keys, by: By) -> Way:
    if cut is None:
        return Way(source=source, form=None, why="it is a file")
    if by == "pass":
        return Way(source=source, form=None, why="recheck_by is pass")
    return way_of(source, cut, connection, keys)
