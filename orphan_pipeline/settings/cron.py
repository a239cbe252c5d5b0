"""Whether a text is a cron schedule of five fields. When it is due is the scheduler's affair."""

import re
from collections.abc import Mapping

_MONTHS = {
    name: number
    for number, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1)
}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:\*|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?")


def _number(text: str, names: Mapping[str, int]) -> int | None:
    return int(text) if text.isdigit() else names.get(text)


def _values(part: str, low: int, high: int, names: Mapping[str, int]) -> range | None:
    """The values that one part of a field's list stands for; None when it is no such part."""
    match = _PART.fullmatch(part.lower())
    if match is None or (match[3] and (match[2] is None and match[1] is not None)):
        return None
    first = low if match[1] is None else _number(match[1], names)
    last = high if match[1] is None else first if match[2] is None else _number(match[2], names)
    step = int(match[3] or 1)
    if first is None or last is None or not low <= first <= last <= high or not 1 <= step <= high:
        return None
    return range(first, last + 1, step)


def wrong_with_cron(text: str) -> str | None:
    """What is wrong with the schedule, in words; None when it is right."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        return "expected five fields such as 0 2 * * *"
    values: list[set[int]] = []
    for field, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        parts = [_values(part, low, high, names) for part in field.split(",")]
        if any(part is None for part in parts):
            return f"expected for the {name} {low} to {high}, *, or lists, ranges and steps (not {field!r})"
        values.append({value for part in parts if part is not None for value in part})
    _, _, days, months, _ = values
    if all(min(days) > _LONGEST_MONTH[month - 1] for month in months):
        return "expected a day that its months have"
    return None
