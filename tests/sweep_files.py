"""Snapshots written by hand, so that a test of the orphan stage needs neither a store nor a database."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from slow_engine import Stored

from orphan_pipeline.inventory.clock import StoreTime
from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.inventory.prefixes import OWN_PREFIX, OwnedPrefix
from orphan_pipeline.inventory.snapshot import INVENTORY, InventoryFigures, write_inventory
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import FIGURES, BucketLake, SweepFolder
from orphan_pipeline.orphans.acceptance import gates_of
from orphan_pipeline.orphans.approvals import approve
from orphan_pipeline.orphans.binding import inventory_binding, references_binding, write_made_by
from orphan_pipeline.orphans.dangling import write_dangling
from orphan_pipeline.orphans.manifest import DanglingFigures, Manifest
from orphan_pipeline.orphans.pauses import with_what_is_missed
from orphan_pipeline.orphans.publish import publish_sweep
from orphan_pipeline.orphans.snapshot import HoldLimits
from orphan_pipeline.references.schema import REFERENCES
from orphan_pipeline.references.snapshot import CutFigures, ReferenceFigures, SourceFigures
from orphan_pipeline.settings.model import BucketSettings, DatabaseSettings

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DATABASES = {"app": DatabaseSettings.model_validate({"url": {"env": "APP_DATABASE_URL"}})}


def hold_limits(**changed: Any) -> HoldLimits:
    """Nothing holds anything, but for what is named."""
    free: dict[str, Any] = {
        "min_age": timedelta(),
        "multipart_grace": timedelta(),
        "confirmations": 1,
        "confirmation_gap": timedelta(),
        "max_deletions": 10**9,
        "protect": (),
        "own_prefixes": (OWN_PREFIX,),
    }
    return HoldLimits(**{**free, **changed})


def bucket_settings(**changed: Any) -> BucketSettings:
    document: dict[str, Any] = {
        "bucket": "acme-media",
        "prefixes": ["a/", "b/"],
        "references": [{"name": "documents", "database": "app", "sql": "SELECT key FROM documents"}],
        "safety": {"confirmations": 1, "max_orphan_fraction": 0.5},
    }
    return BucketSettings.model_validate({**document, **changed})


def put_inventory(sweep: SweepFolder, objects: Iterable[Stored]) -> None:
    same = {"storage_class": "STANDARD", "version_id": None, "is_latest": True, "is_delete_marker": False}
    columns = {name: [getattr(stored, name, same.get(name)) for stored in objects] for name in INVENTORY.names}
    _write(sweep.stage("inventory"), pa.table(columns, schema=INVENTORY))


def put_references(sweep: SweepFolder, references: Sequence[tuple[str, str, bool]]) -> None:
    """Rows of key, source, derived."""
    keys, sources, derived = ([row[n] for row in references] for n in range(3))
    columns = {"key": keys, "source": sources, "derived": derived, "row_id": [str(n) for n, _ in enumerate(references)]}
    _write(sweep.stage("references"), pa.table(columns, schema=REFERENCES))


def publish(
    lake: BucketLake,
    sweep_id: str,
    *,
    orphans: Sequence[str] = (),
    referenced: Sequence[str] = ("a/kept", "b/kept"),
    gone: Sequence[str] = (),
    started_at: datetime | None = None,
    settings: BucketSettings | None = None,
    read_by: BucketSettings | None = None,
    sources: Sequence[str] = ("documents",),
    databases: dict[str, DatabaseSettings] = DATABASES,
    baseline: bool = True,
    last_modified: datetime = NOON - 100 * DAY,
    inventory: bool = True,
    derived: bool = False,
    globs: Sequence[str] = (),
    system_identifier: str = "1",
) -> Manifest:
    """A whole sweep of a bucket that holds `orphans` and `referenced`, whose databases name `referenced` and `gone`. Where no sweep was
    accepted before, it is approved as the `baseline`, as an operator would, and nothing else about it. Without `inventory` the
    sweep has one already. With `derived`, `gone` are keys that were made by a template; `globs` are
    templates of every source; `system_identifier` is of the database; `read_by` are the settings by which references were read, where they
    are others."""
    at = started_at or datetime.now(UTC)
    settings = settings or bucket_settings()
    sweep = lake.sweep(sweep_id)
    if inventory:
        take_inventory(sweep, [listed([*orphans, *referenced], last_modified=last_modified)], at=at, settings=settings)
    rows = [(key, source, derived and key in gone) for key in [*referenced, *gone] for source in sources]
    put_references(sweep, rows)
    count = len(referenced) + len(gone)
    distinct = len({key for key, _, is_derived in rows if not is_derived})
    write_document(
        sweep.stage("references") / FIGURES,
        ReferenceFigures,
        _reference_figures(at + timedelta(seconds=1), count, distinct, sources, globs, system_identifier),
    )
    write_made_by(sweep.stage("references"), references_binding(read_by or settings, databases))
    with sweep.writing("dangling") as folder:
        dangling = with_what_is_missed(lake, sweep, write_dangling(sweep, folder), at=at, undo_window=settings.deletion.undo_window)
        write_document(folder / FIGURES, DanglingFigures, dangling)
    made = publish_sweep(sweep, name="media", lake=lake, settings=settings, databases=databases, reports=(), report=lambda line: None)
    closed = [gate for gate in gates_of(lake, made, settings) if gate.name == "baseline" and not gate.passed]
    if baseline and closed:
        approve(lake, made.digest, closed, by="operator", at=at)
    return made


def take_inventory(
    sweep: SweepFolder, pages: Iterable[pa.RecordBatch], *, at: datetime = NOON, settings: BucketSettings | None = None
) -> None:
    """The first stage of a sweep, of objects as a lister would give them."""
    with sweep.writing("inventory") as folder:
        figures = write_inventory(
            pages,
            started=StoreTime(store=at, host=at),
            prefixes=[OwnedPrefix(path=prefix.path, split=prefix.split) for prefix in (settings or bucket_settings()).prefixes],
            folder=folder,
            report=lambda line: None,
        )
        write_document(folder / FIGURES, InventoryFigures, figures)
        write_made_by(folder, inventory_binding(settings or bucket_settings()))


def listed(keys: Sequence[str], *, last_modified: datetime) -> pa.RecordBatch:
    rows = [{"key": key, "size": 10, "last_modified": last_modified, "etag": "e", "storage_class": "STANDARD"} for key in keys]
    return pa.RecordBatch.from_pylist(rows, schema=LISTED)


def _reference_figures(
    at: datetime, count: int, distinct: int, sources: Sequence[str], globs: Sequence[str], system_identifier: str
) -> ReferenceFigures:
    cut = CutFigures(
        database="app",
        snapshot_at=at,
        host_snapshot_at=at,
        system_identifier=system_identifier,
        snapshot="s",
        lsn="0/0",
        server_version="18",
    )
    return ReferenceFigures(
        inventory_started_at=at,
        snapshot_at=at,
        cuts=(cut,),
        sources=tuple(
            SourceFigures(
                name=name,
                database="app",
                rows=count,
                references=count,
                derived=0,
                without_key=0,
                seconds=0.1,
                globs=tuple(globs),
                distinct_keys_about=distinct,
            )
            for name in sources
        ),
    )


def _write(folder: Path, table: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "part-00000.parquet")
