"""The quick accounting of documents against the slow one, on a real PostgreSQL, and the slow one against Python: the same keys of the same
rows, or all refuse."""

import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from orphan_pipeline.references.cut import DatabaseUnderCut, open_cut
from orphan_pipeline.references.documents.closing import Way, WindowShape
from orphan_pipeline.references.extract import prepare
from orphan_pipeline.references.transport.cells import NotAllKeys, read_cells
from orphan_pipeline.references.transport.extracted import BadRow
from orphan_pipeline.settings.model import ReferenceSettings
from references import accounting
from references.accounting import parts_of
from references.conftest import Database

AT_LENGTH = "ORPHAN_PIPELINE_DOCUMENTS" in os.environ
EXAMPLES = int(os.environ.get("ORPHAN_PIPELINE_DOCUMENTS", "15"))
"""Lists of up to 40 documents for each shape. Few are always the same ones, so that some close; at length they are drawn anew."""


Source = Callable[..., ReferenceSettings]

# (json_paths, ignore, optional, expect_types): one path, several, nested, with everything.
SHAPES: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
    (("$.a[*]",), (), (), ("string",)),
    (("$.a[*].b",), (), (), ("string",)),
    (("$.a[*].b.c",), (), (), ("string",)),
    (("$.b.a[*].b",), (), (), ("string",)),
    (("$[*]",), (), (), ("string",)),
    (("$[*].b",), (), (), ("string",)),
    (("$.a[*]", "$.a[*].b"), (), (), ("string",)),
    (("$.a[*].b", "$.a[*].b.c", "$.a[*].c"), (), (), ("string",)),
    (("$.a[*].b",), ("$.a[*].c",), (), ("string",)),
    (("$.a[*]", "$.a[*].b"), ("$.a[*]", "$.a[*].b"), (), ("string",)),
    (("$.a[*].b", "$.a[*].c"), (), ("$.a[*].b", "$.a[*].c"), ("string",)),
    (("$.a[*]", "$.b[*].c", "$.c"), (), (), ("string",)),
    (("$.b", "$.c.b"), ("$.a",), (), ("string",)),
    (("$.a[*].b[*].c",), (), (), ("string",)),
    (("$.a[*].b[*]", "$.a[*].c"), (), ("$.a[*].b[*]",), ("string",)),
    (("$.a[*].b[*].c", "$.a[*].b[*].a[*]"), ("$.a[*].b[*].b",), ("$.a[*].b[*]",), ("string",)),
    (("$.a[*][*]",), (), (), ("string",)),
    (("$.a[*][*].b", "$.a[*].b"), (), (), ("string",)),
    (("$.a[*].b", "$.a[*].c"), ("$.a[*].b",), (), ("string",)),
    (("$.a[*].b.c", "$.a[*].a"), ("$.a[*].b",), (), ("string",)),
    (("$.a[*]", "$.b"), (), (), ("string", "number", "null")),
    (("$.a[*].b", "$.a[*].c"), (), (), ("string", "null")),
    (("$.a[*].b", "$.a[*].c[*]"), ("$.a", "$.a[*].c"), (), ("string",)),
    (("$",), (), (), ("string",)),
]

names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["k", "", "a\\b", 'q", "x', ", ", "[", "é", "\n", "]\n[", "!", "uploads/x.jpg"])
scalars = st.one_of(texts, st.sampled_from(["k1", "k2", "k3"]), st.none(), st.integers(0, 9), st.booleans())
values = st.recursive(
    scalars,
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(names, below, max_size=3)),
    max_leaves=12,
)
strings = st.sampled_from(["k1", "k2", "k3", "x y"])


def near(paths: list[tuple[str, ...]]) -> st.SearchStrategy[object]:
    """What stands at a place below which these paths lead on, mostly as they say: what is arbitrary closes nowhere."""
    right: list[st.SearchStrategy[Any]] = [strings, strings] if () in paths else []
    within = [path[1:] for path in paths if path[:1] == ("*",)]
    if within:
        right.append(st.lists(near(within), max_size=3))
    members = sorted({path[0] for path in paths if path and path[0] != "*"})
    if members:
        parts = {name: near([path[1:] for path in paths if path[:1] == (name,)]) for name in members}
        right += [st.fixed_dictionaries(parts), st.fixed_dictionaries({}, optional={**parts, "c": strings, "size": scalars})]
    return st.integers(0, 15).flatmap(lambda n: values if n == 0 else st.one_of(right))


def cells(shape: WindowShape, app: Database, way: Way) -> dict[int, Counter[str] | str | None]:
    """By row: its values, its problem, or None when it must be looked at element by element."""
    row: Any = app.admin.execute(shape.statement(sql.SQL("true"), most=sql.NULL, way=way), binary=True).fetchone()
    lines, ids = row[0].decode().split("\n"), row[1].decode().split("\x1f")
    assert len(lines) == len(ids) == row[2]
    return {int(row_id): cell(line, row_id) for line, row_id in zip(lines, ids, strict=True)}


def cell(line: str, row_id: str) -> Counter[str] | str | None:
    try:
        extracted = read_cells(line.encode(), row_id.encode(), 1)
    except BadRow as bad:
        return bad.problem
    except NotAllKeys:
        return None
    assert extracted.values["row_id"].to_pylist() == [row_id] * extracted.values.num_rows
    assert (extracted.rows, extracted.without_key) == (1, int(not extracted.values.num_rows))
    return Counter(str(raw) for raw in extracted.values["raw"].to_pylist())


def verdicts(statement: sql.Composed, app: Database) -> dict[int, Counter[str] | str]:
    found: dict[int, Counter[str] | str] = {}
    for row_id, raw, problem in app.admin.execute(statement).fetchall():
        so_far = found.setdefault(int(row_id), Counter())
        if isinstance(so_far, str):
            continue
        if problem is not None:
            found[int(row_id)] = str(problem)
        elif raw is not None:
            so_far[str(raw)] += 1
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=[" ".join(paths) for paths, _, _, _ in SHAPES])
def test_both_ways_say_the_same(app: Database, source: Source, shape: tuple[tuple[str, ...], ...]) -> None:
    paths, ignore, optional, types = shape
    app.run("CREATE TABLE documents (id bigint PRIMARY KEY, data jsonb)")
    one = source(*paths, ignore=ignore, optional=optional, expect_types=types)
    with open_cut({"app": DatabaseUnderCut(url=app.url)}, [one]) as cuts:
        reading = prepare(one, cuts["app"])
    assert reading.windows is not None
    seen: Counter[str] = Counter()
    model = accounting.Source([*map(parts_of, paths)], [*map(parts_of, ignore)], frozenset(map(parts_of, optional)), types)

    @settings(max_examples=EXAMPLES, derandomize=not AT_LENGTH, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(near([parts_of(path) for path in paths]), min_size=1, max_size=40))
    def holds(several: list[object]) -> None:
        app.run("DELETE FROM documents")
        app.admin.execute(
            "INSERT INTO documents SELECT n, d FROM unnest(%s::jsonb[]) WITH ORDINALITY AS given(d, n)", ([json.dumps(d) for d in several],)
        )
        slow = verdicts(reading.statement, app)
        for row_id, found in slow.items():
            assert (None if isinstance(found, str) else found) == model.account(several[row_id - 1]), several[row_id - 1]
        assert reading.windows is not None
        assert cells(reading.windows, app, "each") == slow
        if "mixed" in reading.windows.ways:
            assert all(found in (slow[row_id], None) for row_id, found in cells(reading.windows, app, "mixed").items())
        for row_id, quick in cells(reading.windows, app, reading.windows.ways[0]).items():
            assert quick in (slow[row_id], None)
            seen["open" if quick is None else "problem" if isinstance(quick, str) else "keys" if quick else "none"] += 1

    holds()
    assert seen["keys"]


@given(
    st.lists(
        st.lists(texts.filter(bool) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=4),
        min_size=1,
        max_size=8,
    )
)
def test_cells_are_read_as_they_were_written(rows: list[list[str]]) -> None:
    """PostgreSQL writes jsonb as Python does, but for what it leaves as it is beyond ASCII."""
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    extracted = read_cells(lines.encode(), "\x1f".join(map(str, range(len(rows)))).encode(), len(rows))
    pairs = zip(extracted.values["row_id"].to_pylist(), extracted.values["raw"].to_pylist(), strict=True)
    assert list(pairs) == [(str(n), value) for n, row in enumerate(rows) for value in row]
    assert (extracted.rows, extracted.without_key) == (len(rows), rows.count([]))


@pytest.mark.parametrize("line", ['["a", 5]', '["a", null]', '[{"a": "b"}]', '[["a"], "b"]', '[""]', '["a", ""]', "[[]]", "[true]"])
def test_a_cell_that_holds_more_than_keys_is_not_taken_for_less(line: str) -> None:
    with pytest.raises(NotAllKeys):
        read_cells(f'["k"]\n{line}\n[]'.encode(), b"1\x1f2\x1f3", 3)
