"""Figures in sentences that people read."""


def counted(number: int, one: str, several: str | None = None) -> str:
    """`1 object`, `20,000 objects`; `several` where that is not `one` with an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"
