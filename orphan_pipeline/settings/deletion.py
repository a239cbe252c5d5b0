"""Settings of how deletable keys are deleted, and of how it can be taken back."""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from orphan_pipeline.settings import checks
from orphan_pipeline.settings.hooks import Hooks
from orphan_pipeline.settings.part import Count, Flag, Part, Text
from orphan_pipeline.settings.values import Duration, DurationRange, Expected, OneOf, mistake, mistakes_below

HOUR = 'an hour of the day such as "06:00"'


def hour_of_day(text: str) -> str:
    if not re.fullmatch("(?:[01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise mistake(f"expected {HOUR}")
    return text


class DeletionSettings(Part):
    mode: Annotated[
        Literal["dry_run", "versioned", "quarantine", "permanent"],
        OneOf(words=("dry_run", "versioned", "quarantine", "permanent"), later={}),
    ] = Field(
        default="dry_run",
        description="`dry_run` deletes nothing; `versioned` sets delete markers on a bucket that keeps versions; `quarantine` copies each "
        "object to `quarantine` before it deletes it; `permanent` deletes for good: nothing can be brought back.",
    )
    undo_window: Annotated[timedelta, DurationRange(at_least=timedelta(hours=1))] = Field(
        default=timedelta(days=14), description="How long a deleted object can still be brought back."
    )
    max_deletions: Count = Field(
        default=1_000_000, description="The most objects that one sweep plans and one run deletes: oldest first, the rest next time."
    )
    max_keys_per_second: Annotated[int, Field(strict=True, ge=1, le=100_000), Expected("a whole number from 1 to 100000")] = Field(
        default=3000,
        description="The most keys deleted in a second, by all runs of this bucket on all `hosts`; fewer where the store says SlowDown.",
    )
    hosts: Annotated[int, Field(strict=True, ge=1, le=1000), Expected("a whole number from 1 to 1000")] = Field(
        default=1, description="On how many hosts runs of this bucket delete at once: each takes its share of `max_keys_per_second`."
    )
    concurrency: Annotated[int, Field(strict=True, ge=1, le=32), Expected("a whole number from 1 to 32")] = Field(
        default=8, description="How many chunks of one prefix are deleted at once."
    )
    rest: Annotated[timedelta, DurationRange(at_most=timedelta(hours=1))] = Field(
        default=timedelta(0), description="How long each of them pauses after a chunk."
    )
    not_after: Annotated[Text, AfterValidator(hour_of_day), Expected(HOUR)] | None = Field(
        default=None,
        description="The hour of the day, in the schedule's time zone, after which no chunk is begun for 12 hours. Left out: at any hour.",
    )
    allow_unconditional_delete: Flag = Field(
        default=False,
        description="Whether to delete even from a store that honours no ETag on a delete: each object is then looked at right before.",
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
    quarantine: Annotated[Text, AfterValidator(checks.quarantine_location), Expected("s3://bucket/prefix/")] | None = Field(
        default=None,
        description="For `quarantine`: where objects are copied before they are deleted, `s3://bucket/prefix/` in the same store and "
        "region (`s3://bucket/` for a bucket of its own). Whatever lies there is protected. Also after a change of mode, leave it until "
        "the undo window is over: the purge goes on with it.",
    )

    @model_validator(mode="after")
    def _quarantine_has_a_place(self) -> Self:
        if self.mode == "quarantine" and self.quarantine is None:
            raise mistakes_below((("quarantine",), "missing, expected s3://bucket/prefix/ beside mode: quarantine"))
        return self
