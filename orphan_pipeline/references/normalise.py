"""What a raw value means as a key: the source's `key` rules as one DuckDB expression, the only function for it in this
system. A value that the rules do not turn into a key ends the sweep; it is never guessed at. Which rules there are
belongs in `settings`.

Keys are exact: nothing is trimmed, folded or decoded that no rule names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from orphan_pipeline.references.refusals import LONGEST_SHOWN, one_line, shown
from orphan_pipeline.settings.model import Decode, DropQuery, KeyRules, Prepend, Strip

# What url_decode lets through as it is: a `%` without two hex digits.
BROKEN_ESCAPE = "%(?:[^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f]|[0-9A-Fa-f]?$)"

# Leading blanks count as part of a URL here: browsers and drivers drop them, so applications store them.
URL = r"^[ \t\r\n\f]*(?:[A-Za-z][A-Za-z0-9+.-]*://|//[^/])"
BASE = re.compile(r"[ \t\r\n\f]*((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)(?:[^/?#]*@)?([^/?#]*)")

PLACEHOLDER = re.compile(r"\{(dir|stem|suffix|key)\}")

KeyProblem = Literal["undecodable", "empty", "foreign"]


@dataclass(frozen=True, slots=True)
class KeySql:
    """Expressions over one column: `key` (NULL if it does not decode), and `problem` (a `KeyProblem`, or NULL).

    `parameters` are named; each stands in `key`, and so in whatever statement uses both."""

    key: str
    problem: str
    parameters: dict[str, str]


def key_sql(rules: KeyRules, column: str = "raw") -> KeySql:
    """The rules in their order.

    strip      takes away the longest of its bases that the value begins with; a value without any stays as it is
    drop_query takes away everything from the first `?` or `#` on, of every value: not for keys that hold either
    decode     percent: `%41` is `A`; `+` stays a plus; an escape that is broken, or no UTF-8, is a problem
    prepend    goes before every value

    After the rules, and before anything is prepended, a value that is empty or still a URL is a problem.
    """
    value, parameters = column, dict[str, str]()
    checked: list[str] = []
    for n, step in enumerate(rules.steps):
        match step:
            case Strip(bases=bases):
                parameters[f"strip_{n}"] = f"^(?:{'|'.join(map(re.escape, sorted(bases, key=len, reverse=True)))})"
                value = f"regexp_replace({value}, $strip_{n}, '')"
            case DropQuery():
                value = f"regexp_replace({value}, '(?s)[?#].*', '')"
            case Decode():
                broken = f"regexp_matches({value}, '{BROKEN_ESCAPE}')"
                value = f"CASE WHEN {broken} THEN NULL ELSE TRY(url_decode({value})) END"
            case Prepend(prefix=prefix):
                # With a prefix before it a foreign URL would pass for a key, and the object it means for an orphan.
                checked.append(value)
                parameters[f"prepend_{n}"] = prefix
                value = f"($prepend_{n} || {value})"
            case _:
                assert_never(step)
    checked.append(value)
    empty = " OR ".join(f"{text} = ''" for text in checked)
    foreign = " OR ".join(f"regexp_matches({text}, '{URL}')" for text in checked)
    problem = f"CASE WHEN {value} IS NULL THEN 'undecodable' WHEN {empty} THEN 'empty' WHEN {foreign} THEN 'foreign' END"
    return KeySql(value, problem, parameters)


def variants_sql(templates: Sequence[str], column: str = "key") -> tuple[str, dict[str, str]]:
    """A list expression of the keys that live as long as `column`'s, one for each template, and its parameters.

    {key} is the key; {dir} all up to and including its last `/`; {suffix} from the last `.` of the name behind it,
    unless the name begins with that dot; {stem} the name without the suffix.
    """
    folder = f"regexp_extract({column}, '^(?s:.*/)?')"
    suffix = rf"regexp_extract({column}, '[^/](\.[^./]*)$', 1)"
    stem = f"substr({column}, length({folder}) + 1, length({column}) - length({folder}) - length({suffix}))"
    meaning = {"key": column, "dir": folder, "suffix": suffix, "stem": stem}
    parameters: dict[str, str] = {}
    made = []
    for template in templates:
        parts = []
        for n, part in enumerate(PLACEHOLDER.split(template)):
            if n % 2:
                parts.append(meaning[part])
            elif part:
                name = f"variant_{len(parameters)}"
                parameters[name] = part
                parts.append(f"${name}")
        made.append(" || ".join(parts))
    return f"[{', '.join(made)}]::VARCHAR[]", parameters


def explain(problem: KeyProblem, raw: str) -> str:
    """What is wrong with a raw value, and which setting would mend it. Of a URL only scheme and host are shown."""
    match problem:
        case "undecodable":
            return f"{shown(raw)!r} does not percent-decode to UTF-8; if it is a key as it is, take decode out of key"
        case "empty":
            return f"{_base(raw) or shown(raw)!r} leaves an empty key by the rules under key; correct the row or the rules"
        case "foreign":
            base = _base(raw)
            if base is None:
                return "becomes a URL under no declared base by the rules under key; should decode stand before strip?"
            return f'a URL under no declared base, {base}…; if it is the bucket\'s, add "{base}" to key.strip'


def _base(raw: str) -> str | None:
    match = BASE.match(raw)
    return one_line(f"{match[1]}{match[2]}/", LONGEST_SHOWN) if match else None
