"""The references of the sweep benchmark: rows like the demo's, made by the server itself, pointing at the keys of the synthetic endpoint.

Of every ten keys six stand in a row of `documents`, five in one of `documents_history`, two of these in both; one is an orphan.
"""

from urllib.parse import quote, unquote_plus

import psycopg
from psycopg import sql

from benchmarks.endpoint import DIGITS, FULL_CIRCLE, ODD, PLAIN, PREFIX
from orphan_pipeline.demo.data import CDN

KEYS_A_ROW = 10
TABLES = """
CREATE TABLE documents (id bigint PRIMARY KEY, title text NOT NULL, data jsonb);
CREATE TABLE documents_history (id bigint NOT NULL, archived_at timestamptz NOT NULL, data jsonb);
"""
NAME = "lpad(key::text, {digits}, '0') || CASE WHEN key % {full_circle} = 0 THEN {odd} ELSE {plain} END"
DOCUMENTS = """
INSERT INTO documents
SELECT line, 'Document ' || line, jsonb_build_object('attachments', (
    SELECT jsonb_agg(CASE WHEN key % 2 = 0 THEN to_jsonb({key}) ELSE jsonb_build_object('name', 'Attachment ' || key, 'key', {key}) END)
    FROM (SELECT line * {keys_a_row} + place AS key FROM unnest(ARRAY[0, 1, 2, 4, 5, 6]) AS place) AS keys))
FROM generate_series(0, {rows} - 1) AS line
"""
HISTORY = """
INSERT INTO documents_history
SELECT line, '2026-01-01', jsonb_build_object('attachments', (
    SELECT jsonb_agg(jsonb_build_object('url', {url}))
    FROM (SELECT line * {keys_a_row} + place AS key FROM unnest(ARRAY[5, 6, 7, 8, 9]) AS place) AS keys))
FROM generate_series(0, {rows} - 1) AS line
"""


def fill_references(url: str, keys: int) -> None:
    """Creates the demo's two tables over an endpoint of so many keys. Raises ValueError where these are no whole rows."""
    if keys % KEYS_A_ROW:
        raise ValueError(f"found {keys} keys, expected a multiple of {KEYS_A_ROW}")
    odd = unquote_plus(ODD)
    filled = {"rows": keys // KEYS_A_ROW, "keys_a_row": KEYS_A_ROW, "key": _named(PREFIX, odd, "")}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute(sql.SQL(DOCUMENTS).format(**filled))
        connection.execute(sql.SQL(HISTORY).format(**filled, url=_named(f"{CDN}{PREFIX}", quote(odd), "?v=3")))
        connection.execute("VACUUM (ANALYZE)")


def _named(before: str, odd: str, after: str) -> sql.Composed:
    """The key of a number as SQL, between two texts."""
    name = sql.SQL(NAME).format(digits=DIGITS, full_circle=FULL_CIRCLE, odd=odd, plain=PLAIN)
    return sql.SQL("{} || {} || {}").format(before, name, after)
