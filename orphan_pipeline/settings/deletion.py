"""Settings of how deletable keys are deleted, and of how it can be taken back."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from orphan_pipeline.settings.hooks import Hooks
from orphan_pipeline.settings.part import Count, Part
from orphan_pipeline.settings.values import Duration, DurationRange, Expected, Later, OneOf


class DeletionSettings(Part):
    mode: Annotated[
        Literal["dry_run", "versioned"],
        OneOf(words=("dry_run", "versioned"), later={"quarantine": "quarantine", "permanent": "permanent deletion"}),
    ] = Field(
        default="dry_run",
        description="`dry_run` deletes nothing; `versioned` sets delete markers on a bucket that keeps versions.",
    )
    undo_window: Annotated[timedelta, DurationRange(at_least=timedelta(hours=1))] = Field(
        default=timedelta(days=14), description="How long a deleted object can still be brought back."
    )
    max_deletions: Count = Field(
        default=1_000_000, description="The most objects that one sweep deletes: oldest first, the rest next time."
    )
    max_keys_per_second: Annotated[int, Field(strict=True, ge=1, le=100_000), Expected("a whole number from 1 to 100000")] = Field(
        default=3000, description="The most keys that one run deletes in a second; runs of several prefixes at once each have it."
    )
    quarantine: Annotated[None, Later("quarantine")] = Field(
        default=None, exclude=True, description="Where objects are copied before they are deleted."
    )
    concurrency: Annotated[None, Later("parallel deletion")] = Field(
        default=None, exclude=True, description="How many chunks are deleted at once."
    )
    not_after: Annotated[None, Later("an hour at which deletion ends")] = Field(
        default=None, exclude=True, description="The hour of the day after which no chunk is begun."
    )
    allow_unconditional_delete: Annotated[None, Later("unconditional deletion")] = Field(
        default=None, exclude=True, description="Whether to delete from stores that ignore the ETag condition."
    )
    recheck_max_age: Annotated[timedelta, DurationRange(at_least=timedelta(seconds=10), at_most=timedelta(hours=6))] = Field(
        default=timedelta(minutes=15), description="How long ago the databases may have been asked about a chunk's keys when it is deleted."
    )
    recheck_by: Annotated[Literal["auto", "pass"], OneOf(words=("auto", "pass"), later={})] = Field(
        default="auto",
        description="How the databases are asked again: `auto` by an index where the planner uses one, else by one pass over the source; "
        "`pass` always by a pass.",
    )
    before_chunk: Hooks = Field(default=(), description="Functions called before each chunk; they may hold keys back, or stop the run.")
    after_chunk: Hooks = Field(default=(), description="Functions called after each chunk with what became of its keys.")
    lease_expiry: Annotated[timedelta, DurationRange(at_least=timedelta(seconds=15), at_most=timedelta(hours=1))] = Field(
        default=timedelta(minutes=2), description="How long after its last renewal the lease of a run that vanished still keeps others out."
    )
    lease_wait: Duration = Field(
        default=timedelta(minutes=5), description="How long a deletion or restore waits for another one's lease before it is refused."
    )
