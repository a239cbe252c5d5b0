"""Everything that stands around one deletion run: the lease, the databases asked again, the operator's hooks. Made here from settings and
resources; what each does is in orphan_pipeline.deletion."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg

from orphan_pipeline.deletion.authorise import Authorised
from orphan_pipeline.deletion.guards import Guard
from orphan_pipeline.deletion.hooks import Hooks, resolve_hooks
from orphan_pipeline.deletion.lease.lease import Lease, LeaseGuard, deletion_of, leased, register_of
from orphan_pipeline.deletion.recheck.guard import Recheck
from orphan_pipeline.deletion.undo.at_once import REFERENCED_AGAIN, bringing_back
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.references.recheck.asking import Asker
from orphan_pipeline.references.sessions import DatabaseUnderCut
from orphan_pipeline.resources.databases import DatabaseResource
from orphan_pipeline.settings.model import BucketSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """The guards of one run, in the order in which they are asked."""

    guards: tuple[Guard, ...]
    recheck: Recheck
    hooks: Hooks | None

    def metadata(self) -> dict[str, dg.MetadataValue]:
        figures = self.recheck.figures
        found: dict[str, dg.MetadataValue] = {
            "asked_again": dg.MetadataValue.text(
                f"{figures.keys:,} keys in {figures.questions:,} questions, {figures.seconds:.1f} s; " + "; ".join(self.recheck.words)
            ),
            "held_by_asking_again": dg.MetadataValue.json(dict(figures.held)),
        }
        if figures.brought_back:
            found["brought_back"] = dg.MetadataValue.json(dict(list(figures.brought_back.items())[:SHOWN]))
            found["brought_back_keys"] = dg.MetadataValue.int(len(figures.brought_back))
        if self.hooks is not None and self.hooks.failures:
            found["hooks_that_failed"] = dg.MetadataValue.json(dict(self.hooks.failures))
        return found


@contextmanager
def guarded(
    name: str,
    settings: BucketSettings,
    *,
    databases: Mapping[str, DatabaseResource],
    client: "S3Client",
    lake: BucketLake,
    authorised: Authorised,
    plan: Path,
    run_id: str,
    report: Callable[[str], None],
) -> Iterator[Guarded]:
    """Hooks are resolved first, so that a name that does not import costs nothing; then the lease is taken, then the databases are asked
    how they can be asked. A dry run asks the databases and leaves out what writes or calls somebody."""
    deletion = settings.deletion
    hooks = resolve_hooks(deletion, at=f"buckets.{name}")
    with ExitStack() as stack:
        guards: list[Guard] = []
        if not authorised.dry_run:
            lease = stack.enter_context(
                leased(
                    register_of(client, settings.bucket, lake),
                    purpose=deletion_of(authorised.manifest.sweep_id),
                    part=authorised.plan.prefix,
                    run_id=run_id,
                    expiry=deletion.lease_expiry,
                    wait=deletion.lease_wait,
                    report=report,
                )
            )
        asker = stack.enter_context(
            Asker(
                databases=primaries(databases, authorised),
                sources=settings.references,
                spill_under=authorised.ledger.folder,
                by=deletion.recheck_by,
            )
        )
        recheck = Recheck(
            asker=asker,
            plan=plan,
            ledger=authorised.ledger,
            max_age=deletion.recheck_max_age,
            keys_per_second=deletion.max_keys_per_second,
            bring_back=bringing_back(client, settings.bucket, REFERENCED_AGAIN, lake=lake, ledger=authorised.ledger, run_id=run_id),
            report=report,
        )
        guards.append(recheck)
        telling = None
        if not authorised.dry_run:
            telling = Hooks(
                hooks, ledger=authorised.ledger, of=authorised.ledger_plan, bucket_name=settings.bucket, run_id=run_id, report=report
            )
            telling.tell_what_is_left()
            guards = [LeaseGuard(lease), *guards, telling, LeaseGuard(lease)]  # last too: the databases may take long to answer
        yield Guarded(guards=tuple(guards), recheck=recheck, hooks=telling)


@contextmanager
def leased_alone(
    client: "S3Client",
    settings: BucketSettings,
    *,
    lake: BucketLake,
    purpose: Literal["restore", "purge"],
    run_id: str,
    report: Callable[[str], None],
) -> Iterator[Lease]:
    """Shared with nobody: what a restore brings back, or the copy that it comes from, must not go at the same time."""
    with leased(
        register_of(client, settings.bucket, lake),
        purpose=f"{purpose} {run_id}",
        part="everything",
        run_id=run_id,
        expiry=settings.deletion.lease_expiry,
        wait=settings.deletion.lease_wait,
        report=report,
    ) as lease:
        yield lease
        lease.check()


def primaries(databases: Mapping[str, DatabaseResource], authorised: Authorised) -> dict[str, DatabaseUnderCut]:
    """Always the primary; and the database that the sweep read, on the same timeline and no older, as far as that can be told: a copy that
    stands still knows nothing of what came into use since."""
    swept = {cut.database: cut for cut in authorised.manifest.references.cuts}
    return {name: replace(resource.under_cut(), replica=None, swept=swept.get(name)) for name, resource in databases.items()}
