"""Settings of how deletable keys are deleted, and of how it can be taken back."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from orphan_pipeline.settings import checks
from orphan_pipeline.settings.part import Count, Part, Text
from orphan_pipeline.settings.values import DurationRange, Expected, Later, OneOf, mistakes_below


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
        default=1_000_000, description="The most objects that one sweep deletes: oldest first, the rest next time."
    )
    max_keys_per_second: Annotated[int, Field(strict=True, ge=1, le=100_000), Expected("a whole number from 1 to 100000")] = Field(
        default=3000, description="The most keys that one run deletes in a second; runs of several prefixes at once each have it."
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
