"""The inventory beside its peers, on a synthetic endpoint in a process of its own: ours all the way into Parquet, boto3's paginator and
s5cmd only counting what they list. Every contender is a process of its own, so that its CPU time and peak memory are its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

KEYS = int(os.environ.get("BENCH_KEYS", "1000000"))
KEYS_FOR_THE_SLOW = 200_000
"""The peers list one page after the other, at a rate that does not depend on how many keys there are."""

LATENCIES_MS = (0.0, 50.0)
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
KIB = 1024
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
            if (s5cmd := shutil.which("s5cmd") or _beside_python("s5cmd")) is not None:
                runs["s5cmd"].append(_s5cmd(s5cmd, small))
    medians = {name: _medians(measured) for name, measured in runs.items() if measured}
    rate = medians["ours"]["keys_per_second"]
    return {**medians, **{f"ours_over_{name}": round(rate / medians[name]["keys_per_second"], 1) for name in medians if name != "ours"}}


def _python(program: str, *arguments: str) -> Measured:
    output, _, usage = _run([sys.executable, "-c", program, *arguments])
    keys, seconds = output.split()
    return _measured(int(keys), float(seconds), usage)


def _s5cmd(program: str, endpoint: str) -> Measured:
    output, seconds, usage = _run([program, "--endpoint-url", endpoint, "ls", "s3://bench/*"], count_lines=True)
    return _measured(int(output), seconds, usage)


def _measured(keys: int, seconds: float, usage: "os.resource.struct_rusage") -> Measured:  # type: ignore[name-defined]
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(keys, keys / seconds, cpu / keys * 1e6, usage.ru_maxrss / KIB)


def _run(command: list[str], *, count_lines: bool = False) -> tuple[str, float, "os.resource.struct_rusage"]:  # type: ignore[name-defined]
    began = perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = perf_counter() - began
        output.seek(0)
        text = str(sum(1 for _ in output)) if count_lines else output.read().decode()
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with status {process.returncode}")
    return text, seconds, usage


def _medians(runs: list[Measured]) -> dict[str, float]:
    return {
        "keys": runs[0].keys,
        "keys_per_second": round(median(run.keys_per_second for run in runs)),
        "cpu_seconds_per_million": round(median(run.cpu_seconds_per_million for run in runs), 2),
        "peak_mb": round(median(run.peak_mb for run in runs)),
    }


def _beside_python(program: str) -> str | None:
    path = Path(sys.executable).with_name(program)
    return str(path) if path.exists() else None


@contextmanager
def _endpoint(keys: int, latency_ms: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.endpoint", "--keys", str(keys), "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
