"""Settings of what must hold before a key is deletable, and of how it is deleted."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orphan_pipeline.settings.part import Count, Flag, Part
from orphan_pipeline.settings.values import (
    Duration,
    DurationRange,
    Expected,
    Later,
    OneOf,
    duration_text,
    mistakes_below,
)

MIN_AGE_FLOOR = timedelta(hours=24)


class SafetySettings(Part):
    min_age: Duration = Field(default=timedelta(days=7), description="Younger objects are held. At least 24h, unless allow_short_min_age.")
    allow_short_min_age: Flag = Field(default=False, description="Whether min_age may be below 24h. For demonstrations and tests only.")
    multipart_grace: Duration = Field(
        default=timedelta(days=7),
        description="Added to min_age for multipart objects, whose date is when their upload began.",
    )
    confirmations: Annotated[int, Field(strict=True, ge=1, le=14), Expected("a whole number from 1 to 14")] = Field(
        default=2, description="In how many sweeps an object must have been an orphan before it can be deleted."
    )
    confirmation_gap: Duration = Field(default=timedelta(hours=20), description="How far apart two sweeps must be to count as two.")
    max_orphan_fraction: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False), Expected("a number above 0, at most 1")] = (
        Field(default=0.2, description="The gate on the share of orphans, by count and by bytes.")
    )
    min_match_rate: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False), Expected("a number from 0 to 1")] = Field(
        default=0.95, description="The gate on the share of a source's references that have an object."
    )
    max_shrink: Annotated[None, Later("the gate on shrinking sources")] = Field(
        default=None, exclude=True, description="The gate on how much smaller a source may be than it used to be."
    )
    plan_expiry: Annotated[timedelta, DurationRange(at_least=timedelta(minutes=1), at_most=timedelta(days=30))] = Field(
        default=timedelta(hours=72), description="How long after its sweep a plan can still be executed."
    )

    @model_validator(mode="after")
    def _floor_of_min_age(self) -> Self:
        if self.min_age < MIN_AGE_FLOOR and not self.allow_short_min_age:
            found = duration_text(self.min_age)
            text = f"found {found!r}, expected at least 24h (below it only with allow_short_min_age: true)"
            raise mistakes_below((("min_age",), text))
        return self


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
    recheck_max_age: Annotated[None, Later("asking the databases again before a chunk")] = Field(
        default=None,
        exclude=True,
        description="How long ago the databases may have been asked when a chunk is deleted.",
    )
    after_chunk: Annotated[None, Later("calling hooks after a chunk")] = Field(
        default=None, exclude=True, description="Functions called after each chunk."
    )
    allow_unconditional_delete: Annotated[None, Later("unconditional deletion")] = Field(
        default=None, exclude=True, description="Whether to delete from stores that ignore the ETag condition."
    )
