"""The inventory beside its peers, on a synthetic endpoint in a process of its own: ours all the way into Parquet, boto3's paginator and
s5cmd only counting what they list."""

import json
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

from benchmarks.contenders import Ran, endpoint, program, python, run

KEYS = int(os.environ.get("BENCH_KEYS", "1000000"))
KEYS_FOR_THE_SLOW = 200_000
"""The peers list one page after the other, at a rate that does not depend on how many keys there are."""

LATENCIES_MS = (0.0, 50.0)
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1"}

OURS = """
import sys, tempfile, time
from pathlib import Path
import boto3
from botocore.config import Config
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.settings.model import InventorySettings
client = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
with tempfile.TemporaryDirectory() as folder:
    began = time.perf_counter()
    figures = take_inventory(client, "bench", InventorySettings(concurrency=int(sys.argv[2])), prefixes=[OwnedPrefix(path="uploads/")],
                             last=None, folder=Path(folder), report=lambda line: None)
    print(figures.total.objects, time.perf_counter() - began)
"""
PAGINATOR = """
import sys, time
import boto3
from botocore.config import Config
client = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(s3={"addressing_style": "path"}))
began = time.perf_counter()
count = sum(len(page.get("Contents", ())) for page in client.get_paginator("list_objects_v2").paginate(Bucket="bench"))
print(count, time.perf_counter() - began)
"""


@dataclass(frozen=True, slots=True)
class Measured:
    keys: int
    keys_per_second: float
    cpu_seconds_per_million: float
    peak_mb: float


def measure() -> str:
    """JSON: medians of each contender at each latency, and our ratios."""
    found = {f"{latency:g} ms": _at(latency) for latency in LATENCIES_MS}
    return json.dumps({"benchmark": "listing", "keys": KEYS, "rounds": ROUNDS, "at": found}, indent=2)


def _at(latency_ms: float) -> dict[str, object]:
    concurrency = "4" if latency_ms == 0 else "32"  # without latency there is nothing to wait for
    runs: dict[str, list[Measured]] = {"ours": [], "paginator": [], "s5cmd": []}
    with _endpoint(KEYS, latency_ms) as large, _endpoint(KEYS_FOR_THE_SLOW, latency_ms) as small:
        for _ in range(ROUNDS):
            runs["ours"].append(_python(OURS, large, concurrency))
            runs["paginator"].append(_python(PAGINATOR, small))
            if (s5cmd := program("s5cmd")) is not None:
                runs["s5cmd"].append(_s5cmd(s5cmd, small))
    medians = {name: medians_of(measured) for name, measured in runs.items() if measured}
    rate = medians["ours"]["keys_per_second"]
    return {**medians, **{f"ours_over_{name}": round(rate / medians[name]["keys_per_second"], 1) for name in medians if name != "ours"}}


def _python(text: str, *arguments: str) -> Measured:
    ran = python(text, *arguments, environment=ENVIRONMENT)
    keys, seconds = ran.text.split()
    return measured_of(ran, int(keys), float(seconds))


def _s5cmd(command: str, url: str) -> Measured:
    ran = run([command, "--endpoint-url", url, "ls", "s3://bench/*"], environment=ENVIRONMENT, count_lines=True)
    return measured_of(ran, int(ran.text), ran.seconds)


def measured_of(ran: Ran, keys: int, seconds: float) -> Measured:
    return Measured(keys, keys / seconds, ran.cpu_seconds / keys * 1e6, ran.peak_mb)


def medians_of(runs: list[Measured]) -> dict[str, float]:
    return {
        "keys": runs[0].keys,
        "keys_per_second": round(median(run.keys_per_second for run in runs)),
        "cpu_seconds_per_million": round(median(run.cpu_seconds_per_million for run in runs), 2),
        "peak_mb": round(median(run.peak_mb for run in runs)),
    }


def _endpoint(keys: int, latency_ms: float) -> AbstractContextManager[str]:
    return endpoint("benchmarks.endpoint", "--keys", str(keys), "--latency-ms", str(latency_ms))
