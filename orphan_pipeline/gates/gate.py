"""What a gate is: its answer, the limits that it is held against, and the name and meaning of every one. How each is computed stands
beside this module, by what it looks at: the sweep's own figures, the age of its orphans, or the sweeps before it."""

from dataclasses import dataclass

GATES = {
    "baseline": "A sweep of this bucket was accepted before: the first one is approved once, as its baseline.",
    "inventory_not_empty": "The inventory holds at least one object.",
    "sources_above_floor": "Every reference source has at least `expect_rows_at_least` rows, and yields a reference.",
    "source_shrink": "No source yields less than its trailing median, by more than `max_shrink` of it.",
    "references_unchanged": "The reference settings, and the databases behind them, are those of the last accepted sweep.",
    "match_rate": "Of every source's references, by rows and by keys, at least `min_match_rate` have their object in the inventory.",
    "orphan_fraction": "At most `max_orphan_fraction` of the owned objects, by count and by bytes, are orphans.",
    "orphan_growth": "There are at most `max_growth` times as many orphans as in the trailing median.",
    "age_bands": "In no band of ages the share of orphans is above that of all older objects, by more than `max_age_band_excess`.",
    "nothing_missed": "No row points at a key that was deleted from here: nothing is missed that we took away.",
    "prefix_orphan_fraction": "As `orphan_fraction`, for each prefix alone; enforced when that prefix is deleted.",
    "prefix_without_references": "Every prefix that holds objects holds a referenced one; enforced when that prefix is deleted.",
    "prefix_age_bands": "As `age_bands`, for each prefix alone; enforced when that prefix is deleted.",
}
PREFIX_GATES = frozenset({"prefix_orphan_fraction", "prefix_without_references", "prefix_age_bands"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """`source_floors`: fewest rows by source. Fractions between 0 and 1; `max_growth` is a factor."""

    source_floors: dict[str, int]
    min_match_rate: float
    max_orphan_fraction: float
    max_shrink: float
    max_growth: float
    max_age_band_excess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate's answer. `prefix` is None for a gate of the whole bucket. `found` and `limit` are numbers of the same kind."""

    name: str
    passed: bool
    found: float
    limit: float
    message: str
    prefix: str | None = None

    @property
    def label(self) -> str:
        """What an approval calls it."""
        return self.name if self.prefix is None else f"{self.name}:{self.prefix}"

    @property
    def distance(self) -> float:
        """How far from its limit, in limits: the worst of several gates of one name is the one with the largest."""
        return abs(self.found - self.limit) / (abs(self.limit) or 1.0)
