"""Rule 2: before which moment an object must have been written to count as old. Computed once per sweep, from the clocks of those
who were asked, not from ours alone (JuiceFS 5068, Milvus 27202: a cutoff taken after the scan)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orphan_pipeline.errors import Refused

LARGEST_DIFFERENCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """One clock read once, and this host's clock at that moment."""

    whose: str
    time: datetime
    host_time: datetime

    @property
    def ahead(self) -> timedelta:
        return self.time - self.host_time


def frozen_cutoff(inventory: ClockReading, references: Sequence[ClockReading], min_age: timedelta) -> datetime:
    """Objects last modified at or after this are young. Raises Refused when clocks are more than five minutes apart, or when a
    reference snapshot was taken before the inventory began (rule 1: a file uploaded in between would look like an orphan)."""
    readings = [inventory, *references]
    fastest, slowest = max(readings, key=lambda r: r.ahead), min(readings, key=lambda r: r.ahead)
    for reading in readings:
        _refuse_if_off(reading)
    if fastest.ahead - slowest.ahead > LARGEST_DIFFERENCE:
        raise Refused(
            f"the clocks of {fastest.whose} and {slowest.whose} are {_seconds(fastest.ahead - slowest.ahead)} apart: at most "
            f"{_seconds(LARGEST_DIFFERENCE)} is allowed, since ages would be wrong"
        )
    for reading in references:
        if reading.host_time < inventory.host_time:
            raise Refused(f"the references of {reading.whose} were read before the inventory began: run the sweep again")
    return (min(reading.time for reading in readings) - min_age).astimezone(UTC)


def time_at_least(reading: ClockReading) -> datetime:
    """What both this clock and this host's say has come. Raises Refused when they are more than five minutes apart."""
    _refuse_if_off(reading)
    return min(reading.time, reading.host_time)


def _refuse_if_off(reading: ClockReading) -> None:
    if abs(reading.ahead) > LARGEST_DIFFERENCE:
        raise Refused(
            f"the clock of {reading.whose} is {_seconds(reading.ahead)} off this host's: at most "
            f"{_seconds(LARGEST_DIFFERENCE)} is allowed, since ages would be wrong"
        )


def _seconds(difference: timedelta) -> str:
    return f"{difference.total_seconds():+,.0f} s" if difference < timedelta(0) else f"{difference.total_seconds():,.0f} s"
