"""The queries of docs/deletion.md, copied and pasted, over a ledger of real runs."""

import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from deletion_helpers import client_of, deleter_of, execute, put, write_plan

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.lake.layout import Lake

DOCUMENT = Path(__file__).parents[3] / "docs" / "deletion.md"


def test_the_documented_queries_answer(
    seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    lake = Lake(tmp_path / "lake").bucket("media")
    for digest in ("d1", "d2"):
        planned = put(client_of(seaweedfs), bucket, {f"{digest}/{i}": b"12" for i in range(15)})
        (tmp_path / digest).mkdir()
        execute(write_plan(tmp_path / digest / "plan", planned), Ledger(lake.ledger(digest, dry_run=False)), deleter_of(seaweedfs, bucket))
    statements = [part.strip() for block in re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) for part in block.split(";")]
    view, totals, endings = (statement for statement in statements if statement)
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:
        connection.execute(view)
        assert connection.execute("SELECT plan, count(*) FROM ledger GROUP BY ALL ORDER BY ALL").fetchall() == [("d1", 15), ("d2", 15)]
        assert [line[:4] for line in connection.execute(totals).fetchall()] == [("deleted", None, 30, 60)]
        assert [line[2:] for line in connection.execute(endings).fetchall()] == [
            ("completed", "every chunk of the plan has an outcome", 15, 2, 0)
        ] * 2
