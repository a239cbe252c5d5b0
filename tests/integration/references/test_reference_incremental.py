"""A cheaper night on a real PostgreSQL: new rows are put to what the last sweep read, and full reads come when they are due."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.incremental import Previous
from orphan_pipeline.references.snapshot import PART, ReferenceFigures, snapshot_references
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import STARTED, Database

Source = Callable[..., ReferenceSettings]


class Nights:
    """One snapshot after the other, each with the last one before it."""

    def __init__(self, app: Database, folder: Path) -> None:
        self.app, self.folder, self.count = app, folder, 0
        self.previous: Previous | None = None

    def take(self, *sources: ReferenceSettings) -> tuple[ReferenceFigures, list[str]]:
        self.count += 1
        folder = self.folder / str(self.count)
        figures = snapshot_references(
            sources=sources,
            databases={"app": DatabaseUnderCut(url=self.app.url)},
            inventory_started_at=STARTED,
            folder=folder,
            report=lambda line: None,
            previous=self.previous,
        )
        self.previous = Previous(files=[str(folder / PART)], figures=figures)
        rows = pq.read_table(folder / PART).to_pydict()
        return figures, sorted(set(rows["key"]))


@pytest.fixture
def nights(app: Database, tmp_path: Path) -> Nights:
    app.run(
        "CREATE TABLE documents (id int PRIMARY KEY, data jsonb, changed timestamptz DEFAULT clock_timestamp())",
        """INSERT INTO documents VALUES (1, '["a"]'), (2, '["b"]')""",
        "CREATE TABLE covers (id int, data text)",
        "INSERT INTO covers VALUES (1, 'c')",
    )
    return Nights(app, tmp_path)


def test_new_rows_are_put_to_what_was_read(app: Database, nights: Nights, source: Source) -> None:
    one = source("$[*]", incremental={"updated_at": "changed", "overlap": "0s", "full_read_every": 4})
    covers = source(name="covers", table="covers", column="data")
    figures, keys = nights.take(one, covers)
    assert (figures.full, keys) == (True, ["a", "b", "c"])
    app.run(
        """INSERT INTO documents VALUES (3, '["d"]', DEFAULT), (4, '["e"]', NULL), (5, '["old"]', '2020-01-01')""",
        """UPDATE documents SET data = '["a2"]', changed = clock_timestamp() WHERE id = 1""",
        "DELETE FROM documents WHERE id = 2",
    )
    figures, keys = nights.take(one, covers)
    # What is gone stays until the next full read; what was stamped long ago waits for it.
    assert (figures.full, keys) == (False, ["a", "a2", "b", "c", "d", "e"])
    assert [(source.name, source.full, source.sweeps_since_full) for source in figures.sources] == [
        ("documents", False, 1),
        ("covers", True, 0),
    ]
    assert figures.sources[0].references == 5
    for n in (2, 3):
        figures, keys = nights.take(one, covers)
        assert (figures.full, figures.sources[0].sweeps_since_full) == (False, n)
    figures, keys = nights.take(one, covers)
    assert (figures.full, keys) == (True, ["a2", "c", "d", "e", "old"])


def test_rows_are_only_added(app: Database, nights: Nights, source: Source) -> None:
    one = source("$[*]", incremental={"append_only": "id"}, where="id <> 2 -- not this one")
    figures, keys = nights.take(one)
    assert (figures.sources[0].greatest, keys) == ("1", ["a"])
    app.run("""INSERT INTO documents VALUES (10, '["d"]')""")
    figures, keys = nights.take(one)
    assert (figures.full, figures.sources[0].greatest, figures.sources[0].rows, keys) == (False, "10", 2, ["a", "d"])


def test_what_was_declared_otherwise_is_read_in_full(nights: Nights, source: Source) -> None:
    one = source("$[*]", incremental={"append_only": "id"})
    nights.take(one)
    assert not nights.take(one)[0].full
    assert nights.take(source("$[*]", incremental={"append_only": "id"}, key={"prepend": "uploads/"}))[0].full
    assert nights.take(source("$[*]", incremental={"append_only": "id", "full_read_every": 1}))[0].full
    assert nights.take(source("$[*]", incremental={"append_only": "id", "full_read_every": 1}))[0].full
