"""What a snapshot's keys tell by themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.snapshot import PART, snapshot_references
from orphan_pipeline.references.told import with_keys_told
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import STARTED, Database


@pytest.mark.parametrize(("prefixes", "outside"), [(["a/", "b/"], 2), (["a/"], 1002), (["(all)"], 0)])
def test_distinct_keys_and_keys_outside(
    app: Database, tmp_path: Path, statement: Callable[..., ReferenceSettings], prefixes: list[str], outside: int
) -> None:
    """Each key twice; what variants derive is not counted."""
    app.run("CREATE TABLE keys AS SELECT 'a/' || n AS key FROM generate_series(1, 5000) AS n, generate_series(1, 2)")
    app.run("INSERT INTO keys SELECT 'b/' || n FROM generate_series(1, 1000) AS n", "INSERT INTO keys VALUES ('c/1'), ('a')")
    sources = [
        statement("SELECT key FROM keys", variants=["thumbs/{key}"]),
        statement("SELECT key FROM keys WHERE key = ''", name="empty"),
    ]
    figures = snapshot_references(
        sources=sources,
        databases={"app": DatabaseUnderCut(url=app.url)},
        inventory_started_at=STARTED,
        folder=tmp_path,
        report=lambda line: None,
    )
    [keys, empty] = with_keys_told(figures, [str(tmp_path / PART)], prefixes, spill_under=tmp_path).sources
    assert (keys.references, keys.derived, keys.outside_prefixes) == (11002, 11002, outside)
    assert keys.distinct_keys_about is not None
    assert 0.85 * 6002 < keys.distinct_keys_about < 1.15 * 6002
    assert (empty.references, empty.distinct_keys_about, empty.outside_prefixes) == (0, 0, 0)
