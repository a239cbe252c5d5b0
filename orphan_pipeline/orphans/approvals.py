"""Who let a tripped gate pass, for which digest, and when. An approval names one sweep's digest (all its prefixes) or one plan's;
it never overrides ages, protection, ownership or confirmation, which are not gates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orphan_pipeline.gates import Gate, GateLimits, evaluate, tripped
from orphan_pipeline.lake.files import read_document, write_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest, read_manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """`gates`: what was overridden, as `gate` or `gate:prefix`."""

    digest: str
    at: datetime
    by: str
    gates: tuple[str, ...]


def approve(lake: BucketLake, digest: str, overridden: Sequence[Gate], *, by: str, at: datetime) -> Approval:
    """Records the approval in the lake. The first one of a digest stands."""
    path = lake.approval(digest)
    if not path.is_file():
        names = tuple(gate.name if gate.prefix is None else f"{gate.name}:{gate.prefix}" for gate in overridden)
        write_document(path, Approval, Approval(digest=digest, at=at, by=by, gates=names))
    return read_document(path, Approval)


def approved(lake: BucketLake, *digests: str) -> Approval | None:
    """The approval of the first of these digests that has one."""
    paths = (lake.approval(digest) for digest in digests)
    return next((read_document(path, Approval) for path in paths if path.is_file()), None)


def last_accepted(lake: BucketLake, limits: GateLimits, *, before: datetime) -> Manifest | None:
    """The latest sweep before that moment whose bucket gates passed, by the limits of its time and by today's, or were approved.

    Only such a sweep confirms (rule 7): one that tripped saw orphans that may be none, and counting those sightings would
    half-confirm a mistake.
    """
    for manifest in reversed(read_manifests(lake)):
        # References that were not read in full saw orphans that may be none: they neither confirm nor start anew.
        if manifest.inventory.started_at >= before or not manifest.references.full:
            continue
        passed = not manifest.tripped and not tripped(evaluate(manifest, limits))
        if passed or approved(lake, manifest.digest):
            return manifest
    return None
