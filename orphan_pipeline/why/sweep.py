"""What one sweep says of one key: its object, its references, those that only resemble it, its hold or its plan. Reads the lake, and of
each file only the row groups that can hold the key."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.duck import rows
from orphan_pipeline.inventory.columns import CURRENT
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.orphans.forms import forms_of
from orphan_pipeline.orphans.lax import alike_sql, with_form, with_forms
from orphan_pipeline.orphans.protection import protecting_glob
from orphan_pipeline.orphans.resembling import every_combination

MOST_REFERENCES = 100
"""References of one key that are told one by one; the others are counted."""

OBJECT = f"""
SELECT size, last_modified, etag, storage_class, is_multipart, prefix
FROM read_parquet($files, hive_partitioning = false) WHERE key = $key AND {CURRENT}
"""
FORM = "SELECT hash(form) FROM ({with_form})"
THE_KEY = "(SELECT $key AS key)"
PLACES = """
SELECT file, row FROM read_parquet($forms, hive_partitioning = false) WHERE form = $form ORDER BY file, row
"""
PLACES_WITHOUT_FORMS = """
SELECT file_index::INTEGER AS file, file_row_number AS row
FROM ({with_form}) WHERE form = (SELECT form FROM ({with_form_of_key})) ORDER BY file, row
"""
REFERENCES = "(SELECT key, file_index, file_row_number FROM read_parquet($files, hive_partitioning = false))"
EQUAL_UNDER = "SELECT {alike} FROM ({one}) AS one, ({other}) AS other"
PROTECTED_BY = "SELECT {protected_by} FROM (SELECT $key AS key)"
HELD = """
SELECT * FROM read_parquet($file, hive_partitioning = false) WHERE key = $key
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """The inventory's row. `prefix` is None for an object that no declared prefix owns."""

    size: int
    last_modified: datetime
    etag: str
    storage_class: str
    is_multipart: bool
    prefix: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundReference:
    """`view` is empty where the key itself is referenced, else what makes the two equal."""

    key: str
    source: str
    row_id: str
    derived: bool
    view: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundOrphan:
    """`hold` is None for an orphan of the plan, and `chunk` is None for one that is held. Evidence as in the files of the sweep."""

    hold: str | None
    chunk: int | None
    ready_at: datetime | None
    protected_by: str | None
    restored_at: datetime | None
    resembles: str | None
    view: str | None
    first_seen: datetime
    sightings: int
    sighted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundReferences:
    """`counted`: all of them and those that resemble, of which MOST_REFERENCES at most are told."""

    exact: tuple[FoundReference, ...]
    resembling: tuple[FoundReference, ...]
    counted: int


def find_object(connection: duckdb.DuckDBPyConnection, sweep: SweepFolder, key: str) -> FoundObject | None:
    names = ("size", "last_modified", "etag", "storage_class", "is_multipart", "prefix")
    found = rows(connection, OBJECT, {"files": sweep.parquet("inventory"), "key": key})
    return FoundObject(**dict(zip(names, found[0], strict=True))) if found else None


def find_references(connection: duckdb.DuckDBPyConnection, sweep: SweepFolder, key: str, hosts: Sequence[str]) -> FoundReferences:
    """By the forms of the sweep; without them, or where another release made them, by reading every key."""
    files = sweep.parquet("references")
    of_key, parameters = with_form(THE_KEY, hosts)
    forms = forms_of(sweep, hosts)
    if forms is not None:
        [(form,)] = rows(connection, FORM.format(with_form=of_key), {**parameters, "key": key})
        places = rows(connection, PLACES, {"forms": forms, "form": form})
    else:
        of_reference, _ = with_form(REFERENCES, hosts)
        query = PLACES_WITHOUT_FORMS.format(with_form=of_reference, with_form_of_key=of_key)
        places = rows(connection, query, {**parameters, "files": files, "key": key})
    found = [FoundReference(**line) for line in _at(files, places[:MOST_REFERENCES])]
    exact = tuple(one for one in found if one.key == key)
    # A hash can be shared by strangers, and a form by keys that differ in their queries; these have no view.
    views = [(one, _view(connection, key, one.key, hosts)) for one in found if one.key != key]
    resembling = tuple(replace(one, view=view) for one, view in views if view is not None)
    return FoundReferences(exact=exact, resembling=resembling, counted=len(places) - len(found) + len(exact) + len(resembling))


def _at(files: Sequence[str], places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """The rows at these places (file, row), ordered, each row group read once."""
    found: list[dict[str, Any]] = []
    for number in dict.fromkeys(number for number, _ in places):
        file = pq.ParquetFile(files[number])
        wanted = [row for of, row in places if of == number]
        first = 0
        for group in range(file.num_row_groups):
            after = first + file.metadata.row_group(group).num_rows
            inside = [row - first for row in wanted if first <= row < after]
            if inside:
                table = file.read_row_group(group, columns=["key", "source", "row_id", "derived"])
                found += table.take(pa.array(inside)).to_pylist()
            first = after
    return found


def _view(connection: duckdb.DuckDBPyConnection, key: str, reference: str, hosts: Sequence[str]) -> str | None:
    """The fewest views that make the two equal."""
    for views in every_combination():
        one, parameters = with_forms(THE_KEY, hosts, views)
        other, _ = with_forms("(SELECT $reference AS key)", hosts, views)
        query = EQUAL_UNDER.format(one=one, other=other, alike=alike_sql("one", "other", views))
        if rows(connection, query, {**parameters, "key": key, "reference": reference}) == [(True,)]:
            return "+".join(views)
    return None


def protected_by(connection: duckdb.DuckDBPyConnection, key: str, globs: Sequence[str], own_prefixes: Sequence[str]) -> str | None:
    """The glob or the own prefix that protects the key now."""
    expression, parameters = protecting_glob(globs, own_prefixes)
    found: str | None = rows(connection, PROTECTED_BY.format(protected_by=expression), {**parameters, "key": key})[0][0]
    return found


def find_orphan(connection: duckdb.DuckDBPyConnection, sweep: SweepFolder, prefixes: Sequence[str], key: str) -> FoundOrphan | None:
    """In the files of the prefixes that may own it."""
    for file in (file for prefix in prefixes for file in sorted(sweep.prefix_files(prefix).glob("*.parquet"))):
        names = pq.read_schema(file).names
        for line in rows(connection, HELD, {"file": str(file), "key": key}):
            found = dict(zip(names, line, strict=True))
            # A plan has no evidence of a hold, and an older release wrote less of it.
            return FoundOrphan(**{name: found.get(name) for name in FoundOrphan.__dataclass_fields__})  # type: ignore[arg-type]
    return None
