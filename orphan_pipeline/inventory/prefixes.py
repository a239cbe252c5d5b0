"""Which partition owns a key: decided here once, as SQL over a column of keys, and written into the inventory (SPEC section 3).
Nobody matches prefixes later. A key that no declared prefix owns has no partition: it is unowned and never deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

WHOLE_BUCKET = "(all)"
REMAINDER = "(rest)"
OWN_PREFIX = ".orphan_pipeline/"
"""What this system itself keeps in a bucket (probes, the lease) lies here and is never an orphan."""

MOST_PARTITIONS = 1000
"""A run costs 2-3 s, so a thousand deletion runs fill an hour; beyond that `split` is too deep."""


UNUSABLE_IN_A_PARTITION = r"[\x00-\x1f\x7f]|\.\.\."
"""Dagster refuses partition keys with control characters or three dots: keys in such folders go to the remainder partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedPrefix:
    """`path` ends in `/`, or is `(all)`; with `split` n, each folder n levels below it is a partition of its own."""

    path: str
    split: int = 0


def partition_expression(prefixes: Sequence[OwnedPrefix]) -> tuple[str, dict[str, str]]:
    """A SQL expression over the column `key` that gives the partition or NULL, and its parameters.

    `uploads/` is one partition. `uploads/` split by 2 is one for each `uploads/2026/11/`, and `uploads/(rest)` for what lies
    higher up; no folder can have that name, since folders end in `/`.
    """
    if any(prefix.path == WHOLE_BUCKET for prefix in prefixes):
        return "$whole_bucket", {"whole_bucket": WHOLE_BUCKET}
    cases = []
    parameters: dict[str, str] = {}
    for number, prefix in enumerate(prefixes):
        path = f"prefix_{number}"
        parameters[path] = prefix.path
        cases.append(f"WHEN starts_with(key, ${path}) THEN {_partition_below(path, prefix.split)}")
    return f"CASE {' '.join(cases)} END", parameters


def _partition_below(path: str, split: int) -> str:
    if split == 0:
        return f"${path}"
    below = f"string_split(substr(key, length(${path}) + 1), '/')"
    folders = f"array_to_string({below}[1:{split}], '/')"
    return (
        f"CASE WHEN len({below}) > {split} AND NOT regexp_matches({folders}, '{UNUSABLE_IN_A_PARTITION}') "
        f"THEN ${path} || {folders} || '/' ELSE ${path} || '{REMAINDER}' END"
    )
