"""The rules of `key` backwards: which raw values could have given a key. For whoever asks a database about single keys, by an index on
the raw values; where the rules lose too much for that, the whole source must be read."""

from typing import assert_never

from orphan_pipeline.settings.model import Decode, DropQuery, KeyRules, Prepend, Strip


def raw_candidates(rules: KeyRules, column: str = "key") -> tuple[str, dict[str, str]] | None:
    """A DuckDB list expression and its parameters: every raw value that `key_sql` turns into the key in `column`. None where they are
    not a few: after `drop_query` and `decode`. Complete, not minimal. Knows nothing of `variants`."""
    values, parameters = f"[{column}]", dict[str, str]()
    for n, step in reversed(list(enumerate(rules.steps))):
        match step:
            case Strip(bases=bases):
                names = [f"candidate_{n}_{place}" for place in range(len(bases))]
                parameters.update(zip(names, bases, strict=True))
                each = ", ".join(["v", *(f"${name} || v" for name in names)])
                kept = f"[{each}]"
            case Prepend(prefix=prefix):
                parameters[f"candidate_{n}"] = prefix
                kept = f"CASE WHEN starts_with(v, $candidate_{n}) THEN [substr(v, {len(prefix) + 1})] ELSE [] END"
            case DropQuery() | Decode():
                return None
            case _:
                assert_never(step)
        values = f"flatten(list_transform({values}, lambda v: {kept}))"
    return f"list_distinct({values})", parameters
