"""The asset `referenced_keys`: what the databases point at. How it is read is in orphan_pipeline.references."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from orphan_pipeline.assets.names import LAKE, Names, database_resource_name, source_key
from orphan_pipeline.assets.shell import bucket_lake, one_line_failures, sweep_id_of, table_metadata
from orphan_pipeline.inventory.snapshot import InventoryFigures
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import FIGURES
from orphan_pipeline.orphans.binding import references_binding, write_made_by
from orphan_pipeline.orphans.manifest import latest_manifest
from orphan_pipeline.references.identity import full_identifier
from orphan_pipeline.references.incremental import Previous
from orphan_pipeline.references.schema import REFERENCES
from orphan_pipeline.references.snapshot import PART, ReferenceFigures, SourceFigures, snapshot_references
from orphan_pipeline.references.told import with_keys_told
from orphan_pipeline.resources.databases import DatabaseResource
from orphan_pipeline.settings.model import Settings


def referenced_keys(name: str, whole: Settings) -> dg.AssetsDefinition:
    names = Names(name)
    settings = whole.buckets[name]
    databases = sorted({reference.database for reference in settings.references if reference.of_postgres})

    @dg.asset(
        key=names.asset("referenced_keys"),
        deps=[names.asset("inventory_snapshot"), *dict.fromkeys(source_key(r) for r in settings.references)],
        required_resource_keys={LAKE, *(database_resource_name(database) for database in databases)},
        description="Every key that a database row points at, one row a reference, all sources of a database in one snapshot. "
        "Read after the inventory, so that a file uploaded in between is seen as referenced; complete, or the sweep fails.",
        group_name=names.identifier,
        owners=settings.owners,
        kinds={"postgres", "parquet"},
    )
    def referenced_keys(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        lake = bucket_lake(context, name)
        sweep = lake.sweep(sweep_id_of(context.run))
        resources: dict[str, DatabaseResource] = {
            database: getattr(context.resources, database_resource_name(database)) for database in databases
        }
        with one_line_failures():
            inventory = sweep.figures("inventory", InventoryFigures)
            last = latest_manifest(lake)
            with sweep.writing("references") as folder:
                figures = snapshot_references(
                    sources=settings.references,
                    databases={database: resource.under_cut() for database, resource in resources.items()},
                    inventory_started_at=inventory.started_at,
                    folder=folder,
                    report=context.log.info,
                    previous=None
                    if last is None
                    else Previous(files=lake.sweep(last.sweep_id).parquet("references"), figures=last.references),
                )
                figures = with_keys_told(figures, [str(folder / PART)], [prefix.path for prefix in settings.prefixes], spill_under=folder)
                write_document(folder / FIGURES, ReferenceFigures, figures)
                write_made_by(folder, references_binding(settings, whole.databases))
        before = {} if last is None else {source.name: source for source in last.references.sources}
        for source in figures.sources:
            context.log.info(_line(source, before.get(source.name)))
        return dg.MaterializeResult(
            metadata={
                **table_metadata(
                    sweep.parquet("references"),
                    REFERENCES,
                    folder=str(sweep.stage("references")),
                    rows=sum(source.references + source.derived for source in figures.sources),
                ),
                "sweep": sweep.sweep_id,
                "snapshot_at": dg.MetadataValue.timestamp(figures.snapshot_at),
                "references": sum(source.references for source in figures.sources),
                "rows_read": sum(source.rows for source in figures.sources),
                "received_bytes": sum(source.received for source in figures.sources),
                "seconds": round(sum(source.seconds for source in figures.sources), 3),
                "full_read": figures.full,
                **{f"references_{source.name}": source.references for source in figures.sources},
                "by_database": dg.MetadataValue.table(
                    [
                        dg.TableRecord(
                            {
                                "database": cut.database,
                                "snapshot_at": cut.snapshot_at.isoformat(timespec="seconds"),
                                "snapshot": cut.snapshot,
                                "lsn": cut.lsn,
                                "system_identifier": full_identifier(cut),
                                "timeline": "" if cut.timeline is None else str(cut.timeline),
                                "server_version": cut.server_version,
                                "from_replica": cut.from_replica,
                            }
                        )
                        for cut in figures.cuts
                    ],
                    schema=dg.TableSchema(
                        [
                            *(dg.TableColumn(name) for name in ("database", "snapshot_at", "snapshot", "lsn")),
                            *(dg.TableColumn(name) for name in ("system_identifier", "timeline", "server_version")),
                            dg.TableColumn("from_replica", "bool"),
                        ]
                    ),
                ),
                "by_source": _by_source(figures.sources, before),
            }
        )

    return referenced_keys


def _line(source: SourceFigures, before: SourceFigures | None) -> str:
    known = "" if before is None else f", {source.references - before.references:+,} since the last sweep"
    outside = f", {source.outside_prefixes:,} of them outside the declared prefixes" if source.outside_prefixes else ""
    return f"references: {source.name}: {source.references:,} keys of {source.rows:,} rows{known}{outside}"


def _by_source(sources: Sequence[SourceFigures], before: Mapping[str, SourceFigures]) -> dg.MetadataValue[Any]:
    records = [
        dg.TableRecord(
            {
                "source": source.name,
                "database": source.database,
                "references": source.references,
                "since_last_sweep": source.references - before[source.name].references if source.name in before else None,
                "distinct_keys_about": source.distinct_keys_about,
                "outside_prefixes": source.outside_prefixes,
                "derived": source.derived,
                "without_key": source.without_key,
                "foreign": source.foreign,
                "rows": source.rows,
                "full_read": source.full,
                "received_bytes": source.received,
                "seconds": round(source.seconds, 3),
            }
        )
        for source in sources
    ]
    types = {"source": "string", "database": "string", "full_read": "bool", "seconds": "float"}
    columns = ["source", "database", "references", "since_last_sweep", "distinct_keys_about", "outside_prefixes", "derived", "without_key"]
    columns += ["foreign", "rows", "full_read", "received_bytes", "seconds"]
    schema = dg.TableSchema([dg.TableColumn(name, types.get(name, "int")) for name in columns])
    return dg.MetadataValue.table(records, schema=schema)
