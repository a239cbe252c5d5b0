"""Settings of what must hold before a key is deletable."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from orphan_pipeline.settings.part import Flag, Part
from orphan_pipeline.settings.values import (
    Duration,
    DurationRange,
    Expected,
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
    max_shrink: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False), Expected("a number from 0 to 1")] = Field(
        default=0.1, description="The gate on shrinking sources: how much less than its trailing median a source may yield."
    )
    max_growth: Annotated[float, Field(strict=True, ge=1, allow_inf_nan=False), Expected("a number, at least 1")] = Field(
        default=3.0, description="The gate on growing orphans: how many times their trailing median (taken as 100 at least) there may be."
    )
    max_age_band_excess: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False), Expected("a number from 0 to 1")] = Field(
        default=0.1,
        description="The gate on bands of ages: how far the share of orphans in a band may lie above the share among all older objects.",
    )
    plan_expiry: Annotated[timedelta, DurationRange(at_least=timedelta(minutes=1), at_most=timedelta(days=30))] = Field(
        default=timedelta(hours=72), description="How long after its sweep read the references a plan can still be executed."
    )

    def flags(self) -> tuple[str, ...]:
        """What `check` and the manifest must flag (rule 2)."""
        if not self.allow_short_min_age:
            return ()
        return (f"safety.allow_short_min_age is true: min_age is {duration_text(self.min_age)}, the floor of 24h is off",)

    def gates_off(self) -> dict[str, float]:
        """Limits that no sweep can exceed, or fall short of."""
        off = {"max_orphan_fraction": 1.0, "min_match_rate": 0.0, "max_shrink": 1.0, "max_age_band_excess": 1.0}
        return {name: limit for name, limit in off.items() if getattr(self, name) == limit}

    @model_validator(mode="after")
    def _floor_of_min_age(self) -> Self:
        if self.min_age < MIN_AGE_FLOOR and not self.allow_short_min_age:
            found = duration_text(self.min_age)
            text = f"found {found!r}, expected at least 24h (below it only with allow_short_min_age: true)"
            raise mistakes_below((("min_age",), text))
        return self
