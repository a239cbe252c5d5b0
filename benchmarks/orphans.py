"""The orphan set beside Python sets, Polars and DuckDB's plain ANTI JOIN, on the same two Parquet files: nine in ten objects are
referenced, one key in seven holds an accent or percent-encoding. Every contender is a process of its own, so that time, CPU and peak
memory are its own. `all` is the whole stage, published: holds, lax views, confirmation by the sweep before, plans, digests, manifest."""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders import Ran, python, run

OBJECTS = [int(size) for size in os.environ.get("BENCH_OBJECTS", "1000000,5000000,20000000").split(",")]
PREFIXES = 100
LIMITED = 2**30


KIB = 1024

SETTINGS = """
lake: {lake}
databases:
  app: {{url: {{env: BENCH_DATABASE_URL}}}}
buckets:
  bench:
    bucket: acme-media
    prefixes: [{{path: uploads/, split: 1}}]
    protect: ["**/.keep"]
    references: [{{name: documents, database: app, sql: "SELECT key FROM documents"}}]
    deletion: {{max_deletions: 1000000000}}
"""

FILL = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.inventory.snapshot import Amount, InventoryFigures
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import FIGURES, Lake
from orphan_pipeline.orphans.manifest import DanglingFigures
from orphan_pipeline.references.snapshot import CutFigures, ReferenceFigures, SourceFigures

KEY = '''printf('uploads/%03d/', n % $prefixes) || md5(n::VARCHAR) || '/' ||
    CASE n % 14 WHEN 0 THEN 'r\u00e9sum\u00e9' WHEN 7 THEN 'a%20b+C' ELSE 'original' END || '.jpeg' '''
INVENTORY = f'''COPY (
    SELECT {KEY} AS key, (n % 1000003)::BIGINT AS size, TIMESTAMPTZ '2026-01-01 00:00:00Z' + to_seconds(n % 10000000) AS last_modified,
           md5((n + 7)::VARCHAR) AS etag, 'STANDARD' AS storage_class, false AS is_multipart,
           printf('uploads/%03d/', n % $prefixes) AS prefix, NULL::VARCHAR AS version_id, true AS is_latest, false AS is_delete_marker
    FROM range($objects) AS numbers(n) ORDER BY key
) TO $file (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 61440)'''
REFERENCES = f'''COPY (
    SELECT {KEY} AS key, 'documents' AS source, false AS derived, n::VARCHAR AS row_id
    FROM range($objects) AS numbers(n) WHERE n % 10 <> 3
) TO $file (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)'''

lake, objects, prefixes = Lake(Path(sys.argv[1])).bucket("bench"), int(sys.argv[2]), int(sys.argv[3])
NOW = datetime.now(UTC)
for sweep_id, at in (("first", NOW - timedelta(days=1)), ("second", NOW)):
    sweep = lake.sweep(sweep_id)
    for stage, query in (("inventory", INVENTORY), ("references", REFERENCES)):
        with sweep.writing(stage) as folder, duck(folder, memory_bytes=4 * 2**30) as connection:
            file = folder / "part-00000.parquet"
            if sweep_id == "first":
                connection.execute(query, {"objects": objects, "prefixes": prefixes, "file": str(file)})
            else:
                file.hardlink_to(lake.sweep("first").stage(stage) / file.name)
            if stage == "inventory":
                found = rows(connection, "SELECT prefix, count(*), sum(size)::BIGINT FROM read_parquet($file) GROUP BY ALL",
                             {"file": str(file)})
                amounts = {prefix: Amount(count, size) for prefix, count, size in found}
                total = Amount(objects, sum(amount.bytes for amount in amounts.values()))
                figures = InventoryFigures(started_at=at, store_clock=at, host_clock=at, seconds=1, total=total, unowned=Amount(0, 0),
                                           prefixes=amounts, storage_classes={"STANDARD": total})
            else:
                [(count,)] = rows(connection, "SELECT count(*) FROM read_parquet($file)", {"file": str(file)})
                later = at + timedelta(seconds=1)
                cut = CutFigures(database="app", snapshot_at=later, host_snapshot_at=later, system_identifier="1", snapshot="s",
                                 lsn="0/0", server_version="18")
                source = SourceFigures(name="documents", database="app", rows=count, references=count, derived=0, without_key=0, seconds=1)
                figures = ReferenceFigures(inventory_started_at=at, snapshot_at=later, cuts=(cut,), sources=(source,))
            write_document(folder / FIGURES, type(figures), figures)
    with sweep.writing("dangling") as folder:
        write_document(folder / FIGURES, DanglingFigures, DanglingFigures(sources={}))
"""
PUBLISH = """
import sys
from pathlib import Path
from orphan_pipeline.lake.layout import Lake
from orphan_pipeline.orphans.binding import inventory_binding, references_binding, write_made_by
from orphan_pipeline.orphans.publish import publish_sweep
from orphan_pipeline.settings.load import load_settings
settings = load_settings(Path(sys.argv[1]))
lake = Lake(settings.lake).bucket("bench")
for sweep_id in sys.argv[3:]:
    lake.sweep(sweep_id).manifest.unlink(missing_ok=True)
    write_made_by(lake.sweep(sweep_id).stage("inventory"), inventory_binding(settings.buckets["bench"]))
    write_made_by(lake.sweep(sweep_id).stage("references"), references_binding(settings.buckets["bench"], settings.databases))
    manifest = publish_sweep(lake.sweep(sweep_id), name="bench", lake=lake, settings=settings.buckets["bench"],
                             databases=settings.databases, reports=(), report=lambda line: None, memory_bytes=int(sys.argv[2]) or None)
print(manifest.orphans.objects)
"""
BARE = """
import sys
from pathlib import Path
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.lake.layout import Lake
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.views import view_inventory, view_references
sweep = Lake(Path(sys.argv[1])).bucket("bench").sweep("second")
with duck(sweep.root, memory_bytes=int(sys.argv[2]) or None) as connection:
    place = view_inventory(connection, sweep)
    view_references(connection, sweep)
    connection.execute(queries.UNREFERENCED.format(place=place))
    connection.execute(f"CREATE TEMP TABLE keys AS SELECT key FROM inventory SEMI JOIN unreferenced USING ({place})")
    print(rows(connection, "SELECT count(*) FROM keys")[0][0])
"""
SETS = """
import sys
import pyarrow.parquet as pq
def keys(file):
    for batch in pq.ParquetFile(file).iter_batches(columns=["key"]):
        yield from batch["key"].to_pylist()
print(len(set(keys(sys.argv[1])) - set(keys(sys.argv[2]))))
"""
POLARS = """
import sys
import polars as pl
found = pl.scan_parquet(sys.argv[1]).select("key").join(pl.scan_parquet(sys.argv[2]).select("key"), on="key", how="anti")
print(found.collect(engine="streaming").height)
"""
PLAIN = """
import sys, duckdb
with duckdb.connect() as connection:
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET temp_directory = $spill", {"spill": sys.argv[3] + ".spill"})
    connection.execute("COPY (SELECT * FROM read_parquet($i) AS i ANTI JOIN read_parquet($r) AS r USING (key)) "
                       "TO $o (FORMAT parquet, COMPRESSION zstd)",
                       {"i": sys.argv[1], "r": sys.argv[2], "o": sys.argv[3]})
    print(connection.execute("SELECT count(*) FROM read_parquet($o)", {"o": sys.argv[3]}).fetchall()[0][0])
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """`peak_mb`: the largest resident size of the process. `orphans` is 0 where the contender counts none."""

    orphans: int
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


def measure() -> str:
    """JSON: every contender at every size, our ratios, and our growth from the smallest to the largest."""
    at = {objects: _at(objects) for objects in OBJECTS}
    first, last = min(OBJECTS), max(OBJECTS)
    growth = (at[last]["all"].cpu_seconds / last) / (at[first]["all"].cpu_seconds / first)
    return json.dumps(
        {
            "benchmark": "orphans",
            "references": "0.9 x objects",
            "at": {
                objects: {**{name: asdict(one) for name, one in found.items()}, "ratios": _ratios(found)} for objects, found in at.items()
            },
            "cpu_per_million_growth": round(growth, 2),
        },
        indent=2,
    )


def _at(objects: int) -> dict[str, Measured]:
    with tempfile.TemporaryDirectory(prefix="orphan_pipeline-bench-") as name:
        folder = Path(name)
        lake, settings = folder / "lake", folder / "orphan_pipeline.yaml"
        settings.write_text(SETTINGS.format(lake=lake), encoding="utf-8")
        _python(FILL, str(lake), str(objects), str(PREFIXES))
        sweep = lake / "bench" / "sweeps" / "second"
        inventory, references = (str(sweep / stage / "part-00000.parquet") for stage in ("inventory", "references"))
        _python(PUBLISH, str(settings), "0", "first")
        return {
            "bare": _python(BARE, str(lake), "0"),
            "bare_1_gib": _python(BARE, str(lake), str(LIMITED)),
            "all": _python(PUBLISH, str(settings), "0", "second"),
            "all_1_gib": _python(PUBLISH, str(settings), str(LIMITED), "second"),
            "duckdb_anti_join": _python(PLAIN, inventory, references, str(folder / "out.parquet")),
            "python_sets": _python(SETS, inventory, references),
            **({"polars": _python(POLARS, inventory, references)} if find_spec("polars") else {}),
            "why": _why(settings, f"uploads/003/{'0' * 32}/original.jpeg"),
        }


def _why(settings: Path, key: str) -> Measured:
    """The whole command, for a key that nothing names: every lookup runs to its end."""
    return _measured(run([str(Path(sys.executable).with_name("orphan-pipeline")), "why", key, "--settings", str(settings), "--json"]))


def _ratios(found: dict[str, Measured]) -> dict[str, float]:
    bare, whole = found["bare"], found["all"]
    return {
        "sets_over_bare_wall": round(found["python_sets"].wall_seconds / bare.wall_seconds, 2),
        "sets_over_bare_cpu": round(found["python_sets"].cpu_seconds / bare.cpu_seconds, 2),
        "bare_over_sets_peak": round(bare.peak_mb / found["python_sets"].peak_mb, 2),
        "all_over_anti_join_wall": round(whole.wall_seconds / found["duckdb_anti_join"].wall_seconds, 2),
        "all_over_anti_join_cpu": round(whole.cpu_seconds / found["duckdb_anti_join"].cpu_seconds, 2),
        "peak_over_1_gib_mb": round(found["all_1_gib"].peak_mb - LIMITED / KIB / KIB),
    }


def _python(text: str, *arguments: str) -> Measured:
    return _measured(python(text, *arguments))


def _measured(ran: Ran) -> Measured:
    text = ran.text.strip()
    return Measured(int(text) if text.isdigit() else 0, round(ran.seconds, 2), round(ran.cpu_seconds, 2), round(ran.peak_mb))
