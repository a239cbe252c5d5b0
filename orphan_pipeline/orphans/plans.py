"""What binds a plan (rule 9): the digest over its rows and over everything that decides what is deleted, and the refusal of a plan
that is expired, edited, meant for something else, or superseded before it began."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from orphan_pipeline import digests
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import sha256_of
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.orphans.binding import differences
from orphan_pipeline.orphans.manifest import Manifest, PlanEntry

DIGEST_VERSION = 1


def plan_digest(
    *,
    bound: dict[str, Any],
    sweep_id: str,
    cutoff: datetime,
    expires_at: datetime,
    prefix: str,
    chunks: int,
    sha256: str,
) -> str:
    """Hex SHA-256 over the plan's binding and the bytes of its file."""
    return _digest(
        {
            "version": DIGEST_VERSION,
            "binding": bound,
            "sweep_id": sweep_id,
            "cutoff": cutoff.isoformat(),
            "expires_at": expires_at.isoformat(),
            "prefix": prefix,
            "chunks": chunks,
            "sha256": sha256,
        }
    )


def sweep_digest(manifest: Manifest) -> str:
    """Hex SHA-256 over everything the manifest says but its digest: binding, figures (which the gates judge) and the digests of all
    its plans. Approving it approves every prefix."""
    content: dict[str, Any] = TypeAdapter(Manifest).dump_python(replace(manifest, digest=""), mode="json")
    if manifest.dangling.keys is None:  # written before there was such a figure, and so was its digest
        del content["dangling"]["keys"]
    return _digest(content)


def refuse_unless_bound(
    plan: PlanEntry,
    *,
    manifest: Manifest,
    folder: SweepFolder,
    bound_now: dict[str, Any],
    now: datetime,
    latest_sweep_id: str,
    begun: bool,
) -> None:
    """Raises Refused, with the reason, unless this plan may be executed now."""
    name = f"plan {plan.digest[:12]} of {plan.prefix}"
    if now >= manifest.expires_at:
        raise Refused(f"{name} expired at {manifest.expires_at:%Y-%m-%d %H:%M} UTC: run a new sweep")
    changed = sorted(differences(manifest.binding, bound_now))
    if changed:
        raise Refused(f"{name} was made under other settings ({', '.join(changed)} changed since): run a new sweep")
    file = folder.root / plan.file
    if not file.is_file():
        raise Refused(f"{name} has no file any more in sweep {manifest.sweep_id}: run a new sweep")
    recomputed = plan_digest(
        bound=manifest.binding,
        sweep_id=manifest.sweep_id,
        cutoff=manifest.cutoff,
        expires_at=manifest.expires_at,
        prefix=plan.prefix,
        chunks=plan.chunks,
        sha256=plan.sha256,
    )
    if recomputed != plan.digest or sha256_of(file) != plan.sha256:
        raise Refused(f"{name} was edited after it was made: its digest does not match. Run a new sweep")
    if sweep_digest(manifest) != manifest.digest:
        raise Refused(f"the manifest of {name} was edited after it was made: its digest does not match. Run a new sweep")
    if latest_sweep_id != manifest.sweep_id and not begun:
        raise Refused(f"{name} was superseded by sweep {latest_sweep_id} before it began: use the plans of the latest full sweep")


def find_plan(manifests: list[Manifest], digest: str) -> tuple[Manifest, PlanEntry]:
    """The plan whose digest begins with `digest` (at least `digests.SHORTEST` characters). Raises Refused when there is none,
    or more than one."""
    if len(digest) < digests.SHORTEST:
        raise Refused(f"plan {digest!r}: found {len(digest)} characters, expected at least {digests.SHORTEST} of its digest")
    found = [(manifest, plan) for manifest in manifests for plan in manifest.plans.values() if plan.digest.startswith(digest)]
    if len(found) != 1:
        raise Refused(f"plan {digest!r}: {len(found)} plans have this digest, expected one (`orphan-pipeline plan` lists them)")
    return found[0]


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
