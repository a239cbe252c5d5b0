"""The asset `dangling_references`: references whose object is not there. Reported, never repaired."""

import dagster as dg

from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import bucket_lake, one_line_failures, sweep_id_of, table_metadata
from orphan_pipeline.inventory.snapshot import InventoryFigures
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import FIGURES
from orphan_pipeline.orphans.dangling import DANGLING, write_dangling
from orphan_pipeline.orphans.manifest import DanglingFigures
from orphan_pipeline.references.snapshot import ReferenceFigures
from orphan_pipeline.settings.model import BucketSettings


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
        sweep = bucket_lake(context, name).sweep(sweep_id_of(context.run))
        with one_line_failures():
            sweep.figures("inventory", InventoryFigures)  # refuses where a snapshot of this sweep is missing
            sweep.figures("references", ReferenceFigures)
            with sweep.writing("dangling") as folder:
                figures = write_dangling(sweep, folder, memory_bytes=memory_bytes)
                write_document(folder / FIGURES, DanglingFigures, figures)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(
                    sweep.parquet("dangling"),
                    DANGLING,
                    folder=str(sweep.stage("dangling")),
                    rows=sum(figures.sources.values()),
                ),
                "sweep": sweep.sweep_id,
                "by_source": dg.MetadataValue.json(figures.sources),
            }
        )

    return dangling_references
