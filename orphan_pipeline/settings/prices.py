"""What storage costs where the settings say nothing: what AWS asks for it."""

LIST_PRICES = {
    "STANDARD": 0.023,
    "INTELLIGENT_TIERING": 0.023,
    "STANDARD_IA": 0.0125,
    "ONEZONE_IA": 0.01,
    "GLACIER_IR": 0.004,
    "GLACIER": 0.0036,
    "DEEP_ARCHIVE": 0.00099,
    "REDUCED_REDUNDANCY": 0.024,
    "EXPRESS_ONEZONE": 0.11,
}
"""USD a GB and month in us-east-1, first 50 TB (aws.amazon.com/s3/pricing, 2025)."""


def with_list_prices(given: dict[str, float]) -> dict[str, float]:
    """What is given, and the list price of every class that is not."""
    return {**LIST_PRICES, **given}
