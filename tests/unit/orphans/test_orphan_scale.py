"""Order over many row groups, and memory that does not grow with the bucket."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
from sweep_files import put_references
from test_orphan_set import write

from orphan_pipeline.duck import duck
from orphan_pipeline.lake.layout import BucketLake

INVENTORY = """
COPY (
    SELECT 'a/' || md5(n::VARCHAR) AS key, n::BIGINT AS size, TIMESTAMPTZ '2026-01-01 00:00:00Z' + to_seconds(n % 1000) AS last_modified,
           'e' AS etag, 'STANDARD' AS storage_class, false AS is_multipart, 'a/' AS prefix,
           NULL::VARCHAR AS version_id, true AS is_latest, false AS is_delete_marker
    FROM range($rows) AS numbers(n)
) TO $file (FORMAT parquet)
"""

FLAT = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import orphan_pipeline.duck as duck_module
from orphan_pipeline.inventory.clock import StoreTime
from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.snapshot import write_inventory
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.snapshot import write_orphan_set
from orphan_pipeline.references.schema import REFERENCES
from sweep_files import NOON, DAY, hold_limits

duck_module.machine_memory = lambda: 2 * int(sys.argv[3])
rows, page = int(sys.argv[2]), 10_000
sweep = BucketLake(Path(sys.argv[1])).sweep("s")


def keys(first, count):
    numbers = pc.utf8_lpad(pa.array(range(first, first + count), pa.int64()).cast(pa.string()), 50, "0")
    return pc.binary_join_element_wise(pa.scalar("a/"), pc.utf8_slice_codeunits(numbers, 44, 46), pa.scalar("/"), numbers, "")


def pages():
    for first in range(0, rows, page):
        values = (1, NOON - 100 * DAY, "e" * 32, "STANDARD")
        same = [pa.repeat(pa.scalar(value, field.type), page) for value, field in zip(values, list(LISTED)[1:])]
        yield pa.RecordBatch.from_arrays([keys(first, page), *same], schema=LISTED)


with sweep.writing("references") as folder, pq.ParquetWriter(folder / "part-00000.parquet", REFERENCES) as writer:
    for first in range(rows // 10, rows, page):
        source = pa.DictionaryArray.from_arrays(pa.array([0] * page, pa.int16()), pa.array(["live"]))
        columns = [keys(first, page), source, pa.array([False] * page), pa.array(["1"] * page)]
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=REFERENCES))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = sweep.stage("inventory")
folder.mkdir()
figures = write_inventory(pages(), started=StoreTime(NOON, NOON), prefixes=[OwnedPrefix(path="a/", split=1)], folder=folder,
                          report=lambda line: None)
with sweep.writing("orphans") as folder:
    orphans = write_orphan_set(sweep, previous=None, restored=[], sweep_at=NOON, cutoff=NOON, limits=hold_limits(), folder=folder)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
planned = sum(amount.objects for amount in orphans.amounts.values())
print(json.dumps([(after - before) * 1024, figures.total.objects, planned, len(figures.prefixes)]))
"""


def test_a_plan_of_many_row_groups_is_in_the_order_of_its_keys(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    sweep.stage("inventory").mkdir(parents=True)
    with duck(tmp_path) as connection:
        connection.execute(INVENTORY, {"rows": 300_000, "file": str(sweep.stage("inventory") / "part-00000.parquet")})
    put_references(sweep, [])
    plan = write(sweep).plans["a/"]
    file = pq.ParquetFile(sweep.stage("orphans") / plan.file)
    table = file.read(["chunk", "key"])
    keys = [str(key) for key in table["key"].to_pylist()]
    assert file.num_row_groups > 2
    assert keys == sorted(keys)
    assert table["chunk"].to_pylist() == [0] * 10 + [1 + n // 1000 for n in range(300_000 - 10)]
    assert plan.chunks == 301


def test_memory_stays_under_the_limit_and_150_mb_at_a_million_objects(tmp_path: Path) -> None:
    limit = 256 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(tmp_path), "1000000", str(limit)],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        text=True,
        timeout=120,
    )
    grown, objects, planned, prefixes = json.loads(done.stdout)
    assert (objects, planned, prefixes) == (1_000_000, 100_000, 100)
    assert grown < limit + 150 * 2**20
