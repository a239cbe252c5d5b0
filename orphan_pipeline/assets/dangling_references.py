"""The asset `dangling_references`: references whose object is not there. Reported, never repaired."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import bucket_lake, one_line_failures, sweep_id_of, table_metadata
from orphan_pipeline.gates.history import SWEEPS
from orphan_pipeline.inventory.snapshot import InventoryFigures
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import FIGURES
from orphan_pipeline.orphans.dangling import DANGLING, dangling_sample, write_dangling
from orphan_pipeline.orphans.manifest import DanglingFigures, Manifest, read_manifests, source_matches
from orphan_pipeline.orphans.pauses import refusal_line, standing_pause, with_what_is_missed
from orphan_pipeline.references.snapshot import ReferenceFigures
from orphan_pipeline.settings.model import BucketSettings

SAMPLE_EACH = 5
"""Dangling references shown of each source."""


def dangling_references(name: str, settings: BucketSettings, *, memory_bytes: int | None = None) -> dg.AssetsDefinition:
    names = Names(name)

    @dg.asset(
        key=names.asset("dangling_references"),
        deps=[names.asset("inventory_snapshot"), names.asset("referenced_keys")],
        required_resource_keys={LAKE},
        description="References with no object in the inventory of the same sweep: files that somebody will miss. "
        "Reported, never repaired.",
        group_name=names.identifier,
        owners=settings.owners,
        kinds={"duckdb", "parquet"},
    )
    def dangling_references(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        lake = bucket_lake(context, name)
        sweep = lake.sweep(sweep_id_of(context.run))
        with one_line_failures():
            sweep.figures("inventory", InventoryFigures)  # refuses where a snapshot of this sweep is missing
            references = sweep.figures("references", ReferenceFigures)
            with sweep.writing("dangling") as folder:
                found = write_dangling(sweep, folder, memory_bytes=memory_bytes)
                figures = with_what_is_missed(lake, sweep, found, at=datetime.now(UTC), undo_window=settings.deletion.undo_window)
                write_document(folder / FIGURES, DanglingFigures, figures)
            pause = standing_pause(lake)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(
                    sweep.parquet("dangling"),
                    DANGLING,
                    folder=str(sweep.stage("dangling")),
                    rows=sum(figures.sources.values()),
                ),
                "sweep": sweep.sweep_id,
                "sample": _sample(dangling_sample(sweep, each=SAMPLE_EACH)),
                **_match_rates(references, figures),
                **_trend(figures, read_manifests(lake)),
                "missed": figures.missed,
                **({"paused": refusal_line(pause)} if pause is not None else {}),
            }
        )

    return dangling_references


def _sample(found: list[tuple[str, str]]) -> dg.MetadataValue[Any]:
    rows = [dg.TableRecord({"source": source, "key": key}) for source, key in found]
    return dg.MetadataValue.table(rows, schema=dg.TableSchema([dg.TableColumn("source", "string"), dg.TableColumn("key", "string")]))


def _match_rates(references: ReferenceFigures, dangling: DanglingFigures) -> dict[str, float]:
    """Of each source by rows, and by its different keys where they were counted."""
    rates = {}
    for name, match in source_matches(references, dangling).items():
        rates[f"match_rate_{name}"] = round(match.of_rows, 6)
        if match.of_keys is not None:
            rates[f"match_rate_of_keys_{name}"] = round(match.of_keys, 6)
    return rates


def _trend(figures: DanglingFigures, manifests: list[Manifest]) -> dict[str, dg.MetadataValue[Any] | int]:
    """By source, now and in the sweeps before; as numbers of their own too, since the UI draws those over the sweeps."""
    earlier = manifests[-SWEEPS:]
    rows = [(f"{m.inventory.started_at:%Y-%m-%d %H:%M}", m.dangling.sources) for m in earlier] + [("this sweep", figures.sources)]
    names = sorted({name for _, sources in rows for name in sources})
    return {
        **{f"dangling_{name}": figures.sources.get(name, 0) for name in names},
        "by_source": dg.MetadataValue.table(
            [dg.TableRecord({"sweep": when, **{name: sources.get(name, 0) for name in names}}) for when, sources in reversed(rows)],
            schema=dg.TableSchema([dg.TableColumn("sweep", "string"), *(dg.TableColumn(name, "int") for name in names)]),
        ),
    }
