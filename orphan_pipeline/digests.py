"""Sweeps, plans and pauses are named by digests of what they hold (SHA-256, 64 hexadecimal digits); whoever types one types
its beginning."""

SHORTEST = 8
"""Digits that a command takes for a digest: among a million plans two with the same are hardly ever met, and then both are refused."""

SHOWN = 16


def shown(digest: str) -> str:
    """As much of a digest as a command prints to be typed again."""
    return digest[:SHOWN]
