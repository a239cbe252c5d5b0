"""Who let a tripped gate pass, for which digest, and when. An approval names one sweep's digest (all its prefixes), one plan's, or one
pause's, and the gates that it overrides; a gate that trips later is not among them. It never overrides ages, protection, ownership or
confirmation, which are not gates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from orphan_pipeline.gates.gate import Gate
from orphan_pipeline.lake.files import read_document, write_document
from orphan_pipeline.lake.layout import BucketLake


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """`gates`: what was overridden, as `gate` or `gate:prefix`."""

    digest: str
    at: datetime
    by: str
    gates: tuple[str, ...]


def approve(lake: BucketLake, digest: str, overridden: Sequence[Gate], *, by: str, at: datetime) -> Approval:
    """Records the approval in the lake. The first one of a digest stands, unless this one overrides more: then who says so now answers
    for all of it."""
    former = approved(lake, digest)
    names = tuple(dict.fromkeys([*(former.gates if former else ()), *(gate.label for gate in overridden)]))
    if former is None or names != former.gates:
        write_document(lake.approval(digest), Approval, Approval(digest=digest, at=at, by=by, gates=names))
    return read_document(lake.approval(digest), Approval)


def approved(lake: BucketLake, digest: str) -> Approval | None:
    path = lake.approval(digest)
    return read_document(path, Approval) if path.is_file() else None


def overridden(lake: BucketLake, *digests: str) -> frozenset[str]:
    """What the approvals of these digests let pass, as `gate` or `gate:prefix`."""
    return frozenset(name for digest in digests if (approval := approved(lake, digest)) for name in approval.gates)


def still_closed(lake: BucketLake, gates: Iterable[Gate], *digests: str) -> list[Gate]:
    """Those of the gates that did not pass, and that nobody approved for one of these digests."""
    closed = [gate for gate in gates if not gate.passed]
    open_by_approval = overridden(lake, *digests) if closed else frozenset()
    return [gate for gate in closed if gate.label not in open_by_approval]
