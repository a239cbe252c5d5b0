"""The last stage of a sweep, from two snapshots to a manifest: cutoff, orphan set, plans, digests, and the one atomic write after
which the sweep exists."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orphan_pipeline.deletion.quarantine.place import Quarantine, remembered
from orphan_pipeline.gates.evaluate import evaluate, tripped
from orphan_pipeline.gates.history import History
from orphan_pipeline.inventory.prefixes import OWN_PREFIX
from orphan_pipeline.inventory.reports.manifest import report_folder
from orphan_pipeline.inventory.snapshot import Amount, InventoryFigures
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import BucketLake, SweepFolder
from orphan_pipeline.orphans.acceptance import gate_limits, history_before, last_accepted
from orphan_pipeline.orphans.ages import AgeFigures, measure_ages
from orphan_pipeline.orphans.binding import binding, inventory_binding, references_binding, refuse_unless_made_by
from orphan_pipeline.orphans.cutoff import ClockReading, frozen_cutoff
from orphan_pipeline.orphans.manifest import (
    MANIFEST_VERSION,
    DanglingFigures,
    Manifest,
    PlanEntry,
    PrefixFigures,
    read_manifests,
)
from orphan_pipeline.orphans.plans import plan_digest, sweep_digest
from orphan_pipeline.orphans.snapshot import HoldLimits, OrphanFigures, write_orphan_set
from orphan_pipeline.references.normalise import authorities
from orphan_pipeline.references.snapshot import ReferenceFigures
from orphan_pipeline.settings.model import BucketSettings, DatabaseSettings

NOTHING = Amount(0, 0)


def hold_limits(settings: BucketSettings, reports: Sequence[str], quarantines: Sequence[str] = ()) -> HoldLimits:
    return HoldLimits(
        min_age=settings.safety.min_age,
        multipart_grace=settings.safety.multipart_grace,
        confirmations=settings.safety.confirmations,
        confirmation_gap=settings.safety.confirmation_gap,
        max_deletions=settings.deletion.max_deletions,
        protect=settings.protect,
        own_prefixes=own_prefixes(settings.bucket, reports, quarantines),
        hosts=hosts(settings),
    )


def hosts(settings: BucketSettings) -> list[str]:
    """What may stand before a key in the place of a host, for rule 6: the bucket's name, and the hosts of the bases that `key.strip`
    takes away from references."""
    return sorted({settings.bucket.lower()}.union(*(authorities(source.key) for source in settings.references)))


def own_prefixes(bucket: str, reports: Sequence[str], quarantines: Sequence[str] = ()) -> list[str]:
    """What lies in the bucket for this system's sake: its own objects, every inventory report that any entry of the settings reads from
    there, and the quarantine of any entry, also one that only the lake remembers."""
    copies = [Quarantine.of(location) for location in quarantines]
    folders = [*map(report_folder, reports), *((copy.bucket, copy.prefix) for copy in copies)]
    return [OWN_PREFIX, *(prefix for destination, prefix in folders if destination == bucket)]


def publish_sweep(
    sweep: SweepFolder,
    *,
    name: str,
    lake: BucketLake,
    settings: BucketSettings,
    databases: dict[str, DatabaseSettings],
    reports: Sequence[str],
    quarantines: Sequence[str] = (),
    report: Callable[[str], None],
    memory_bytes: int | None = None,
) -> Manifest:
    """Writes the orphan set and then the manifest. Raises Refused when a snapshot is missing or was made by other settings than these, or
    when clocks disagree."""
    inventory = sweep.figures("inventory", InventoryFigures)
    references = sweep.figures("references", ReferenceFigures)
    dangling = sweep.figures("dangling", DanglingFigures)
    refuse_unless_made_by(sweep, "inventory", inventory_binding(settings))
    refuse_unless_made_by(sweep, "references", references_binding(settings, databases))
    cutoff = _cutoff(inventory, references, settings)
    earlier = read_manifests(lake)
    store = (settings.bucket, settings.endpoint)
    previous = last_accepted(lake, gate_limits(settings), before=inventory.started_at, store=store, manifests=earlier)
    report(f"orphans: cutoff {cutoff:%Y-%m-%d %H:%M:%S} UTC, confirming sweep {previous.sweep_id if previous else '(none)'}")
    with sweep.writing("orphans") as folder:
        figures = write_orphan_set(
            sweep,
            previous=lake.sweep(previous.sweep_id) if previous else None,
            restored=lake.restored_parquet(),
            released=lake.released_parquet(),
            sweep_at=inventory.started_at,
            cutoff=cutoff,
            limits=hold_limits(settings, reports, [*quarantines, *remembered(lake)]),
            folder=folder,
            globs={source.name: source.globs for source in references.sources if source.globs},
            memory_bytes=memory_bytes,
            list_unowned=settings.list_unowned,
        )
        ages = measure_ages(
            sweep, folder, prefixes=list(inventory.prefixes), cutoff=cutoff, sweep_at=inventory.started_at, memory_bytes=memory_bytes
        )
    manifest = _manifest(
        sweep_id=sweep.sweep_id,
        name=name,
        inventory=inventory,
        references=references,
        dangling=dangling,
        figures=figures,
        ages=ages,
        cutoff=cutoff,
        confirms=previous.sweep_id if previous else None,
        published_at=datetime.now(UTC),
        settings=settings,
        bound=binding(settings, databases),
    )
    manifest = _judged(manifest, settings, history_before(lake, manifest, earlier))
    write_document(sweep.manifest, Manifest, manifest)
    return manifest


def _cutoff(inventory: InventoryFigures, references: ReferenceFigures, settings: BucketSettings) -> datetime:
    """A report's scan began long before anything was read here: then that bounds the age, and the clocks are compared all the same."""
    by_the_clocks = frozen_cutoff(
        ClockReading("the store", inventory.store_clock, inventory.host_clock),
        [ClockReading(f"database {cut.database}", cut.snapshot_at, cut.host_snapshot_at) for cut in references.cuts],
        settings.safety.min_age,
    )
    # What happened after a file source was written is not in it: an object of that time may be in use.
    bounds = [inventory.started_at, *(file.written_at for file in references.files)]
    return min(by_the_clocks, min(bounds) - settings.safety.min_age)


def _manifest(
    *,
    sweep_id: str,
    name: str,
    inventory: InventoryFigures,
    references: ReferenceFigures,
    dangling: DanglingFigures,
    figures: OrphanFigures,
    ages: AgeFigures,
    cutoff: datetime,
    confirms: str | None,
    published_at: datetime,
    settings: BucketSettings,
    bound: dict[str, Any],
) -> Manifest:
    # Not from the publication: that may be the retry of a run whose references were read long ago.
    expires_at = references.snapshot_at + settings.safety.plan_expiry
    plans = {
        prefix: PlanEntry(
            prefix=prefix,
            digest=plan_digest(
                bound=bound,
                sweep_id=sweep_id,
                cutoff=cutoff,
                expires_at=expires_at,
                prefix=prefix,
                chunks=plan.chunks,
                sha256=plan.sha256,
            ),
            file=str(Path("orphans") / plan.file),
            sha256=plan.sha256,
            chunks=plan.chunks,
            amount=figures.amounts[prefix, None],
        )
        for prefix, plan in figures.plans.items()
        if references.full  # rule 4d: what was put together from two nights may lack a reference
    }
    return Manifest(
        version=MANIFEST_VERSION,
        sweep_id=sweep_id,
        bucket=name,
        cutoff=cutoff,
        published_at=published_at,
        expires_at=expires_at,
        inventory=inventory,
        references=references,
        dangling=dangling,
        prefixes={
            prefix: PrefixFigures(
                inventory=amount,
                holds={hold: held for (owner, hold), held in figures.amounts.items() if owner == prefix and hold is not None},
                deletable=figures.amounts.get((prefix, None), NOTHING),
                ages=ages.by_prefix.get(prefix, {}),
            )
            for prefix, amount in inventory.prefixes.items()
        },
        unowned=figures.amounts.get((None, "unowned"), NOTHING),
        plans=plans,
        earliest=figures.earliest,
        confirms=confirms,
        binding=bound,
        tripped=(),
        digest="",
        storage_classes=ages.storage_classes,
        flags=settings.safety.flags(),
    )


def _judged(manifest: Manifest, settings: BucketSettings, history: History) -> Manifest:
    """With the names of the bucket's gates that tripped, and the digest over all of it."""
    closed = tripped(evaluate(manifest, gate_limits(settings), history))
    judged = replace(manifest, tripped=tuple(dict.fromkeys(gate.name for gate in closed)))
    return replace(judged, digest=sweep_digest(judged))
