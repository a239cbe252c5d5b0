"""The asset `inventory_snapshot`: what is in the bucket. How it is listed and written is in orphan_pipeline.inventory."""

import dagster as dg

from orphan_pipeline.assets.names import LAKE, Names, live_bucket_key
from orphan_pipeline.assets.shell import amounts_metadata, bucket_lake, one_line_failures, sweep_id_of, table_metadata
from orphan_pipeline.deletion.undo.foreseen import undo_foreseen
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.snapshot import INVENTORY, InventoryFigures
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import FIGURES
from orphan_pipeline.orphans.binding import inventory_binding, write_made_by
from orphan_pipeline.orphans.manifest import latest_manifest
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import BucketSettings

USD_A_LIST_REQUEST = 0.005 / 1000
"""AWS's list price of a LIST request to S3 Standard in us-east-1 (S3 pricing page, 2026)."""


def inventory_snapshot(name: str, settings: BucketSettings) -> dg.AssetsDefinition:
    names = Names(name)

    @dg.asset(
        key=names.asset("inventory_snapshot"),
        deps=[live_bucket_key(settings)],
        required_resource_keys={names.bucket_resource, LAKE},
        description=f"Every object of bucket {settings.bucket}, as the store listed it, one row an object, with the prefix that owns it. "
        "The first stage of a sweep; its start bounds which objects count as old.",
        group_name=names.identifier,
        owners=settings.owners,
        kinds={"s3", "parquet"},
    )
    def inventory_snapshot(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        lake = bucket_lake(context, name)
        sweep = lake.sweep(sweep_id_of(context.run))
        resource: BucketResource = getattr(context.resources, names.bucket_resource)
        with one_line_failures():
            last = latest_manifest(lake)
            with sweep.writing("inventory") as folder:
                figures = take_inventory(
                    resource.get_client(),
                    settings.bucket,
                    settings.inventory,
                    prefixes=[OwnedPrefix(path=prefix.path, split=prefix.split) for prefix in settings.prefixes],
                    last=last.inventory if last is not None else None,
                    folder=folder,
                    report=context.log.info,
                )
                write_document(folder / FIGURES, InventoryFigures, figures)
                write_made_by(folder, inventory_binding(settings))
            could_undo, undo = undo_foreseen(resource.get_client(), settings)
        if not could_undo and settings.deletion.mode != "dry_run":
            context.log.warning("undo: %s; deletion will be refused", undo)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(
                    sweep.parquet("inventory"),
                    INVENTORY,
                    folder=str(sweep.stage("inventory")),
                    rows=figures.total.objects,
                ),
                "sweep": sweep.sweep_id,
                "undo": undo,
                "started_at": dg.MetadataValue.timestamp(figures.started_at),
                "bytes": figures.total.bytes,
                "unowned_objects": figures.unowned.objects,
                **_version_metadata(figures, settings),
                "seconds": figures.seconds,
                **_source_metadata(figures),
                "by_prefix": amounts_metadata(figures.prefixes, first="prefix"),
                "by_storage_class": amounts_metadata(figures.storage_classes, first="storage_class"),
            }
        )

    return inventory_snapshot


def _version_metadata(figures: InventoryFigures, settings: BucketSettings) -> dict[str, int]:
    if not settings.inventory.versions:
        return {}
    return {
        "noncurrent_versions": figures.noncurrent.objects,
        "noncurrent_bytes": figures.noncurrent.bytes,
        "delete_markers": figures.delete_markers,
    }


def _source_metadata(figures: InventoryFigures) -> dict[str, str | int | float | bool]:
    listing = figures.listing
    if listing is None:
        return {"source": f"S3 Inventory report {figures.report}"}
    return {
        "source": "listing",
        "requests": listing.requests,
        "requests_retried": listing.retried,
        "requests_usd": round(listing.requests * USD_A_LIST_REQUEST, 6),
        "pages": listing.pages,
        "pages_parsed_slowly": listing.slow_pages,
        "ranges": listing.ranges,
        "listed_in_utf8_order": listing.in_order,
    }
