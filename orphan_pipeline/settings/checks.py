"""What single values must look like: names, prefixes, globs, templates, URLs.

Each function returns the value or raises. What holds between several settings belongs in `model`.
"""

import re
import string
from collections.abc import Iterator, Sequence
from itertools import combinations
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pathspec.patterns.gitignore.base import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from orphan_pipeline.settings.cron import wrong_with_cron
from orphan_pipeline.settings.json_paths import BadJsonPath, JsonPath
from orphan_pipeline.settings.values import mistake

WHOLE_BUCKET = "(all)"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFERENCE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
_SQL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_OWNER = re.compile(r"team:[A-Za-z0-9_.-]+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
_PLACEHOLDERS = ("up", "dir", "stem", "suffix", "key")


def identifier(name: str) -> str:
    """The name as asset keys and job names hold it: every character outside A-Z, a-z, 0-9 and _ becomes _."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def wrong_with_names(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, what is wrong with it) for names of buckets or databases."""
    for name in names:
        if not _NAME.fullmatch(name):
            yield name, "expected a name of letters, digits, '.', '_' and '-', beginning with a letter or digit"
    for first, second in combinations(names, 2):
        if identifier(first) == identifier(second):
            yield second, f"{first} and {second} become the same identifier {identifier(first)}, expected another name"


def reference_name(text: str) -> str:
    if not _REFERENCE_NAME.fullmatch(text):
        raise mistake("expected a name of a-z, 0-9 and _, beginning with a letter")
    return text


def bucket_name(text: str) -> str:
    if not _BUCKET.fullmatch(text) or ".." in text:
        raise mistake("expected a bucket's name: 3 to 63 letters, digits, '.', '_' or '-'")
    return text


def region_name(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise mistake("expected a region such as eu-west-1")
    return text


def endpoint_url(text: str) -> str:
    """The URL without a trailing slash."""
    expected = mistake("expected http(s)://host[:port], without path, query or user")
    try:
        url = urlsplit(text)
        right = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError as wrong:
        raise expected from wrong
    if not right or url.path not in ("", "/") or "?" in text or "#" in text or "@" in text or re.search(r"\s", text):
        raise expected
    return f"{url.scheme}://{url.netloc}"


def report_location(text: str) -> str:
    bucket, _, key = text.removeprefix("s3://").partition("/")
    if not text.startswith("s3://") or not _BUCKET.fullmatch(bucket) or not re.fullmatch(r"[^/].*/(manifest\.json)?", key):
        raise mistake("expected s3://bucket/prefix/ or s3://bucket/…/manifest.json")
    return text


def quarantine_location(text: str) -> str:
    bucket, slash, prefix = text.removeprefix("s3://").partition("/")
    if not text.startswith("s3://") or not _BUCKET.fullmatch(bucket) or not slash or not re.fullmatch(r"([^/\x00-\x1f\x7f]+/)*", prefix):
        raise mistake("expected s3://bucket/prefix/ or s3://bucket/")
    return text


def path_style(value: object) -> object:
    # `1 == True`: a number must not pass for a boolean
    if value is not True and value is not False and value != "auto":
        raise mistake("expected auto, true or false")
    return value


def prefix_path(text: str) -> str:
    if text == WHOLE_BUCKET:
        return text
    if not text.endswith("/") or text.startswith("/"):
        raise mistake("expected a prefix that ends in / and does not begin with /, or (all)")
    if "..." in text or re.search(r"[\x00-\x1f\x7f]", text):
        raise mistake("expected a prefix without control characters and three dots, which a Dagster partition cannot have")
    return text


def overlapping(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Positions of the pairs of prefixes of which one holds the other."""
    for (i, first), (j, second) in combinations(enumerate(paths), 2):
        if WHOLE_BUCKET in (first, second) or first.startswith(second) or second.startswith(first):
            yield i, j


def protect_glob(text: str) -> str:
    if text.startswith("!"):
        raise mistake("expected a glob that protects: one that begins with ! would take protection away")
    expected = mistake("expected a glob in gitignore's meaning, such as **/.keep")
    try:
        compiled = GitIgnoreSpecPattern(text)
    except (GitIgnorePatternError, re.error) as wrong:
        raise expected from wrong
    if "[:" in text:
        raise mistake("expected the characters themselves, such as [a-z], in place of a class by name")
    if not text.strip() or not compiled.include or compiled.regex is None:
        raise expected
    return text


def owner(text: str) -> str:
    if not _OWNER.fullmatch(text):
        raise mistake("expected an e-mail address or team:name")
    return text


def table_name(text: str) -> str:
    parts = text.split(".")
    if len(parts) > 2 or not all(_SQL_NAME.fullmatch(part) for part in parts):
        raise mistake("expected table or schema.table, as the database spells them, without quotes")
    return text


def column_name(text: str) -> str:
    if not _SQL_NAME.fullmatch(text):
        raise mistake("expected a column, as the database spells it, without quotes")
    return text


def sql_query(text: str) -> str:
    """The query without the semicolon at its end."""
    query = text.rstrip().removesuffix(";").rstrip()
    if not query.strip():
        raise mistake("expected a query that gives one column")
    if ";" in query:
        raise mistake("expected one query, without ;")
    return query


def sql_condition(text: str) -> str:
    if not text.strip():
        raise mistake("expected a condition such as deleted_at IS NULL")
    if ";" in text:
        raise mistake("expected one condition, without ;")
    return text.strip()


def absolute_path(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise mistake("expected an absolute path, since runs are started in many folders")
    return text


def export_path(text: str) -> str:
    if not absolute_path(text).endswith((".parquet", ".csv")):
        raise mistake("expected the absolute path of files that end in .parquet or .csv")
    return text


def json_path(text: str) -> str:
    try:
        JsonPath(text)
    except BadJsonPath as wrong:
        raise mistake(str(wrong)) from wrong
    return text


def non_empty(text: str) -> str:
    if not text:
        raise mistake("expected a text that is not empty")
    return text


def variant(text: str) -> str:
    known = "expected a template of {up}, {dir}, {stem}, {suffix} and {key}"
    try:
        fields = [(name, spec, how) for _, name, spec, how in string.Formatter().parse(text) if name is not None]
    except ValueError as wrong:
        raise mistake(known) from wrong
    if any(name not in _PLACEHOLDERS or spec or how for name, spec, how in fields) or "{{" in text or "}}" in text:
        raise mistake(known)
    if not {"key", "stem"} & {name for name, _, _ in fields}:
        raise mistake("expected a template that holds {key} or {stem}")
    if "*" in text and "{" not in text.partition("*")[0]:
        raise mistake("expected a placeholder such as {dir} or {key} before the first *")
    if "***" in text:
        raise mistake("expected * or **, not three of them")
    return text


def cron(text: str) -> str:
    wrong = wrong_with_cron(text)
    if wrong:
        raise mistake(wrong)
    return " ".join(text.split())


def timezone(text: str) -> str:
    if text not in available_timezones():
        raise mistake("expected a time zone such as UTC or Europe/Dublin")
    return text
