"""Takes the inventory of a live bucket: the store's time first, then the list, then the snapshot. What the last inventory taught about the
bucket (where to cut it evenly, whether the store lists in order, how much to expect) makes this one faster and changes nothing in it."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from orphan_pipeline.inventory.asking import Asker
from orphan_pipeline.inventory.lister import Lister, OutOfOrder
from orphan_pipeline.inventory.listing import store_time
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.snapshot import InventoryFigures, write_inventory

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DIRECTORY_BUCKET = "--x-s3"
"""S3's directory buckets list in no order and know no StartAfter; their names end like this (S3 user guide, directory bucket names)."""


def take_inventory(
    client: "S3Client",
    bucket: str,
    *,
    concurrency: int,
    prefixes: Sequence[OwnedPrefix],
    last: InventoryFigures | None,
    folder: Path,
    report: Callable[[str], None],
) -> InventoryFigures:
    """Writes the snapshot into `folder`. Raises Refused when the list cannot be had whole; boto3's errors rise where it cannot be begun."""
    started = store_time(client, bucket)
    with closing(Asker(client, bucket, connections=concurrency)) as asker:

        def listed(*, in_order: bool) -> InventoryFigures:
            cuts = last.cuts if last is not None else ()
            return write_inventory(
                Lister(asker, bucket, concurrency=concurrency, in_order=in_order, cuts=cuts),
                started=started,
                prefixes=prefixes,
                expected=last.total.objects if last is not None else None,
                folder=folder,
                report=report,
            )

        try:
            return listed(in_order=not bucket.endswith(DIRECTORY_BUCKET) and (last is None or last.listing.in_order))
        except OutOfOrder as error:
            report(f"inventory: {error}; listing again, cut by folders only")
            return listed(in_order=False)
