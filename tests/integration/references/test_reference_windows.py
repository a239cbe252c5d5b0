"""A table read in groups of blocks: each row once, whatever an answer was too long for, or left open."""

from collections.abc import Callable
from itertools import pairwise
from threading import Barrier

import pytest

from orphan_pipeline.references import extract
from orphan_pipeline.references.transport import windows
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Asked, Database, Take

Source = Callable[..., ReferenceSettings]


@pytest.fixture(autouse=True)
def several_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "BLOCKS_WORTH_A_CONNECTION", 8)


def filled(app: Database, rows: int) -> set[tuple[str, str]]:
    """Rows of 0 to 11 keys, now and then of a thousand. Returns (row id, key) of all."""
    app.run(
        "CREATE TABLE documents (id int PRIMARY KEY, data jsonb)",
        f"""INSERT INTO documents SELECT n, jsonb_build_object('a', (SELECT coalesce(jsonb_agg('k' || n || '/' || k), '[]')
            FROM generate_series(1, CASE WHEN n % 400 = 0 THEN 1000 ELSE n % 12 END) AS k)) FROM generate_series(1, {rows}) AS n""",
    )
    found = app.admin.execute("SELECT id::text, key FROM documents, jsonb_array_elements_text(data -> 'a') AS key").fetchall()
    return {(str(row_id), str(key)) for row_id, key in found}


@pytest.mark.parametrize("most", [1, 400, 20_000])
def test_answers_that_are_too_long_are_asked_for_in_narrower_groups(
    app: Database, take: Take, source: Source, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(windows, "MOST_BYTES", most)
    monkeypatch.setattr(windows, "WANTED_BYTES", 10_000)
    wanted = filled(app, 4000)
    taken = take(source("$.a[*]"))
    assert sorted((row_id, key) for key, _, _, row_id in taken.rows) == sorted(wanted)
    assert (taken.figures.sources[0].rows, taken.figures.sources[0].without_key) == (4000, 330)


def test_documents_that_do_not_close_between_such_that_do(app: Database, take: Take, source: Source) -> None:
    wanted = filled(app, 4000)
    app.run("""UPDATE documents SET data = data || '{"a": ["x", {"ignored": 1}]}' WHERE id % 1000 = 0""")
    wanted = {(row_id, key) for row_id, key in wanted if int(row_id) % 1000} | {(str(n), "x") for n in range(1000, 4001, 1000)}
    taken = take(source("$.a[*]", ignore=("$.a[*].ignored",)))
    assert sorted((row_id, key) for key, _, _, row_id in taken.rows) == sorted(wanted)


def test_what_no_answer_can_hold_is_asked_for_block_by_block(app: Database, take: Take, source: Source) -> None:
    """PostgreSQL refuses a text of more than a gigabyte; here any group of more than one block is refused so."""
    wanted = filled(app, 1000)
    app.run(
        """CREATE FUNCTION fits(query text) RETURNS boolean LANGUAGE plpgsql AS $$
           BEGIN
               IF query ~ 'generate_series' AND query !~ ', 1::bigint\\) AS "orphan' THEN
                   RAISE 'out of memory' USING ERRCODE = 'program_limit_exceeded';
               END IF;
               RETURN true;
           END $$"""
    )
    taken = take(source("$.a[*]", where="fits(current_query())"))
    assert sorted((row_id, key) for key, _, _, row_id in taken.rows) == sorted(wanted)


def test_windows_meet_and_several_connections_read_them(app: Database, take: Take, source: Source, small_windows: Asked) -> None:
    small_windows.together = Barrier(3, timeout=60)
    wanted = filled(app, 4000)
    taken = take(source("$.a[*]"))
    assert sorted((row_id, key) for key, _, _, row_id in taken.rows) == sorted(wanted)
    assert len(small_windows.by) == 3
    bounds = sorted((window.first, window.end) for some in small_windows.by.values() for window in some)
    assert len(bounds) > 10
    assert bounds[0][0] == 0
    assert all(end == first for (_, end), (first, _) in pairwise(bounds))


def test_a_table_may_be_called_as_it_likes(app: Database, take: Take, source: Source) -> None:
    """Regression: in a table `blocks` with a column `first_block` each row was held against its own number, and most were passed over."""
    wanted = filled(app, 1000)
    app.run("ALTER TABLE documents RENAME TO blocks", "ALTER TABLE blocks ADD first_block bigint", "UPDATE blocks SET first_block = 7")
    taken = take(source("$.a[*]", table="blocks"))
    assert sorted((row_id, key) for key, _, _, row_id in taken.rows) == sorted(wanted)
