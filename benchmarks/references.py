"""The references beside their peers, on a real PostgreSQL: ours into Parquet, complete by rule 4b, the peers only taking the keys
out of the documents. Every contender is a process of its own, so that its CPU time and peak memory are its own; what the server's processes
took is measured over them all.

    loop      psycopg, the whole answer, fetchmany and json.loads
    cursor    psycopg, a cursor in the server, the same
    ours      snapshot_references

Each must find as many keys as the server counts in the rows that it read, or there is no result.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import sleep

import psutil
import psycopg

from benchmarks.contenders import python
from orphan_pipeline.demo.servers import running_postgres

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", "4"))
KIB = 1024

ROWS_FOR_THE_PEERS = min(ROWS, 400_000)
"""About as many: their rate does not depend on how many rows there are, and the loop holds them all in memory."""

# 1 to 20 attachments, 3.4 on average; a key of 53 bytes.
KEY = "'uploads/2026/11/' || md5((n * 100 + k)::text) || '.jpg'"
COUNT = "1 + floor(19.99 * power((hashint8(n) & 1048575) / 1048576.0, 6))::int"
OBJECT = f"jsonb_build_object('url', {KEY}, 'size', k * 1000)"
BODY = "'title', 'About ' || n, 'body', (SELECT string_agg(md5((n * 31 + j)::text), ' ') FROM generate_series(1, 52) AS j), "
FILL = """
INSERT INTO {table} SELECT n, jsonb_build_object({more}'attachments', (SELECT jsonb_agg({element}) FROM generate_series(1, {count}) AS k))
"""


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    path: str
    element: str
    more: str = ""


TABLES = {
    "small documents of strings": Table("strings", "$.attachments[*]", KEY),
    "small documents of objects": Table("objects", "$.attachments[*].url", OBJECT),
    "documents of 2 KB": Table("large", "$.attachments[*].url", OBJECT, BODY),
}

OURS = """
import json, sys, tempfile, time
from datetime import UTC, datetime
from pathlib import Path
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.snapshot import snapshot_references
from orphan_pipeline.settings.model import ReferenceSettings
url, table, path, connections = sys.argv[1:]
source = ReferenceSettings(name="bench", database="app", table=table, column="data", json_paths=(path,))
with tempfile.TemporaryDirectory() as folder:
    began = time.perf_counter()
    figures = snapshot_references(
        sources=[source], databases={"app": DatabaseUnderCut(url=url, connections=int(connections))},
        inventory_started_at=datetime.now(UTC), folder=Path(folder), report=lambda line: None,
    )
    seconds = time.perf_counter() - began
print(json.dumps({"keys": figures.sources[0].references, "seconds": seconds, "received": figures.sources[0].received}))
"""
PEER = """
import json, sys, time
import psycopg
url, table, path, name, condition = sys.argv[1:]
of_object = path.endswith(".url")
began = time.perf_counter()
count = received = 0
with psycopg.connect(url) as connection, connection.cursor(name=name or None) as cursor:
    cursor.execute(f"SELECT data::text FROM {table} WHERE {condition}")
    while batch := cursor.fetchmany(20_000):
        for (data,) in batch:
            received += len(data)
            attachments = json.loads(data)["attachments"]
            keys = [attachment["url"] for attachment in attachments] if of_object else attachments
            count += len(keys)
print(json.dumps({"keys": count, "seconds": time.perf_counter() - began, "received": received}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    keys: int
    keys_per_second: float
    bytes_a_key: float
    peak_mb: float
    cpu_us_a_key: float
    server_cpu_us_a_key: float


def measure() -> str:
    """JSON: medians of each contender over each table, and our ratios."""
    with tempfile.TemporaryDirectory() as folder, running_postgres(Path(folder)) as server:
        url = server.create_database("bench")
        found = {title: _over(url, table) for title, table in TABLES.items()}
    return json.dumps({"benchmark": "references", "rows": ROWS, "rounds": ROUNDS, "connections": CONNECTIONS, "over": found}, indent=2)


def _over(url: str, table: Table) -> dict[str, object]:
    fill = FILL.format(table=table.name, more=table.more, element=table.element, count=COUNT)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE UNLOGGED TABLE {table.name} (id bigint PRIMARY KEY, data jsonb)".encode())
        connection.execute(f"{fill} FROM generate_series(1, {ROWS}) AS n".encode())
        connection.execute(f"VACUUM (ANALYZE, FREEZE) {table.name}".encode())
        row = connection.execute("SELECT pg_table_size(%s) / 1000000", (table.name,)).fetchone()
        some = _first_blocks(connection, table)
        of_all, of_the_peers = _keys_of(connection, table, "true"), _keys_of(connection, table, some)
    runs: dict[str, list[Measured]] = {"ours": [], "loop": [], "cursor": []}
    for _ in range(ROUNDS):
        runs["ours"].append(_run(of_all, url, OURS, table.name, table.path, str(CONNECTIONS)))
        runs["loop"].append(_run(of_the_peers, url, PEER, table.name, table.path, "", some))
        runs["cursor"].append(_run(of_the_peers, url, PEER, table.name, table.path, "bench", some))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE {table.name}".encode())
    medians = {name: _medians(measured) for name, measured in runs.items()}
    ours = medians["ours"]
    ratios = {
        f"ours_over_{name}": {
            "keys_per_second": round(ours["keys_per_second"] / medians[name]["keys_per_second"], 2),
            "bytes_of_an_answer": round(medians[name]["bytes_a_key"] / ours["bytes_a_key"], 2),
        }
        for name in ("loop", "cursor")
    }
    return {"table_mb": (row or (0,))[0], **medians, **ratios}


def _first_blocks(connection: psycopg.Connection, table: Table) -> str:
    """The condition for the blocks in which the peers' rows lie. No LIMIT: rows do not always lie in the order in which they came."""
    row = connection.execute("SELECT pg_relation_size(%s) / current_setting('block_size')::int", (table.name,)).fetchone()
    assert row is not None  # a function gives one row
    return f"ctid < '({-(-int(row[0]) * ROWS_FOR_THE_PEERS // ROWS)},0)'::tid"


def _keys_of(connection: psycopg.Connection, table: Table, condition: str) -> int:
    """How many keys the rows hold that meet the condition."""
    counted = f"SELECT sum(jsonb_array_length(data -> 'attachments')) FROM {table.name} WHERE {condition}"
    row = connection.execute(counted.encode()).fetchone()
    assert row is not None  # an aggregate gives one row
    return int(row[0])


def _run(expected: int, url: str, program: str, *arguments: str) -> Measured:
    """Raises RuntimeError when the contender did not find exactly the expected number of keys."""
    with _server_cpu(url) as server:
        ran = python(program, url, *arguments)
    found = json.loads(ran.text)
    if found["keys"] != expected:
        contender = "ours" if program is OURS else "a peer"
        raise RuntimeError(f"{contender} found {found['keys']} keys in {arguments[0]}, which holds {expected}")
    return Measured(
        keys=found["keys"],
        keys_per_second=found["keys"] / found["seconds"],
        bytes_a_key=found["received"] / found["keys"],
        peak_mb=ran.peak_mb,
        cpu_us_a_key=ran.cpu_seconds / found["keys"] * 1e6,
        server_cpu_us_a_key=server[0] / found["keys"] * 1e6,
    )


@contextmanager
def _server_cpu(url: str) -> Iterator[list[float]]:
    """CPU seconds of all processes of the server, those that ended included."""
    with psycopg.connect(url, autocommit=True) as connection:
        server = psutil.Process(connection.info.backend_pid).parent()
        assert server is not None

        def seconds() -> float:
            alive = [process.cpu_times() for process in server.children()]
            ended = server.cpu_times()
            return sum(times.user + times.system for times in alive) + ended.children_user + ended.children_system

        taken, began = [0.0], seconds()
        yield taken
        others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while connection.execute(others).fetchone() is not None:
            sleep(0.01)
        taken[0] = seconds() - began


def _medians(runs: list[Measured]) -> dict[str, float]:
    return {
        "keys": runs[0].keys,
        "keys_per_second": round(median(run.keys_per_second for run in runs)),
        "bytes_a_key": round(median(run.bytes_a_key for run in runs), 1),
        "peak_mb": round(median(run.peak_mb for run in runs)),
        "cpu_us_a_key": round(median(run.cpu_us_a_key for run in runs), 3),
        "server_cpu_us_a_key": round(median(run.server_cpu_us_a_key for run in runs), 3),
    }
