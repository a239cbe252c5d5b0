"""Chunks that a cancelled or killed run left without an outcome, settled for a restore: by looking only, nothing is sent to be
deleted. Going on with such a plan is not done here but in execute.py."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.execute import chunks_of
from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.quarantine.copying import Copier
from orphan_pipeline.deletion.quarantine.deleter import settle_copied, with_stray
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.sending import NOT_SENT
from orphan_pipeline.deletion.settle import settle
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import read_document, sha256_of
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LOOKS_AT_ONCE = 16


def settle_unfinished(client: "S3Client", bucket: str, *, lake: BucketLake, ledger: Ledger, report: Callable[[str], None]) -> None:
    """Every chunk that was begun has an outcome afterwards: what the run knew when it broke off, and for the other keys what stands in
    the store; a planned object that still stands is `failed`, code `NotSent`. Raises Refused when the plan's file is gone or edited."""
    unfinished = set(ledger.unfinished())
    if not unfinished:
        return
    look = _by_looking(client, bucket, ledger)
    chunks = (found for found in chunks_of(plan_file_of(lake, ledger)) if found[0] in unfinished)
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        for chunk, planned in chunks:
            known = ledger.kept(chunk)
            open_keys = [one for one in planned if one.key not in known]
            looked = pool.map(look, open_keys)
            answers = known | dict(zip((one.key for one in open_keys), looked, strict=True))
            ledger.record(chunk, planned, [answers[one.key] for one in planned], at=datetime.now(UTC))
            report(f"restore: chunk {chunk} was not finished: {len(open_keys):,} of its {len(planned):,} keys settled by looking")


def _by_looking(client: "S3Client", bucket: str, ledger: Ledger) -> Callable[[Planned], Answer]:
    """In each mode something else tells what a run did."""
    plan = ledger.plan()
    if plan is not None and plan.quarantine is not None:
        copier, quarantine, digest = Copier(client=client), Quarantine.of(plan.quarantine), plan.digest

        def copied(one: Planned) -> Answer:
            copy = quarantine.copy_of(one.key, plan=digest)
            return settle_copied(copier, copy, bucket, one) or with_stray(NOT_SENT, copier, copy)

        return copied
    return lambda one: settle(client, bucket, one) or NOT_SENT


def plan_file_of(lake: BucketLake, ledger: Ledger) -> Path:
    plan = ledger.plan()
    name = f"plan {ledger.folder.name[:12]}"
    unknown = f"{name} was broken off in a chunk, so what became of its keys has to be looked up, but "
    if plan is None:
        raise Refused(f"{unknown}its ledger does not say of which sweep it is")
    sweep = lake.sweep(plan.sweep_id)
    manifest = read_document(sweep.manifest, Manifest) if sweep.published else None
    entry = manifest.plans.get(plan.prefix) if manifest else None
    if entry is None or entry.digest != plan.digest or not (sweep.root / entry.file).is_file():
        raise Refused(f"{unknown}its file is gone from sweep {plan.sweep_id}: put the sweep's folder back, then run this again")
    if sha256_of(sweep.root / entry.file) != entry.sha256:
        raise Refused(f"{unknown}its file in sweep {plan.sweep_id} was edited after it was made")
    return sweep.root / entry.file
