"""What the orphans cost to keep, by the prices in the settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from orphan_pipeline.inventory.snapshot import Amount

GB = 2**30
"""Bytes of a GB in a bill of AWS (S3 FAQ: a GB-month is of 2**30 bytes)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """USD a month. `unpriced`: storage classes that the settings have no price for; they are not in it."""

    usd_a_month: float
    unpriced: tuple[str, ...]


def cost_of(amounts: Mapping[str, Amount], prices: Mapping[str, float]) -> Cost:
    """`amounts` by storage class, `prices` in USD a GB and month."""
    usd = sum(amount.bytes / GB * prices[name] for name, amount in amounts.items() if name in prices)
    return Cost(usd, tuple(sorted(amounts.keys() - prices.keys())))
