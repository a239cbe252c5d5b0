"""What the materialization of `orphan_set` tells: counts and bytes by class and prefix, what the orphans cost, and two pictures that carry
their own data."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from orphan_pipeline.assets.shell import amounts_metadata
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.orphans.cost import cost_of
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.pictures.ages import age_picture
from orphan_pipeline.pictures.svg import amount_text
from orphan_pipeline.pictures.treemap import parts_of, treemap

MOST_PREFIXES = 100
"""Of a table in the metadata: all of them stand in the manifest."""


def orphan_figures(manifest: Manifest, prices: Mapping[str, float]) -> dict[str, dg.MetadataValue[Any] | str | int | float]:
    """`prices` in USD a GB and month, by storage class."""
    cost = cost_of(manifest.storage_classes, prices)
    return {
        **_pictures(manifest),
        "sweep": manifest.sweep_id,
        "digest": manifest.digest,
        **({"flags": "; ".join(manifest.flags)} if manifest.flags else {}),
        "cutoff": dg.MetadataValue.timestamp(manifest.cutoff),
        "expires_at": dg.MetadataValue.timestamp(manifest.expires_at),
        "confirms": manifest.confirms or "(no accepted sweep)",
        "orphans": manifest.orphans.objects,
        "orphan_bytes": manifest.orphans.bytes,
        "orphans_usd_a_month": round(cost.usd_a_month, 2),
        **({"without_a_price": ", ".join(cost.unpriced)} if cost.unpriced else {}),
        "deletable": manifest.deletable.objects,
        "deletable_bytes": manifest.deletable.bytes,
        "unowned": manifest.unowned.objects,
        "holds": amounts_metadata(manifest.holds, first="hold"),
        "by_prefix": _by_prefix(manifest),
        "by_storage_class": amounts_metadata(manifest.storage_classes, first="storage_class"),
    }


def _by_prefix(manifest: Manifest) -> dg.MetadataValue[Any]:
    """Objects by class, the prefixes with the most orphaned bytes first."""
    reasons = list(manifest.holds)
    ordered = sorted(manifest.prefixes.items(), key=lambda one: one[1].orphans.bytes, reverse=True)[:MOST_PREFIXES]
    rows: list[dict[str, str | int]] = [
        {
            "prefix": prefix,
            "objects": figures.inventory.objects,
            "orphans": figures.orphans.objects,
            "orphan_bytes": figures.orphans.bytes,
            **{reason: figures.holds[reason].objects if reason in figures.holds else 0 for reason in reasons},
            "deletable": figures.deletable.objects,
            "deletable_bytes": figures.deletable.bytes,
        }
        for prefix, figures in ordered
    ]
    columns = ["objects", "orphans", "orphan_bytes", *reasons, "deletable", "deletable_bytes"]
    schema = dg.TableSchema([dg.TableColumn("prefix", "string"), *(dg.TableColumn(column, "int") for column in columns)])
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema=schema)


def _pictures(manifest: Manifest) -> dict[str, dg.MetadataValue[Any]]:
    """Protected orphans can never be reclaimed; all others some day."""
    nothing = Amount(0, 0)
    reclaimable = {
        prefix: (figures.orphans.bytes - figures.holds.get("protected", nothing).bytes, figures.inventory.bytes)
        for prefix, figures in manifest.prefixes.items()
    }
    whole = amount_text(sum(size for size, _ in reclaimable.values()))
    where = treemap(f"Reclaimable, by prefix: {whole} in {manifest.bucket}", parts_of(reclaimable))
    ages = age_picture(f"Orphans of {manifest.bucket}, by age", manifest.ages)
    return {"reclaimable_by_prefix": dg.MetadataValue.md(where.markdown()), "orphans_by_age": dg.MetadataValue.md(ages.markdown())}
