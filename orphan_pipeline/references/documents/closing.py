"""The same accounting as `verdicts`, for a whole document at once. Pure text; running it belongs in `extract`.

A document *closes* when a few cheap expressions show that every declared place holds nothing or one key, and every element of every
array exactly what it should. Its keys are then taken in one step. A document that does not close goes through the verdicts, element by
element; so closing may be too strict, never too lax. tests/integration/references holds the two against each other.

A statement gives one row for many: cells, row ids, and how many rows there were. A cell is a JSON array of the row's keys, `!` and a
problem, or `?`. Where one array with one path is all that there is, whether the keys are strings is not
asked here: who reads the cells sees that for nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from orphan_pipeline.references.documents.places import Node, Place, jsonpath, members, spelled
from orphan_pipeline.references.documents.verdicts import document_verdicts

CELLS_APART = "\n"
IDS_APART = "\x1f"
PROBLEM_MARK = "!"
OPEN_MARK = "?"

Way = Literal["whole", "mixed", "each"]
"""How a window's documents are accounted for: as a whole, where one that does not close gives only `?`; as a whole, and element by element
where one does not close; or each element by element. The shorter the statement, the less its planning costs: that is most of its time."""

WAYS: tuple[Way, ...] = ("whole", "mixed", "each")

# Fences: without OFFSET 0 the planner writes each expression out for each time that it is named.
WINDOW = """
SELECT CASE WHEN {fits} THEN convert_to(answer.cells, 'UTF8') END, CASE WHEN {fits} THEN convert_to(answer.ids, 'UTF8') END, answer.rows
FROM (SELECT string_agg({cell}, {cells_apart}) AS cells, string_agg({row_id}, {ids_apart}) AS ids, count(*) AS rows
      FROM {source} AS source OFFSET 0) AS answer
"""
FITS = "coalesce(octet_length(answer.cells) <= {most}, true)"

ROWS = "(SELECT {row_id} AS row_id, {document} AS document FROM {rows} OFFSET 0)"
WITH_ARRAYS = "(SELECT rows.*, {arrays} FROM {rows} AS rows OFFSET 0)"
WITH_FOUND = "(SELECT arrayed.*, {found} AS found FROM {arrayed} AS arrayed OFFSET 0)"

CELL = """
CASE WHEN source.document IS NULL THEN '[]'
     WHEN {closes} THEN {keys}::text
     ELSE {slow} END
"""

SLOW_CELL = """
(SELECT coalesce({mark} || (array_agg(verdict.problem) FILTER (WHERE verdict.problem IS NOT NULL))[1],
                 jsonb_agg(verdict.raw) FILTER (WHERE verdict.raw IS NOT NULL)::text, '[]')
 FROM ({verdicts}) AS verdict)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowShape:
    """A source's documents, many rows in one answer. `rows` gives what stands behind FROM for a condition on the table's rows."""

    rows: Callable[[sql.Composable], sql.Composable]
    row_id: sql.Composable
    document: sql.Composable
    root: Node
    types: tuple[str, ...]

    @property
    def ways(self) -> tuple[Way, ...]:
        """In the order in which they are worth trying."""
        return WAYS if _can_close(self.root, self.types) else WAYS[-1:]

    def statement(self, where: sql.Composable, *, most: sql.Composable, way: Way = "mixed") -> sql.Composed:
        """One row: cells and row ids as bytes (null when there is no row, or when the cells are longer than `most` bytes), and count.
        `where` is a condition on the table's rows; a `most` that is null is none."""
        rows = sql.SQL(ROWS).format(row_id=self.row_id, document=self.document, rows=self.rows(where))
        slow: sql.Composable = sql.Literal(OPEN_MARK)
        if way != "whole":
            slow = sql.SQL(SLOW_CELL).format(mark=sql.Literal(PROBLEM_MARK), verdicts=document_verdicts(self.root, self.types))
        arrays = self.root.inner
        if way == "each":
            cell, source = slow, rows
        else:
            lookups = [sql.SQL("{} AS {}").format(_at("rows", array.step), _name(n)) for n, array in enumerate(arrays)]
            arrayed = sql.SQL(WITH_ARRAYS).format(rows=rows, arrays=sql.SQL(", ").join(lookups)) if arrays else rows
            single = _single(self.root)
            found = _of_single(single) if single else _found(self.root)
            source = sql.SQL(WITH_FOUND).format(arrayed=arrayed, found=found)
            conditions = [*_document_closes(self.root), *([_single_closes(single)] if single else _arrays_close(self.root))]
            cell = sql.SQL(CELL).format(closes=sql.SQL(" AND ").join(conditions), keys=sql.SQL("coalesce(source.found, '[]')"), slow=slow)
        return sql.SQL(WINDOW).format(
            fits=sql.SQL(FITS).format(most=most),
            cell=cell,
            source=source,
            cells_apart=sql.Literal(CELLS_APART),
            ids_apart=sql.Literal(IDS_APART),
            # An id that holds what stands between ids shows by their number.
            row_id=sql.SQL("source.row_id" if way == "whole" else "translate(source.row_id, {}, ' ')").format(sql.Literal(IDS_APART)),
        )


def _can_close(root: Node, types: Sequence[str]) -> bool:
    """Strings only: a number's text would have to be made. Where the document itself may be the key there is nothing to save, and where an
    element may be an array a filter in lax mode looks into it, not at it."""
    return tuple(types) == ("string",) and "$" not in root.keys and all(node.step != "$" for top in root.inner for node in top.below())


def _single(root: Node) -> Node | None:
    """The one array, when one path into it and nothing else is declared: then counting its keys closes it."""
    if root.keys or len(root.inner) != 1:
        return None
    [node] = root.inner
    simple = len(node.keys) == 1 and not node.inner and not node.marks and not node.nulls and not node.may_lack
    return node if simple else None


def _single_closes(node: Node) -> sql.Composable:
    """In strict mode each element gives one value, or the search ends there: as many as elements means one of each."""
    one_of_each = "true" if node.keys[0] == "$" else "jsonb_array_length(source.found) = jsonb_array_length({0})"
    return sql.SQL(f"CASE WHEN {{0}} IS NULL THEN true WHEN jsonb_typeof({{0}}) = 'array' THEN {one_of_each} ELSE false END").format(
        _array("source", 0)
    )


def _of_single(node: Node) -> sql.Composable:
    array = _array("arrayed", 0)
    if node.keys[0] == "$":
        return array
    path = jsonpath(f"strict $[*]{spelled(node.keys[0]).removeprefix('$')}")
    return sql.SQL("jsonb_path_query_array({}, {}, '{{}}', true)").format(array, path)


def _found(root: Node) -> sql.Composable:
    """All keys of a document that closes, as one JSON array."""
    parts = [sql.SQL("CASE WHEN {0} IS NULL THEN '[]' ELSE jsonb_build_array({0}) END").format(_at("arrayed", key)) for key in root.keys]
    for n, top in enumerate(root.inner):
        for node in (top, *top.below()):
            for key in node.keys:
                path = f"{_within(top, node)}{spelled(key).removeprefix('$')}"
                # Where one element may be a key and another hold one, each path finds the other's too.
                path += ' ? (@.type() == "string")'
                parts.append(sql.SQL("coalesce(jsonb_path_query_array({}, {}), '[]')").format(_array("arrayed", n), jsonpath(path)))
    return sql.SQL(" || ").join(parts)


def _within(top: Node, node: Node) -> str:
    """The path of `node`'s elements from the value at `top`'s place."""
    assert top.array is not None
    assert node.array is not None
    return f"$[*]{spelled('$' + node.array[len(top.array) :]).removeprefix('$')}"


def _document_closes(root: Node) -> list[sql.Composable]:
    """Each declared place of the document is absent, under objects all the way, or it is there; a key's is then a string."""
    conditions: list[sql.Composable] = []
    for key in root.keys:
        there = sql.SQL("jsonb_typeof({0}) = 'string' AND {0} <> '\"\"'").format(_at("source", key))
        conditions.append(_there_or_absent(_at("source", key), key, there))
    for n, node in enumerate(root.inner):
        if node.step != "$":
            conditions.append(_there_or_absent(_array("source", n), node.step, sql.SQL("true")))
    return conditions


def _there_or_absent(value: sql.Composable, path: str, there: sql.Composable) -> sql.Composable:
    names = members(path)
    absent = [
        sql.SQL("jsonb_typeof({}) = 'object' AND {} IS NULL").format(_chain("source", names[:n]), _chain("source", names[: n + 1]))
        for n in range(len(names))
    ]
    return sql.SQL("CASE WHEN {} IS NOT NULL THEN {} ELSE {} END").format(value, there, sql.SQL(" OR ").join(absent))


def _arrays_close(root: Node) -> list[sql.Composable]:
    conditions: list[sql.Composable] = []
    for n, top in enumerate(root.inner):
        for node in (top, *top.below()):
            elements = _within(top, node)
            # A filter in lax mode looks into an element that is an array, not at it.
            bad = [jsonpath(f"{elements} ? (!({_good(node)}))"), jsonpath(f'{elements}.type() ? (@ == "array")')]
            conditions += [sql.SQL("NOT coalesce(jsonb_path_exists({}, {}), false)").format(_array("source", n), path) for path in bad]
    return conditions


def _good(node: Node) -> str:
    """Of one element, in a filter, always true or false: every place in it is absent or as it should be, and it yields something."""
    whole = '(@.type() == "string" && @ != "")' if "$" in node.keys else None
    places = [_place_good(place) for place in node.places if place.path != "$"]
    yields = [f'{_from_element(key)}.type() == "string"' for key in node.keys if key != "$"]
    yields += [f"exists({_from_element(array.step)})" for array in node.inner]
    within = ['@.type() == "object"', *places, *([] if node.may_lack else [f"({' || '.join(yields)})"] if yields else ["1 == 2"])]
    either = [f"({' && '.join(within)})", *([whole] if whole else [])]
    return " || ".join(either)


def _place_good(place: Place) -> str:
    at = _from_element(place.path)
    good = [f"!exists({at})"]
    if place.is_key:
        good.append(f'({at}.type() == "string" && {at} != "")')
    if place.is_between:
        good.append(f'{at}.type() == "object"')
        if not place.is_key:
            good.append(f'{at}.type() == "null"')  # compared with null, an array would be if one of its elements is
    return f"({' || '.join(good)})"


def _from_element(path: str) -> str:
    return f"@{spelled(path).removeprefix('$')}"


def _at(row: str, path: str) -> sql.Composable:
    """The value at a path of members below the row's document, or NULL: never that of an array's element, as a path in lax mode would."""
    return _chain(row, members(path))


def _chain(row: str, names: Sequence[str]) -> sql.Composable:
    value: sql.Composable = sql.SQL("{}.document").format(sql.Identifier(row))
    for name in names:
        value = sql.SQL("({} -> {})").format(value, sql.Literal(name))
    return value


def _array(row: str, n: int) -> sql.Composable:
    return sql.Identifier(row, f"array_{n}")


def _name(n: int) -> sql.Identifier:
    return sql.Identifier(f"array_{n}")
