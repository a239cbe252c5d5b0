"""Rule 6, ambiguity protects: which orphans equal a reference under some lax view, the first such reference, and the fewest views
that explain it. The views themselves stand in lax.py."""

from collections.abc import Sequence
from itertools import chain, combinations

import duckdb

from orphan_pipeline.duck import rows
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.lax import BEFORE_A_QUERY, NOT_DECODED, VIEWS, View, alike_sql, with_form, with_forms


def find_resembling(connection: duckdb.DuckDBPyConnection, forms: str, hosts: Sequence[str], *, place: str) -> None:
    """Fills the table `resembling` (key, resembles, view) from the table `orphans` and the view `refs`, whose forms stand in `forms`.
    `place`: the columns that tell the place of a reference.

    Raises RuntimeError when an orphan turns out to be referenced: then the join was wrong, and nothing of the sweep may be used.
    """
    connection.execute(queries.NOTHING_RESEMBLES)
    relation, parameters = with_form("(SELECT key FROM orphans)", hosts)
    connection.execute(queries.SHARING_A_FORM.format(with_form=relation), {**parameters, "forms": forms})
    [(sharing,)] = rows(connection, queries.SHARING)
    if not sharing:
        return
    candidates, _ = with_forms(queries.CANDIDATE_KEYS.format(place=place), hosts)
    connection.execute(queries.CANDIDATES.format(with_forms=candidates), parameters)
    for (key,) in rows(connection, queries.REFERENCED_AFTER_ALL):
        raise RuntimeError(f"the join took {key!r} for an orphan, and a reference names it: nothing of this sweep can be used")
    sharers, _ = with_forms(queries.SHARING_ORPHANS.format(with_form=relation), hosts)
    connection.execute(queries.SHARERS.format(with_forms=sharers), parameters)
    connection.execute(queries.RESEMBLING.format(before_a_query=BEFORE_A_QUERY), {"not_decoded": NOT_DECODED})
    connection.execute("DROP TABLE sharers")
    connection.execute("DROP TABLE candidates")
    for views in every_combination():
        if not rows(connection, queries.UNEXPLAINED)[0][0]:
            return
        of_key, parameters = with_forms(queries.UNEXPLAINED_KEYS, hosts, views)
        of_reference, _ = with_forms(queries.UNEXPLAINED_REFERENCES, hosts, views)
        explain = queries.EXPLAIN.format(of_key=of_key, of_reference=of_reference, alike=alike_sql("one", "other", views))
        connection.execute(explain, {**parameters, "views": "+".join(views)}).fetchall()


def every_combination() -> list[tuple[View, ...]]:
    """Single views first, all of them together last."""
    return list(chain.from_iterable(combinations(VIEWS, size) for size in range(1, len(VIEWS) + 1)))
