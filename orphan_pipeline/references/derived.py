"""Which objects a glob among the `variants` keeps: as SQL for DuckDB, exact, and linear in objects and keys.

A glob is no row of the reference snapshot, since it stands for keys that nobody has listed. What lies before its first `*` is text once
the key is known; an object can only be matched if it begins so, and where such a beginning can end in the object's key is known too:
behind the character that the template has before the `*`. So objects are joined with keys on equal beginnings, never one by one.
Who is asked, and when, belongs in `orphans` and in the re-check.
"""

import re

from orphan_pipeline.references.variants import PLACEHOLDER, filled_sql

MATCHES = """
WITH parents AS (
    SELECT {head} AS head, {rest} AS rest, min(key) AS parent FROM {parents} GROUP BY ALL
), begun AS (
    SELECT key, unnest({beginnings}) AS head FROM {objects}
)
SELECT begun.key, min(parents.parent) AS parent FROM begun JOIN parents USING (head) WHERE {matched} GROUP BY begun.key
"""

# Nothing stands between the placeholder and the `*`: each length that some beginning has is tried.
LENGTHS = "(SELECT list(DISTINCT length(head)) FROM parents)"


def glob_matches_sql(template: str, *, objects: str, parents: str) -> tuple[str, dict[str, str]]:
    """A query for (key, parent), and its parameters: each key of `objects` that the template matches for a key of `parents`, and one such.

    Both are names of relations with a column `key`. In a template `*` is any text without `/`, a `**` any text; in keys
    they are only characters.
    """
    head, star, rest = template.partition("*")
    rest = star + rest
    parameters: dict[str, str] = {}
    literal_end = PLACEHOLDER.split(head)[-1]
    if literal_end:
        # One character, since what is looked for could overlap itself.
        parameters["last"] = literal_end[-1]
        pieces = "string_split(key, $last)"
        beginnings = f"list_transform(range(1, len({pieces})), lambda n: array_to_string({pieces}[1:n], $last) || $last)"
    else:
        beginnings = f"list_transform(list_filter({LENGTHS}, lambda n: n <= length(key)), lambda n: left(key, n))"
    remainder = "substr(begun.key, length(begun.head) + 1)"
    if rest == "**":
        rest_sql, matched = "''", "true"
    elif "**" not in rest:
        # With as many slashes as the pattern has, none is left for a `%` to stand for.
        rest_sql = " || '%' || ".join(f"({_escaped(part, parameters)})" for part in rest.split("*"))
        matched = f"like_escape({remainder}, parents.rest, chr(92)) AND {_slashes(remainder)} = {_slashes('parents.rest')}"
    else:
        parts = re.split(r"(\*\*?)", rest)
        meaning = {"*": "'[^/]*'", "**": "'(?s:.*)'"}
        rest_sql = " || ".join(meaning.get(part) or f"regexp_escape({filled_sql(part, parameters)})" for part in parts)
        matched = f"regexp_full_match({remainder}, parents.rest)"
    query = MATCHES.format(
        head=filled_sql(head, parameters), rest=rest_sql, beginnings=beginnings, matched=matched, objects=objects, parents=parents
    )
    return query, parameters


def _escaped(part: str, parameters: dict[str, str]) -> str:
    return f"regexp_replace({filled_sql(part, parameters)}, '([%_\\\\])', '\\\\\\1', 'g')"


def _slashes(text: str) -> str:
    return f"length({text}) - length(replace({text}, '/', ''))"
