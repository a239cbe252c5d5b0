"""Everything that the lake knows of one key, put together, and the sentence that says what it comes to."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from orphan_pipeline.deletion.undo.selection import may_own
from orphan_pipeline.digests import shown
from orphan_pipeline.duck import duck
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.why.ledgers import Done, done_with
from orphan_pipeline.why.sweep import (
    FoundObject,
    FoundOrphan,
    FoundReferences,
    find_object,
    find_orphan,
    find_references,
    protected_by,
)
from orphan_pipeline.why.variants import KeptBy, kept_by_a_glob
from orphan_pipeline.wording import counted

MEMORY = 512 * 2**20
DATA_IS_GONE = "not known any more: only its manifest is kept"
HOLDS = {
    "unowned": "no declared prefix owns it, so it is never deleted",
    "protected": "it is protected by {protected_by}",
    "restored": "somebody brought it back on {restored_at:%Y-%m-%d %H:%M} UTC",
    "ambiguous": "it resembles the reference {resembles!r} ({view}): if it is the same object, correct the source's `key` rules",
    "young": "it is too young, until {ready_at:%Y-%m-%d %H:%M} UTC at the earliest",
    "unconfirmed": "it counts as seen in {seen} so far, and can be confirmed by a sweep from {ready_at:%Y-%m-%d %H:%M} UTC on",
    "capped": "max_deletions was reached by older objects: the next sweep looks again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What one published sweep made of the key: deletable, a hold's name, or `no orphan`; or that its data is gone."""

    sweep_id: str
    at: datetime
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`kept_by` is only looked for where no reference has the very name of the object and no file of orphans tells of it.
    `plan` is the digest of the plan that names the key in this sweep, and `history` goes over all sweeps of the lake, oldest first."""

    bucket: str
    key: str
    sweep_id: str
    looked_at: datetime
    object: FoundObject | None
    protected_by: str | None
    references: FoundReferences
    kept_by: KeptBy | None
    orphan: FoundOrphan | None
    plan: str | None
    plan_expires_at: datetime | None
    history: tuple[Sighting, ...]
    done: tuple[Done, ...]

    @property
    def verdict(self) -> str:
        if self.object is None:
            return f"not in the bucket at this sweep{_last_done(self.done)}"
        if self.references.exact:
            sources = ", ".join(sorted({reference.source for reference in self.references.exact}))
            return f"referenced by {sources}: never deleted"
        if self.kept_by is not None:
            kept_by = self.kept_by
            return (
                f"kept by {kept_by.template!r} among the variants of {kept_by.source}, for its reference {kept_by.parent!r}: never deleted"
            )
        if self.object.prefix is None:
            return f"an orphan, held: {HOLDS['unowned']}"
        if self.orphan is None:
            return "no orphan, though no reference of this name is found: a rule of its own keeps it"
        if self.orphan.hold is None:
            return f"an orphan, deletable: chunk {self.orphan.chunk} of plan {shown(self.plan or '')}{_last_done(self.done)}"
        evidence = {name: getattr(self.orphan, name) for name in FoundOrphan.__dataclass_fields__}
        evidence["seen"] = counted(self.orphan.sightings, "sweep")
        return f"an orphan, held as {self.orphan.hold}: {HOLDS[self.orphan.hold].format(**evidence)}"


def tell(
    lake: BucketLake,
    manifests: Sequence[Manifest],
    manifest: Manifest,
    key: str,
    *,
    protect: Sequence[str],
    own_prefixes: Sequence[str],
    hosts: Sequence[str],
) -> Story:
    """What the sweep of `manifest` says of the key, what each of `manifests` made of it, and what was done with it since. Raises Refused
    when that sweep's data is gone."""
    sweep = lake.sweep(manifest.sweep_id)
    if not sweep.whole:
        raise Refused(
            f"sweep {manifest.sweep_id}: only its manifest is kept (retention.sweeps), expected a sweep with its data; without --sweep, "
            "the latest one tells what each sweep that is still there made of the key"
        )
    with tempfile.TemporaryDirectory() as spill, duck(Path(spill), memory_bytes=MEMORY) as connection:
        found = find_object(connection, sweep, key)
        prefix = found.prefix if found else None
        references = find_references(connection, sweep, key, hosts)
        orphan = find_orphan(connection, sweep, [prefix], key) if prefix is not None else None
        globs = {source.name: source.globs for source in manifest.references.sources if source.globs}
        unexplained = found is not None and not references.exact and orphan is None
        kept_by = kept_by_a_glob(connection, sweep, key, globs) if unexplained else None
        history = [
            Sighting(
                sweep_id=one.sweep_id,
                at=one.inventory.started_at,
                verdict=_seen_as(orphan) if one is manifest else _seen_in(connection, lake, one, key),
            )
            for one in manifests
        ]
        by = protected_by(connection, key, protect, own_prefixes)
    plan = manifest.plans.get(prefix or "") if orphan is not None and orphan.hold is None else None
    return Story(
        bucket=manifest.bucket,
        key=key,
        sweep_id=manifest.sweep_id,
        looked_at=manifest.inventory.started_at,
        object=found,
        protected_by=by,
        references=references,
        kept_by=kept_by,
        orphan=orphan,
        plan=plan.digest if plan else None,
        plan_expires_at=manifest.expires_at if plan else None,
        history=tuple(history),
        done=tuple(done_with(lake, key)),
    )


def _seen_in(connection: duckdb.DuckDBPyConnection, lake: BucketLake, manifest: Manifest, key: str) -> str:
    """In the partitions of that sweep: it may have had the key where the bucket has none by now, or other prefixes."""
    sweep = lake.sweep(manifest.sweep_id)
    if not sweep.whole:
        return DATA_IS_GONE
    return _seen_as(find_orphan(connection, sweep, [prefix for prefix in manifest.prefixes if may_own(prefix, key)], key))


def _seen_as(orphan: FoundOrphan | None) -> str:
    return "no orphan" if orphan is None else orphan.hold or "deletable"


def _last_done(done: Sequence[Done]) -> str:
    real = [one for one in done if one.what != "dry_run"]
    return f"; {real[-1].outcome} on {real[-1].at:%Y-%m-%d %H:%M} UTC" if real else ""
