"""Rule 6: when two keys that are not equal may still mean the same object. Each view is one way in which an application, a proxy or a
person writes a key differently; `lax_form` composes views into one form, so that two keys that any of them, or any combination, makes
equal have equal forms. As SQL, the only form of it in this system.

| view | what it takes for equal |
|---|---|
| percent | a key and its percent-encodings, however often encoded; a value with an escape that is no UTF-8 stays as it is |
| plus | `+` and a space |
| nfc | the composed and the decomposed form of one character |
| case | upper and lower case (and `ß` and `ss`) |
| blank | a key with blanks before it, behind it, or before its `?` or `#`, and the key (Unicode's blanks, controls, what has no width) |
| slashes | a key with leading slashes, with several slashes in a row, or with backslashes, and the key with one slash |
| host | a URL, or a key behind the bucket's name or another known host, and the key |
| query | a key with `?…` or `#…` behind it, and the key; not two keys that differ in what each has there |

Forms are compared with forms only, and never stored without `FORM_ID`: what makes them may change from version to version.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, get_args

import duckdb

from orphan_pipeline.references.normalise import BLANK

View = Literal["percent", "plus", "nfc", "case", "blank", "slashes", "host", "query"]
VIEWS: tuple[View, ...] = get_args(View)

FORM_VERSION = 2
FORM_ID = f"lax {FORM_VERSION}, hash of duckdb {duckdb.__version__}"
"""What made a stored hash of a form. DuckDB's hash() differs between its versions (seen between 1.1.3 and 1.4.4)."""

# An escape that gives a percent sign or a hexadecimal digit: only such a one can leave an escape to be decoded behind it.
ENCODED_AGAIN = "%(?:25|3[0-9]|[46][1-6])"
# No backslash: it may stand for the slash behind the host.
SCHEME_AND_HOST = r"[A-Za-z][A-Za-z0-9.-]*:/+[^/?#%\\]+/+"

# Looking at both ends first takes a tenth of looking for blanks anywhere.
AROUND = rf"^{BLANK}+|{BLANK}+$|{BLANK}+([?#])"
MAY_BE_AROUND = f"regexp_matches(form, '^{BLANK}') OR regexp_matches(form, '{BLANK}$') OR contains(form, '?') OR contains(form, '#')"

# Whatever NFC can change: marks, the parts of Hangul syllables, and characters that it replaces (NFC_Quick_Check is No). NFC itself takes
# 2 microseconds a key, this a twentieth.
NOT_SURELY_NFC = (
    r"[\p{M}\x{374}\x{37E}\x{387}\x{958}-\x{95F}\x{9DC}-\x{9DF}\x{A33}-\x{A5E}\x{B5C}\x{B5D}\x{F43}-\x{FB9}\x{1100}-\x{11FF}"
    r"\x{1F71}-\x{1FFD}\x{2000}\x{2001}\x{2126}\x{212A}\x{212B}\x{2329}\x{232A}\x{2ADC}\x{F900}-\x{FAFF}\x{FB1D}-\x{FB4E}"
    r"\x{16D63}-\x{16D6A}\x{105C9}\x{105E4}\x{1D15E}-\x{1D1C0}\x{2F800}-\x{2FA1F}]"
)
NOT_ASCII = "strlen(form) <> length(form)"
# DuckDB's nfc_normalize ends at a NUL (seen in 2.0).
NFC_PART_BY_PART = "array_to_string(list_transform(string_split(form, chr(0)), lambda part: nfc_normalize(part)), chr(0))"
NFC = (
    f"CASE WHEN {NOT_ASCII} AND regexp_matches(form, '{NOT_SURELY_NFC}') "
    f"THEN CASE WHEN contains(form, chr(0)) THEN {NFC_PART_BY_PART} ELSE nfc_normalize(form) END ELSE form END"
)

# By way of upper case, since two lower-case letters can share one (the two sigmas, the long s); the dot of a lowered Turkish I goes.
FOLDED = "replace(replace(lower(upper(form)), 'ß', 'ss'), 'i' || chr(775), 'i')"


def with_form(relation: str, hosts: Sequence[str], views: Collection[View] = VIEWS) -> tuple[str, dict[str, str]]:
    """A SQL query that gives all columns of `relation` (a name, or a query in parentheses) and `form`, the form of its column `key` under
    these views together; and its parameters. `hosts`: what stands before a key where somebody wrote it with the bucket's name or an
    address, in lower case, without slashes.

    Nearly all keys are ASCII with nothing to decode or to strip: those are only lowered. The others go through a chain of projections,
    each over the last one's `form`, so that nothing is evaluated twice; there a plain key is NULL, and each CASE is put so that
    NULL ends up in its ELSE: nothing is evaluated for it.
    """
    known = {f"lax_known_{n}": f"{host}/" for n, host in enumerate(hosts)}
    parameters = dict(known)
    stages = []
    if "percent" in views:
        stages.append(_decoded("query" in views))
    stages.append(_spaced(views))
    if "blank" in views:
        stages.append(f"CASE WHEN {MAY_BE_AROUND} THEN regexp_replace(form, '{AROUND}', '\\1', 'g') ELSE form END")
    if "nfc" in views:
        stages.append(NFC)
    if "case" in views:
        stages.append(f"CASE WHEN {NOT_ASCII} THEN {FOLDED} ELSE lower(form) END")
        if "nfc" in views:
            stages.append(NFC)
    leading = []
    if "slashes" in views:
        stages.append("replace(form, chr(92), '/')")
        stages.append("CASE WHEN contains(form, '//') THEN regexp_replace(form, '/+', '/', 'g') ELSE form END")
        leading.append("/+")
    if "blank" in views:
        leading.append(f"{BLANK}+")
    if "host" in views:
        leading += [SCHEME_AND_HOST, *(f"{re.escape(host)}/+" for host in hosts)]
    if leading:  # in any order: behind a host there may be blanks, and behind those a slash
        parameters["lax_leading"] = f"^(?:{'|'.join(leading)})+"
        stages.append("regexp_replace(form, $lax_leading, '')")
    # Lowered once, for both of its uses: by far the most of the work on a plain key.
    query = f"SELECT *, CASE WHEN {_is_odd(known)} THEN key END AS form FROM (SELECT *, lower(key) AS lowered FROM {relation})"
    for stage in stages:
        query = f"SELECT * REPLACE ({stage} AS form) FROM ({query})"
    plain = "lowered" if "case" in views else "key"
    return f"SELECT * EXCLUDE (lowered) REPLACE (coalesce(form, {plain}) AS form) FROM ({query})", parameters


def with_forms(relation: str, hosts: Sequence[str], views: Collection[View] = VIEWS) -> tuple[str, dict[str, str]]:
    """As `with_form`, and `whole`: the form under the same views but `query`. Names with a `#` share their form by the thousand;
    `alike_sql` and `BEFORE_A_QUERY` tell by `whole` which of them differ in more than that one has a query."""
    of_all, _ = with_form(relation, hosts, [view for view in views if view != "query"])
    return with_form(f"(SELECT * RENAME (form AS whole) FROM ({of_all}))", hosts, views)


BEFORE_A_QUERY = """
CASE WHEN contains(whole, '?') OR contains(whole, '#')
     THEN list_transform(list_filter(range(1, length(whole) + 1), lambda n: whole[n] IN ('?', '#')), lambda n: left(whole, n - 1))
     ELSE [] END
"""
"""What `whole` can be a query of: all that stands before one of its `?` and `#`."""

NOT_DECODED = "%[0-9A-Fa-f]{2}"
"""An escape in `whole` belongs to a value that did not decode. Without its query it might: then only the forms can be compared."""


def alike_sql(one: str, other: str, views: Collection[View] = VIEWS) -> str:
    """Whether these views make the keys of two rows with forms equal. `query` does if one key is the other and a query behind it."""
    alike = f"{one}.form = {other}.form"
    if "query" not in views:
        return alike
    wholes = f"{one}.whole", f"{other}.whole"
    ways = ["{} = {}".format(*wholes)]
    ways += [f"starts_with({long}, {short} || '{sign}')" for long, short in (wholes, wholes[::-1]) for sign in "?#"]
    if "percent" in views:
        ways += [f"regexp_matches({whole}, '{NOT_DECODED}')" for whole in wholes]
    return f"{alike} AND ({' OR '.join(ways)})"


def _spaced(views: Collection[View]) -> str:
    """Also the query that decoding has brought to light."""
    form = _without_query("form") if "query" in views else "form"
    return f"replace({form}, '+', ' ')" if "plus" in views else form


def _is_odd(known: Iterable[str]) -> str:
    """Whether more than lower() is needed: one look at the bytes for each sign, and no regular expression."""
    signs = [f"contains(key, '{sign}')" for sign in ("%", "+", "?", "#", "//", ":/", "\\")]
    hosts = [f"starts_with(lowered, ${name})" for name in known]
    ends = [f"{end} NOT BETWEEN '!' AND '~'" for end in ("key", "key[-1]")]
    return " OR ".join(["(strlen(key) <> length(key)", *signs, *hosts, *ends, "starts_with(key, '/'))"])


def _decoded(drop_query: bool) -> str:
    """Query and escapes in turns: decoding can bring a `?` to light, and without what follows it the rest may decode."""
    start, level = "form", "coalesce(TRY(url_decode(level)), level)"
    several = f"regexp_matches(form, '{ENCODED_AGAIN}')"
    if drop_query:
        start, level = _without_query(start), _without_query(level)
        several = f"{several} OR contains(form, '?') OR contains(form, '#')"
    level_by_level = (
        f"list_reduce(list_resize([{start}], 1 + strlen(form) // 2, ''), "
        f"lambda level, turn: CASE WHEN contains(level, '%') THEN {level} ELSE level END)"
    )
    once = "coalesce(TRY(url_decode(form)), form)"
    return f"CASE WHEN contains(form, '%') THEN CASE WHEN {several} THEN {level_by_level} ELSE {once} END ELSE form END"


def _without_query(expression: str) -> str:
    return f"split_part(split_part({expression}, '?', 1), '#', 1)"
