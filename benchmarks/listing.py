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
import json, sys, tempfile, time, urllib.request
from pathlib import Path
import boto3
from botocore.config import Config
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.settings.model import InventorySettings
url, concurrency, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = boto3.client("s3", endpoint_url=url, config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
def clocks():
    with urllib.request.urlopen(url + "/?cpu") as answer:
        return time.perf_counter(), time.process_time(), float(answer.read())
figures = None
for _ in range(times):
    with tempfile.TemporaryDirectory() as folder:
        began = clocks()
        figures = take_inventory(client, "bench", InventorySettings(concurrency=concurrency), prefixes=[OwnedPrefix(path="uploads/")],
                                 last=figures, folder=Path(folder), report=lambda line: None)
        spent = [end - start for start, end in zip(began, clocks(), strict=True)]
print(json.dumps([figures.total.objects, figures.listing.requests, *spent]))
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
class Processors:
    """What one listing took of the machine: how many of its processors we were busy on, and the endpoint."""

    requests: int
    ours: float
    endpoint: float


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
    runs: dict[str, list[Measured]] = {"ours": [], "ours_again": [], "paginator": [], "s5cmd": []}
    busy: dict[str, list[Processors]] = {"ours": [], "ours_again": []}
    with _endpoint(KEYS, latency_ms) as large, _endpoint(KEYS_FOR_THE_SLOW, latency_ms) as small:
        for _ in range(ROUNDS):
            for number, name in enumerate(busy, start=1):  # the second listing of a process knows where the first would have cut
                ran, processors = _ours(large, concurrency, times=number)
                runs[name].append(ran)
                busy[name].append(processors)
            runs["paginator"].append(_paginator(small))
            if (s5cmd := program("s5cmd")) is not None:
                runs["s5cmd"].append(_s5cmd(s5cmd, small))
    medians = {name: medians_of(measured) for name, measured in runs.items() if measured}
    for name in busy:
        medians[name] |= _busy(busy[name])
    rate = medians["ours"]["keys_per_second"]
    return {**medians, **{f"ours_over_{name}": round(rate / medians[name]["keys_per_second"], 1) for name in medians if name not in busy}}


def _ours(url: str, concurrency: str, *, times: int) -> tuple[Measured, Processors]:
    ran = python(OURS, url, concurrency, str(times), environment=ENVIRONMENT)
    keys, requests, seconds, ours, theirs = json.loads(ran.text)
    # Of the only listing of a process the whole of it counts, as with the peers.
    cpu = ran.cpu_seconds if times == 1 else ours
    return Measured(keys, keys / seconds, cpu / keys * 1e6, ran.peak_mb), Processors(requests, ours / seconds, theirs / seconds)


def _busy(runs: list[Processors]) -> dict[str, float]:
    return {
        "requests": median(run.requests for run in runs),
        "processors_busy_with_ours": round(median(run.ours for run in runs), 2),
        "processors_busy_with_the_endpoint": round(median(run.endpoint for run in runs), 2),
    }


def _paginator(url: str) -> Measured:
    ran = python(PAGINATOR, url, environment=ENVIRONMENT)
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
