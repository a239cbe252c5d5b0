"""Which rows of a source an index can find that may hold given keys: SQL conditions, and the index that each stands on. A condition
only ever narrows the rows: it lets through every row that gives one of the keys and maybe others, and what a row really gives is read
out by the source's own statement. Which condition the planner really answers by an index is found out in `ways`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from psycopg import sql

from orphan_pipeline.settings.json_paths import JsonPath

STEP = re.compile(r'\.([A-Za-z_][A-Za-z0-9_]*)|\."((?:[^"\\]|\\.)+)"|(\[\*\])')
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

ColumnKind = Literal["jsonb", "text", "uuid", "array"]
COLUMN_KINDS: dict[str, ColumnKind] = {
    "jsonb": "jsonb",
    "text": "text",
    "varchar": "text",
    "uuid": "uuid",
    "_text": "array",
    "_varchar": "array",
}
"""By pg_type.typname. What is not here (json, bpchar, numbers) no index can be asked for text as it is."""

# One index lookup a key, whatever the planner thinks of a thousand containments in one condition; the rows are then fetched by where
# they lie. Partitions may share a ctid: more rows than asked for, which is no harm.
BY_PLACE = sql.SQL("ctid = ANY (ARRAY(SELECT narrow.ctid FROM unnest({raws}::text[]) AS asked(raw) CROSS JOIN LATERAL ({arms}) AS narrow))")
ARM = sql.SQL("SELECT n.ctid FROM {table} AS n WHERE {match}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way of asking: the condition for given raw values, and the indexes that make it quick. `one_by_one`: each raw value is
    looked up by itself, as `asked.raw`."""

    condition: Callable[[Sequence[str]], sql.Composable]
    indexes: tuple[sql.Composed, ...]
    one_by_one: bool


def forms_of_documents(*, table: sql.Identifier, column: str, json_paths: Sequence[str], partitioned: bool) -> list[Form]:
    """For a jsonb column: below the array's own member, or over the whole document; the first is the one to recommend."""
    paths = [_steps(str(JsonPath(path))) for path in json_paths]
    return [
        _document_form(table, column, paths, _arrows, partitioned=partitioned),
        _document_form(table, column, paths, _hash_arrow, partitioned=partitioned),
        _document_form(table, column, paths, None, partitioned=partitioned),
    ]


def form_of_column(*, table: sql.Identifier, column: str, kind: ColumnKind, partitioned: bool) -> Form:
    """For a column whose values are raw values themselves, or an array of them."""
    own = sql.Identifier(column)
    if kind == "array":
        arm = ARM.format(table=table, match=sql.SQL("n.{} @> ARRAY[asked.raw]").format(own))
        return Form(
            condition=lambda raws: BY_PLACE.format(raws=_array(raws), arms=arm),
            indexes=(_index(table, sql.SQL("USING gin ({})").format(own), partitioned=partitioned),),
            one_by_one=True,
        )
    index = _index(table, sql.SQL("({})").format(own), partitioned=partitioned)
    return Form(condition=lambda raws: equal_to_any(own, kind, raws), indexes=(index,), one_by_one=False)


def equal_to_any(value: sql.Composable, kind: ColumnKind, raws: Sequence[str]) -> sql.Composable:
    """`value` is one of the raw values, asked in its own type, so that an index on it can be used."""
    if kind == "uuid":  # a key that is not written as PostgreSQL writes uuids cannot come of one
        return sql.SQL("{} = ANY ({}::uuid[])").format(value, _array([raw for raw in raws if UUID.fullmatch(raw)]))
    return sql.SQL("{} = ANY ({}::text[])").format(value, _array(raws))


Step = str | None
"""A member's name, or None for an array's elements."""

Anchor = Callable[[sql.Composable, Sequence[str]], sql.Composable]
"""The value that lies below these members of a column."""


def _steps(path: str) -> list[Step]:
    steps: list[Step] = []
    for name, quoted, array in STEP.findall(path):
        steps.append(None if array else name or re.sub(r"\\(.)", r"\1", quoted))
    return steps


def _document_form(table: sql.Identifier, column: str, paths: list[list[Step]], anchor: Anchor | None, *, partitioned: bool) -> Form:
    own = sql.SQL("n.{}").format(sql.Identifier(column))
    arms = [
        ARM.format(table=table, match=sql.SQL("({}) @> {}").format(anchored, document))
        for anchored, documents in (_matches(own, path, anchor) for path in paths)
        for document in documents
    ]
    indexed = dict.fromkeys(
        sql.SQL("USING gin (({}) jsonb_path_ops)").format(_matches(sql.Identifier(column), path, anchor)[0]).as_string() for path in paths
    )
    return Form(
        condition=lambda raws: BY_PLACE.format(raws=_array(raws), arms=sql.SQL(" UNION ALL ").join(arms)),
        indexes=tuple(_index(table, sql.SQL(text), partitioned=partitioned) for text in indexed),
        one_by_one=True,
    )


def _matches(column: sql.Composable, path: list[Step], anchor: Anchor | None) -> tuple[sql.Composable, list[sql.Composable]]:
    """What is looked into, and every document whose containment in it could mean that the path gives the raw value there."""
    members = list(_leading_members(path)) if anchor else []
    anchored = anchor(column, members) if anchor and members else column
    return anchored, list(_documents(path[len(members) :]))


def _leading_members(path: Sequence[Step]) -> Iterator[str]:
    """Up to the first array; of a path without one all but the last, so that one index serves all members beside each other."""
    for step in path if None in path else path[:-1]:
        if step is None:
            return
        yield step


def _documents(path: Sequence[Step]) -> Iterator[sql.Composable]:
    """`[*]` also finds what stands in an array's place without an array around it (lax paths wrap it): both are asked for."""
    arrays = [place for place, step in enumerate(path) if step is None]
    for wrapped in product((True, False), repeat=len(arrays)):
        bare = {place for place, is_wrapped in zip(arrays, wrapped, strict=True) if not is_wrapped}
        document: sql.Composable = sql.SQL("to_jsonb(asked.raw)")
        for place in reversed(range(len(path))):
            step = path[place]
            if step is not None:
                document = sql.SQL("jsonb_build_object({}::text, {})").format(sql.Literal(step), document)
            elif place not in bare:
                document = sql.SQL("jsonb_build_array({})").format(document)
        yield document


def _arrows(column: sql.Composable, members: Sequence[str]) -> sql.Composable:
    return sql.SQL(" -> ").join([column, *map(sql.Literal, members)])


def _hash_arrow(column: sql.Composable, members: Sequence[str]) -> sql.Composable:
    return sql.SQL("{} #> {}::text[]").format(column, _array(members))


def _index(table: sql.Identifier, of: sql.Composable, *, partitioned: bool) -> sql.Composed:
    # A partitioned table's index cannot be made concurrently.
    return sql.SQL("CREATE INDEX {}ON {} {}").format(sql.SQL("" if partitioned else "CONCURRENTLY "), table, of)


def _array(values: Sequence[str]) -> sql.Composable:
    """One literal of PostgreSQL's own array syntax: thousands of literals take it, and the driver, several times as long."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return sql.Literal("{" + ",".join(f'"{value}"' for value in escaped) + "}")
