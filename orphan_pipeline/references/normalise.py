"""What a raw value means as a key: the source's `key` rules as one DuckDB expression, the only function for it in this
system. A value that the rules do not turn into a key ends the sweep; it is never guessed at. Which rules there are
belongs in `settings`.

Keys are exact: nothing is trimmed, folded or decoded that no rule names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.func import PythonUDFType
from duckdb.sqltypes import VARCHAR as TEXT

from orphan_pipeline.references.refusals import LONGEST_SHOWN, one_line, shown
from orphan_pipeline.settings.key_rules import Decode, DropQuery, KeyRules, LeadingSlash, Prepend, Strip, Unicode

# What url_decode lets through as it is: a `%` without two hex digits.
BROKEN_ESCAPE = "%(?:[^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f]|[0-9A-Fa-f]?$)"

# What stands for nothing at an end of a text: controls, Unicode's blanks, and what has no width. By code points, first and last.
BLANKS = (
    (0x00, 0x20),
    (0x7F, 0xA0),
    (0xAD, 0xAD),
    (0x1680, 0x1680),
    (0x180E, 0x180E),
    (0x2000, 0x200F),
    (0x2028, 0x202F),
    (0x205F, 0x2064),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
)
BLANK = "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in BLANKS) + "]"

# Leading blanks count as part of a URL here: browsers and drivers drop them, so applications store them.
URL = rf"^{BLANK}*(?:[A-Za-z][A-Za-z0-9+.-]*://|//[^/])"
BASE = re.compile(
    "[" + "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in BLANKS) + "]*"
    r"((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)(?:[^/?#]*@)?([^/?#]*)"
)

# Encoded twice, an array of keys is one text. So is what another system writes for a list ({a,b}, ['a']), and what a column was too short
# for: cut, it lacks its end. `[draft] a.pdf` is none of these.
JSON = (
    rf"(?s)^{BLANK}*(?:\[.*\]|\{{.*\}}|\x22.*\x22){BLANK}*$"
    rf"|^{BLANK}*[\[{{](?:{BLANK}|[\[{{])*[\x22\x27]"
)
BEGINS_JSON = {b"[", b"{", b'"', *(chr(n).encode()[:1] for first, last in BLANKS for n in range(first, last + 1))}
"""The first bytes that such a text may have."""

# Of a URL with one of these hosts, however it is written.
WITH_HOST = rf"(?i)^{BLANK}*(?:[A-Z][A-Z0-9+.-]*:)?//(?:[^/?#]*@)?(?:{{hosts}})\.*(?::[0-9]*)?(?:[/?#\\]|{BLANK}|$)"

KeyProblem = Literal["undecodable", "empty", "foreign", "json"]


@dataclass(frozen=True, slots=True)
class KeySql:
    """Expressions over one column: `key` (NULL if there is none), and `problem` (a `KeyProblem`, or NULL). Both NULL: a foreign URL that
    `ignore_foreign` excuses; it yields no key and is counted.

    `parameters` are named; each stands in `key`, and so in whatever statement uses both."""

    key: str
    problem: str
    parameters: dict[str, str]


def teach(connection: duckdb.DuckDBPyConnection) -> None:
    """Gives a connection the functions that `key_sql` uses beyond DuckDB's own; to be called once on each."""
    # DuckDB knows no NFD, and its nfc_normalize cuts a text at a NUL.
    for name, function in (("to_nfc", _nfc), ("to_nfd", _nfd)):
        connection.create_function(name, function, [TEXT], TEXT, type=PythonUDFType.ARROW)


def none_is_json(values: "pa.ChunkedArray[pa.StringScalar]") -> bool:
    """Whether that shows by the first bytes of the values alone."""
    return BEGINS_JSON.isdisjoint(pc.binary_slice(values.cast(pa.binary()), 0, 1).unique().to_pylist())


def key_sql(rules: KeyRules, column: str = "raw", *, json_may_be_key: bool = False) -> KeySql:
    """The rules in their order.

    strip          takes away the longest of its bases that the value begins with; a value without any stays as it is
    drop_query     takes away everything from the first `?` or `#` on, of every value: not for keys that hold either
    decode         percent: `%41` is `A`; `+` stays a plus; an escape that is broken, or no UTF-8, is a problem. form: `+` is a space too
    unicode        nfc, nfd: the value in that form
    leading_slash  drop: takes away one `/` at the beginning; add: puts one where there is none
    prepend        goes before every value

    After the rules, and before anything is prepended or a slash is dropped or added, a value that is empty or still a URL is a problem.
    So is a raw value that is JSON, and what is JSON once it is decoded, unless `json_may_be_key`.
    Only strip, drop_query, decode, unicode and leading_slash can make one key of two values: nothing else ever does.
    """
    value, parameters = column, dict[str, str]()
    # With a prefix before it a foreign URL would pass for a key, and the object it means for an orphan.
    empty: list[str] = []
    foreign: list[str] = []
    undecoded: list[str] = []
    written = [column]
    last_strip = max((n for n, step in enumerate(rules.steps) if isinstance(step, Strip)), default=-1)
    for n, step in enumerate(rules.steps):
        match step:
            case Strip(bases=bases):
                parameters[f"strip_{n}"] = f"^(?:{_any_of(bases)})"
                value = f"regexp_replace({value}, $strip_{n}, '')"
            case DropQuery():
                value = f"regexp_replace({value}, '(?s)[?#].*', '')"
            case Decode(how=how):
                if n > last_strip:  # no base can be taken off any more: somebody else's URL need not decode
                    undecoded.append(value)
                if how == "form":
                    value = f"replace({value}, '+', ' ')"
                broken = f"regexp_matches({value}, '{BROKEN_ESCAPE}')"
                value = f"CASE WHEN {broken} THEN NULL ELSE TRY(url_decode({value})) END"
                written.append(value)
            case Unicode(form=form):
                value = f"to_{form}({value})"
            case LeadingSlash(what=what):
                foreign.append(value)
                empty.append(value)
                # Neither has a NULL of its own: of `decode`, say, it must come out again.
                drop, add = f"regexp_replace({value}, '^/', '')", f"regexp_replace({value}, '^/?', '/')"
                value = drop if what == "drop" else add
            case Prepend(prefix=prefix):
                foreign.append(value)
                empty.append(value)
                parameters[f"prepend_{n}"] = prefix
                value = f"($prepend_{n} || {value})"
            case _:
                assert_never(step)
    was_foreign = " OR ".join(f"regexp_matches({text}, '{URL}')" for text in [*foreign, *undecoded, value])
    is_empty = " OR ".join(f"{text} = ''" for text in [*empty, value])
    gone = f"CASE WHEN coalesce({was_foreign}, false) THEN 'foreign' ELSE 'undecodable' END"
    problem = f"CASE WHEN {value} IS NULL THEN {gone} WHEN {is_empty} THEN 'empty' WHEN {was_foreign} THEN 'foreign' END"
    is_json = "false" if json_may_be_key else " OR ".join(f"regexp_matches({text}, '{JSON}')" for text in written)
    if rules.ignore_foreign is False:
        return KeySql(value, f"CASE WHEN {is_json} THEN 'json' ELSE {problem} END", parameters)
    may_be = "true"
    if rules.ignore_foreign is not True:
        parameters["ignored"] = f"^(?:{_any_of(rules.ignore_foreign)})"
        may_be = f"regexp_matches({column}, $ignored)"
    elif hosts := _hosts(rules):
        # Not the bucket's own: with another scheme or port, in capitals, or behind a blank, none of its bases was taken off.
        parameters["own"] = WITH_HOST.replace("{hosts}", _any_of(hosts))
        was_own = " OR ".join(f"regexp_matches({text}, $own)" for text in [*foreign, *undecoded, value])
        may_be = f"NOT coalesce({was_own}, false)"
    excused = f"CASE WHEN {was_foreign} THEN {may_be} ELSE false END"
    return KeySql(
        f"CASE WHEN {excused} THEN NULL ELSE {value} END",
        f"CASE WHEN {is_json} THEN 'json' WHEN {excused} THEN NULL ELSE {problem} END",
        parameters,
    )


def _hosts(rules: KeyRules) -> list[str]:
    """Of the bases that are taken off, without ports."""
    hosts = {re.sub(r"\.*(:[0-9]*)?$", "", authority) for authority in authorities(rules)}
    return sorted(host for host in hosts if host)


def authorities(rules: KeyRules) -> set[str]:
    """Host and port of each base that is taken off, in lower case; where one has no scheme, its first part."""
    bases = [base for step in rules.steps if isinstance(step, Strip) for base in step.bases]
    found = [BASE.match(base if "//" in base else f"//{base}") for base in bases]
    return {match[2].lower() for match in found if match and match[2]}


def _any_of(bases: Sequence[str]) -> str:
    """A regular expression for any of these texts, the longest first."""
    return "|".join(map(re.escape, sorted(bases, key=len, reverse=True)))


def _nfc(values: Any) -> Any:
    return _in_form("NFC", values)


def _nfd(values: Any) -> Any:
    return _in_form("NFD", values)


def _in_form(form: Literal["NFC", "NFD"], values: Any) -> Any:
    return pc.call_function("utf8_normalize", [values], pc.Utf8NormalizeOptions(form))


def explain(problem: KeyProblem, raw: str) -> str:
    """What is wrong with a raw value, and which setting would mend it. Of a URL only scheme and host are shown."""
    match problem:
        case "undecodable":
            return f"{shown(raw)!r} does not percent-decode to UTF-8; if it is a key as it is, take decode out of key"
        case "empty":
            return f"{_base(raw) or shown(raw)!r} leaves an empty key by the rules under key; correct the row or the rules"
        case "json":
            return (
                f"{shown(raw)!r} is JSON in the form of a text, and whatever it names would be lost; correct the row, or take its keys by "
                "json_paths or sql (if it is a key as it is: by pattern)"
            )
        case "foreign":
            base = _base(raw)
            if base is None:
                return "becomes a URL under no declared base by the rules under key; should decode stand before strip?"
            return f'a URL under no declared base, {base}…; if it is the bucket\'s, add "{base}" to key.strip'


def _base(raw: str) -> str | None:
    match = BASE.match(raw)
    return one_line(f"{match[1]}{match[2]}/", LONGEST_SHOWN) if match else None
