"""Settings of what is kept in the lake."""

from typing import Annotated

from pydantic import Field

from orphan_pipeline.settings.part import Part
from orphan_pipeline.settings.values import Expected


class RetentionSettings(Part):
    sweeps: Annotated[int, Field(strict=True, ge=2, le=10_000), Expected("a whole number from 2 to 10000")] = Field(
        default=14,
        description="How many sweeps of each bucket are kept whole. What a plan, a ledger within its undo window or a confirmation still "
        "needs is kept beyond that; so are the figures that trends go by, and every ledger.",
    )
