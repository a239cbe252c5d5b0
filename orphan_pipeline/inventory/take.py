"""Takes the inventory of a bucket, from the live list or from a report: the store's time first, then the objects, then the snapshot. What
the last inventory taught about the bucket (where to cut it evenly, whether the store lists in order, how much to expect) makes this one
faster and changes nothing in it."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from botocore.utils import is_s3express_bucket

from orphan_pipeline.errors import Refused
from orphan_pipeline.flat_memory import flat_memory
from orphan_pipeline.inventory.clock import StoreTime, store_time
from orphan_pipeline.inventory.listing.asking import Asker
from orphan_pipeline.inventory.listing.chain import LeftOut, OutOfOrder
from orphan_pipeline.inventory.listing.lister import Lister
from orphan_pipeline.inventory.listing.page import Kind
from orphan_pipeline.inventory.prefixes import WHOLE_BUCKET, OwnedPrefix
from orphan_pipeline.inventory.repeated import OF_A_REPORT, repeated_key
from orphan_pipeline.inventory.reports.report import read_report
from orphan_pipeline.inventory.snapshot import PART, InventoryFigures, write_inventory
from orphan_pipeline.settings.model import InventorySettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def take_inventory(
    client: "S3Client",
    bucket: str,
    settings: InventorySettings,
    *,
    prefixes: Sequence[OwnedPrefix],
    last: InventoryFigures | None,
    folder: Path,
    report: Callable[[str], None],
) -> InventoryFigures:
    """Writes the snapshot into `folder`. Raises Refused when the objects cannot be had whole; boto3's errors rise where it cannot begin."""
    with flat_memory("one heap"):
        started = store_time(client, bucket)
        expected = last.rows if last is not None else None
        write = partial(write_inventory, started=started, prefixes=prefixes, folder=folder, report=report, expected=expected)
        if settings.source == "s3_inventory":
            return _reported(client, bucket, settings, started=started, folder=folder, report=report, write=write)
        return _listed(client, bucket, settings, started=started, prefixes=prefixes, last=last, folder=folder, report=report, write=write)


def _listed(
    client: "S3Client",
    bucket: str,
    settings: InventorySettings,
    *,
    started: StoreTime,
    prefixes: Sequence[OwnedPrefix],
    last: InventoryFigures | None,
    folder: Path,
    report: Callable[[str], None],
    write: Callable[..., InventoryFigures],
) -> InventoryFigures:
    # Directory buckets list in no order and know no StartAfter.
    in_order = not is_s3express_bucket(bucket) and (last is None or last.listing is None or last.listing.in_order)
    declared = [prefix.path for prefix in prefixes if prefix.path != WHOLE_BUCKET]
    began = monotonic()
    askers: list[Asker] = []

    def listed(*, in_order: bool) -> InventoryFigures:
        cuts = last.cuts if last is not None else ()
        # The lister is closed whatever ends the writing: its workers would wait for ever for somebody to take their pages.
        kind = Kind.VERSIONS if settings.versions else Kind.OBJECTS
        with closing(Asker(client, bucket, connections=settings.concurrency, kind=kind)) as asker:
            askers.append(asker)
            lister = Lister(
                asker,
                bucket,
                concurrency=settings.concurrency,
                in_order=in_order,
                cuts=cuts,
                declared=declared,
                versions=settings.versions,
                started=started.store,
            )
            with closing(lister.batches()) as batches:
                figures = write(batches, detail=lister.detail)
            listing = lister.figures()
        if sum(piece.objects for piece in listing.pieces) != figures.rows:
            raise Refused(f"bucket {bucket}: {figures.rows:,} objects were written, and the ranges count otherwise")
        if lister.may_repeat() and (key := repeated_key(folder / PART, versions=settings.versions)) is not None:
            again = OutOfOrder if in_order else Refused
            raise again(f"bucket {bucket}: the list of {lister.range_of(key)} names {key!r} twice")
        # Where this is the second listing, the first has cost something too.
        requests, retried = sum(asker.requests for asker in askers), sum(asker.retried for asker in askers)
        return replace(figures, seconds=monotonic() - began, listing=replace(listing, requests=requests, retried=retried))

    try:
        return listed(in_order=in_order)
    except OutOfOrder as error:
        report(f"inventory: {error}; listing again, cut by folders only")
        figures = listed(in_order=False)
        # What passed must not take cutting by keys from the bucket in all sweeps to come.
        if figures.listing is None or not isinstance(error, LeftOut):
            return figures
        return replace(figures, listing=replace(figures.listing, in_order=True))


def _reported(
    client: "S3Client",
    bucket: str,
    settings: InventorySettings,
    *,
    started: StoreTime,
    folder: Path,
    report: Callable[[str], None],
    write: Callable[..., InventoryFigures],
) -> InventoryFigures:
    assert settings.manifest is not None, "the settings require it for s3_inventory"
    found = read_report(
        client,
        manifest=settings.manifest,
        source_bucket=bucket,
        max_age=settings.max_age,
        now=started.store,
        folder=folder,
        report=report,
        versions=settings.versions,
    )
    with closing(found.batches()) as batches:
        figures = write(batches, detail=found.detail)
    if (key := repeated_key(folder / PART, versions=settings.versions, memory_bytes=OF_A_REPORT)) is not None:
        raise Refused(f"{found.manifest_key}: the report names {key!r} twice, expected each object once: the next report may be right")
    return replace(figures, started_at=found.started_at, report=found.manifest_key)
