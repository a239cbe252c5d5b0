"""The rules of `key` backwards: which raw values could have given a key. For whoever asks a database about single keys, by an index on
the raw values; where the rules lose too much for that, the whole source must be read."""

from typing import assert_never

from orphan_pipeline.settings.key_rules import Decode, DropQuery, KeyRules, LeadingSlash, Prepend, Strip, Unicode

SLASH_DROPPED = "CASE WHEN starts_with(v, '/') THEN ['/' || v] ELSE [v, '/' || v] END"
SLASH_ADDED = "CASE WHEN NOT starts_with(v, '/') THEN [] WHEN starts_with(v, '//') THEN [v] ELSE [v, substr(v, 2)] END"


def raw_candidates(rules: KeyRules, column: str = "key") -> tuple[str, dict[str, str]] | None:
    """A DuckDB list expression and its parameters: every raw value that `key_sql` turns into the key in `column`. None where they are
    not a few: after `drop_query`, `decode` and `unicode`.

    Complete: what is not in the list gives another key, or none. Not minimal: a value in it may be one that the rules refuse, a foreign
    URL for instance, which no complete snapshot can hold. Knows nothing of `variants`.
    """
    values, parameters = f"[{column}]", dict[str, str]()
    for n, step in reversed(list(enumerate(rules.steps))):
        match step:
            case Strip(bases=bases):
                # Longest first, as they are tried: of `a` and `ab`, `abc` never was `a` before `bc`.
                ordered = sorted(bases, key=len, reverse=True)
                names = [f"candidate_{n}_{place}" for place in range(len(ordered))]
                parameters.update(zip(names, ordered, strict=True))
                each = ["v", *(f"${name} || v" for name in names)]
                begins = [f"starts_with(r, ${name})" for name in names]
                first = "CASE " + " ".join(
                    f"WHEN {begin} THEN substr(r, {len(base) + 1})" for begin, base in zip(begins, ordered, strict=True)
                )
                kept = f"list_filter([{', '.join(each)}], lambda r: {first} ELSE r END = v)"
            case Prepend(prefix=prefix):
                parameters[f"candidate_{n}"] = prefix
                kept = f"CASE WHEN starts_with(v, $candidate_{n}) THEN [substr(v, {len(prefix) + 1})] ELSE [] END"
            case LeadingSlash(what=what):
                kept = SLASH_DROPPED if what == "drop" else SLASH_ADDED
            case DropQuery() | Decode() | Unicode():
                return None
            case _:
                assert_never(step)
        values = f"flatten(list_transform({values}, lambda v: {kept}))"
    return f"list_distinct({values})", parameters
