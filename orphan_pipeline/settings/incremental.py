"""Settings of a cheaper night: a source of which only new rows are read, between full reads."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from orphan_pipeline.settings import checks
from orphan_pipeline.settings.part import Count, Part, Text
from orphan_pipeline.settings.values import DurationRange, mistake

Column = Annotated[Text, AfterValidator(checks.column_name)]


class IncrementalSettings(Part):
    updated_at: Column | None = Field(
        default=None,
        description="The column with the time of a row's last change; without a time zone it is taken for UTC. Rows changed since the last "
        "sweep's snapshot are read, and those where it is NULL.",
    )
    overlap: Annotated[timedelta, DurationRange()] = Field(
        default=timedelta(hours=1),
        description="For `updated_at`: how much further back is read. Longer than any transaction lasts: a row is stamped "
        "when it is written, and seen when its transaction ends.",
    )
    append_only: Column | None = Field(
        default=None,
        description="In place of `updated_at`: the growing id of a table whose rows never change. Rows beyond the last are read.",
    )
    full_read_every: Count = Field(
        default=7, description="Every how many sweeps all rows are read. Only such a sweep confirms orphans and makes plans."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.updated_at is None) == (self.append_only is None):
            raise mistake("expected one of updated_at and append_only", show_found=False)
        return self
