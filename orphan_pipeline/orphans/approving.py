"""What a digest that somebody approves stands for: a sweep, one plan or a pause, and the gates that the approval overrides. The command
line and the run configuration come here; what is recorded is in approvals.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orphan_pipeline import digests
from orphan_pipeline.errors import Refused
from orphan_pipeline.gates.evaluate import tripped
from orphan_pipeline.gates.gate import Gate
from orphan_pipeline.lake.files import read_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import gates_of
from orphan_pipeline.orphans.approvals import Approval, approve
from orphan_pipeline.orphans.manifest import Manifest, read_manifests
from orphan_pipeline.orphans.pauses import PAUSE, Pause, standing_pause
from orphan_pipeline.settings.model import BucketSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvable:
    """`gates` did not pass. `pause` is the digest of the pause that is lifted with a sweep that found something missed."""

    digest: str
    what: str
    gates: tuple[Gate, ...]
    pause: str | None = None


def approvable(lake: BucketLake, settings: BucketSettings, digest: str) -> Approvable:
    """What the digest that begins like this stands for. Raises Refused when there is none, or more than one, or nothing to approve."""
    manifests = read_manifests(lake)
    found = [*_sweeps(lake, settings, manifests, digest), *_pauses(lake, digest)] if len(digest) >= digests.SHORTEST else []
    if len(found) != 1:
        raise Refused(
            f"approve: found {digest!r}, expected at least {digests.SHORTEST} characters of the digest of one sweep, plan or pause "
            "(`orphan-pipeline plan` shows them)"
        )
    if not found[0].gates:
        raise Refused(f"approve: there is nothing to approve: no gate holds back {found[0].what}")
    return found[0]


def record_approval(lake: BucketLake, what: Approvable, *, by: str, at: datetime) -> Approval:
    """On disk when this returns."""
    if what.pause is not None:
        approve(lake, what.pause, [gate for gate in what.gates if gate.name == "nothing_missed"], by=by, at=at)
    return approve(lake, what.digest, what.gates, by=by, at=at)


def _sweeps(lake: BucketLake, settings: BucketSettings, manifests: Sequence[Manifest], digest: str) -> list[Approvable]:
    found = []
    for manifest in manifests:
        plans = [plan for plan in manifest.plans.values() if plan.digest.startswith(digest)]
        if not plans and not manifest.digest.startswith(digest):
            continue
        gates = gates_of(lake, manifest, settings, manifests)
        if manifest.digest.startswith(digest):
            # Also what tripped in its time and would not by today's limits: the sweep counts only when all of that is approved.
            closed = tuple(gate for gate in gates if not gate.passed or (gate.prefix is None and gate.name in manifest.tripped))
            pause = manifest.dangling.pause if manifest.dangling.missed else None
            found.append(Approvable(digest=manifest.digest, what=f"sweep {manifest.sweep_id}", gates=closed, pause=pause))
        for plan in plans:
            what = f"the plan of {plan.prefix} in sweep {manifest.sweep_id}"
            found.append(Approvable(digest=plan.digest, what=what, gates=tuple(tripped(gates, prefix=plan.prefix))))
    return found


def _pauses(lake: BucketLake, digest: str) -> list[Approvable]:
    standing = standing_pause(lake)
    pauses = {pause.digest: pause for folder in lake.pauses() if (pause := read_document(folder / PAUSE, Pause)).digest.startswith(digest)}
    found = []
    for pause in pauses.values():
        message = f"{pause.keys:,} keys that were deleted from here are referenced, such as {pause.sample[0]!r}"
        gate = Gate(name="nothing_missed", passed=False, found=pause.keys, limit=0, message=message)
        stands = standing is not None and standing.digest == pause.digest
        found.append(Approvable(digest=pause.digest, what=f"the pause of sweep {pause.sweep_id}", gates=(gate,) if stands else ()))
    return found
