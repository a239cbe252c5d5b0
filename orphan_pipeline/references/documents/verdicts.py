"""The SQL that accounts for JSON documents element by element (rule 4b). Pure text; running it belongs in `extract`.

Lax JSON paths drop what they do not match without a word, so a path is never simply asked for its strings. Each place
that a path names is looked at, and each element of each array, strictly: it is absent, a key, declared ignored, or
a problem. A statement gives rows (row_id, raw, problem): a reference, a problem as JSON (`Problem`), or neither for a
row without a key.
"""

from collections.abc import Sequence

from psycopg import sql

from orphan_pipeline.references.documents.places import Node, Place, jsonpath, spelled
from orphan_pipeline.references.refusals import LONGEST_SHOWN

STATEMENT = """
SELECT source.row_id, verdict.raw, verdict.problem
FROM (SELECT {row_id} AS row_id, {document} AS document FROM {table} {fence}) AS source
LEFT JOIN LATERAL ({verdicts}) AS verdict ON true
"""

# `found` is fenced by OFFSET 0, or the planner writes each lookup out once for each time that it is named. The verdicts are
# a UNION ALL: VALUES would set its expressions up anew for every element: twice the time.
ELEMENTS = """
SELECT verdict.raw, verdict.problem
FROM jsonb_path_query(source.document, {array}) AS element(value)
CROSS JOIN LATERAL (SELECT {lookups} OFFSET 0) AS found
CROSS JOIN LATERAL ({verdicts}) AS verdict(raw, problem)
WHERE verdict.raw IS NOT NULL OR verdict.problem IS NOT NULL
"""

PLACES = """
SELECT verdict.raw, verdict.problem
FROM (SELECT {lookups} OFFSET 0) AS found
CROSS JOIN LATERAL ({verdicts}) AS verdict(raw, problem)
WHERE verdict.raw IS NOT NULL OR verdict.problem IS NOT NULL
"""

RAW = "CASE WHEN jsonb_typeof({value}) IN ({types}) AND {value} <> '\"\"' THEN {value} #>> '{{}}' END"

# A key stands where one is declared. What lies between the root and a key is an object, null or absent.
PLACE_PROBLEM = """
CASE WHEN {value} IS NULL OR found.ignored OR ({is_excused} AND jsonb_typeof({value}) = 'null') THEN NULL
     WHEN jsonb_typeof({value}) IN ({types}) AND {is_key} AND {value} <> '""' THEN NULL
     WHEN jsonb_typeof({value}) = 'object' AND {is_between} THEN NULL
     WHEN jsonb_typeof({value}) = 'null' AND NOT {is_key} THEN NULL
     ELSE {problem} END
"""

ELEMENT_PROBLEM = "CASE WHEN NOT found.ignored AND NOT ({accounted}) THEN {problem} END"

PROBLEM = """
jsonb_build_object('place', {place}, 'ignore', {ignore}, 'wanted', {wanted}, 'types', {types}, 'found', jsonb_typeof({value}),
                   'value', left({value}::text, {longest}))::text
"""

DOCUMENT = sql.SQL("source.document")
ELEMENT = sql.SQL("element.value")


def document_statement(
    *,
    table: sql.Composable,
    row_id: sql.Composable,
    document: sql.Composable,
    fenced: bool,
    root: Node,
    types: Sequence[str],
) -> sql.Composed:
    """The statement that reads a table's documents. `table` is what stands behind FROM, `document` a jsonb expression; `fenced`: computed
    once a row."""
    return sql.SQL(STATEMENT).format(
        row_id=row_id,
        document=document,
        table=table,
        fence=sql.SQL("OFFSET 0" if fenced else ""),
        verdicts=document_verdicts(root, types),
    )


def document_verdicts(root: Node, types: Sequence[str]) -> sql.Composed:
    """Rows (raw, problem) of one document, `source.document`; none for one without keys."""
    verdicts = [_elements(node, types) for node in root.below()]
    return sql.SQL(" UNION ALL ").join([*verdicts, _document_places(root, types)])


def _elements(node: Node, types: Sequence[str]) -> sql.Composed:
    """The root is looked at as a whole: an element that yields nothing, and has no inner array, is a problem."""
    assert node.array is not None
    places = [place for place in node.places if place.path != "$" or place.is_key]
    values = [_found("v", n) for n in range(len(places))]
    inner = [_found("a", n) for n in range(len(node.inner))]
    lookups = [_marked(ELEMENT, node.marks)]
    for n, place in enumerate(places):
        lookup = _of_types(ELEMENT, types) if place.path == "$" else _value(ELEMENT, place.path)
        lookups.append(sql.SQL("{} AS {}").format(lookup, sql.Identifier(f"v{n}")))
    lookups += [sql.SQL("{} AS {}").format(_value(ELEMENT, array.step), sql.Identifier(f"a{n}")) for n, array in enumerate(node.inner)]
    verdicts = [_verdict(place, value, node, types) for place, value in zip(places, values, strict=True)]
    accounted = []
    for place, value in zip(places, values, strict=True):
        good = [*(types if place.is_key else ()), *(["null"] if place.path in node.nulls else ())]
        if good:
            accounted.append(sql.SQL("coalesce(jsonb_typeof({}) IN ({}), false)").format(value, _listed(good)))
    if "$" in node.nulls:
        accounted.append(sql.SQL("jsonb_typeof({}) = 'null'").format(ELEMENT))
    accounted += [sql.SQL("{} IS NOT NULL").format(value) for value in inner]
    if node.may_lack:  # nothing is found where it could be: an object, whose places are all absent or themselves looked at
        accounted.append(sql.SQL("jsonb_typeof({}) = 'object'").format(ELEMENT))
    nothing = sql.SQL(ELEMENT_PROBLEM).format(
        accounted=sql.SQL(" OR ").join(accounted), problem=_problem(ELEMENT, node.array, "element", node.array, types)
    )
    verdicts.append(sql.SQL("SELECT NULL::text, {}").format(nothing))
    return sql.SQL(ELEMENTS).format(
        array=jsonpath(spelled(node.array)), lookups=sql.SQL(", ").join(lookups), verdicts=sql.SQL(" UNION ALL ").join(verdicts)
    )


def _document_places(root: Node, types: Sequence[str]) -> sql.Composed:
    lookups = [_marked(DOCUMENT, root.marks)]
    lookups += [sql.SQL("{} AS {}").format(_value(DOCUMENT, place.path), sql.Identifier(f"v{n}")) for n, place in enumerate(root.places)]
    verdicts = [_verdict(place, _found("v", n), root, types) for n, place in enumerate(root.places)]
    if not verdicts:  # `$[*]` alone: nothing lies above its elements
        verdicts = [sql.SQL("SELECT NULL::text, NULL::text").format()]
    return sql.SQL(PLACES).format(lookups=sql.SQL(", ").join(lookups), verdicts=sql.SQL(" UNION ALL ").join(verdicts))


def _found(kind: str, n: int) -> sql.Composable:
    return sql.SQL("found.") + sql.Identifier(f"{kind}{n}")


def _verdict(place: Place, value: sql.Composable, node: Node, types: Sequence[str]) -> sql.Composed:
    shown = (node.array or "$") + place.path.removeprefix("$")
    problem = sql.SQL(PLACE_PROBLEM).format(
        value=value,
        types=_listed(types),
        is_key=sql.Literal(place.is_key),
        is_between=sql.Literal(place.is_between),
        is_excused=sql.Literal(place.path in node.nulls),
        problem=_problem(value, shown, "key" if place.is_key else "object", shown, types),
    )
    raw = sql.SQL(RAW).format(value=value, types=_listed(types)) if place.is_key else sql.SQL("NULL::text")
    return sql.SQL("SELECT {}, {}").format(raw, problem)


def _marked(root: sql.Composable, marks: Sequence[str]) -> sql.Composed:
    """Whether something declared says that there is no key."""
    exists = [
        sql.SQL("coalesce(jsonb_path_exists({}, {}, '{{}}', true), false)").format(root, jsonpath(f"strict {spelled(path)}"))
        for path in marks
    ]
    return sql.SQL("({}) AS ignored").format(sql.SQL(" OR ").join(exists) if exists else sql.SQL("false"))


def _value(root: sql.Composable, path: str) -> sql.Composable:
    """The one value at a path without arrays, or NULL. Strict: lax mode would unwrap a nested array, unseen."""
    if path == "$":
        return root
    return sql.SQL("jsonb_path_query_first({}, {}, '{{}}', true)").format(root, jsonpath(f"strict {spelled(path)}"))


def _of_types(value: sql.Composable, types: Sequence[str]) -> sql.Composed:
    return sql.SQL("CASE WHEN jsonb_typeof({0}) IN ({1}) THEN {0} END").format(value, _listed(types))


def _listed(types: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Literal, types))


def _problem(value: sql.Composable, place: str, wanted: str, ignore: str, types: Sequence[str]) -> sql.Composed:
    return sql.SQL(PROBLEM).format(
        place=sql.Literal(place),
        ignore=sql.Literal(ignore),
        wanted=sql.Literal(wanted),
        types=sql.Literal(" or ".join(types)),
        value=value,
        longest=sql.Literal(LONGEST_SHOWN + 1),
    )
