"""A whole sweep beside the plain script, in turns: on a real store of a size that it holds, and on a synthetic endpoint of a million keys.
Ours includes everything a run in production includes: the command's start, Dagster's run, both snapshots in the lake, dangling references,
holds, gates, plans, manifest. Both must find the same number of orphans, or there is no result.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep

import psutil

from benchmarks.contenders import endpoint
from benchmarks.sweep_data import fill_references
from orphan_pipeline.demo.data import demo_data
from orphan_pipeline.demo.fill import create_bucket, fill_bucket, fill_database, upload_young
from orphan_pipeline.demo.servers import ObjectStore, running_postgres, running_servers
from orphan_pipeline.demo.settings_file import render_settings, settings_environment

OBJECTS = 20_000
KEYS = int(os.environ.get("BENCH_KEYS", "200000"))
LATENCIES_MS = [float(latency) for latency in os.environ.get("BENCH_LATENCIES_MS", "0").split(",")]
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
MIB = 2**20
SAMPLE_SECONDS = 0.2
COMMAND = str(Path(sys.executable).with_name("orphan-pipeline"))


@dataclass(frozen=True, slots=True)
class Measured:
    """`peak_mb`: the largest single process of all that the command started."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def measure(objects: int = OBJECTS) -> str:
    """JSON: of each store medians of both, and the ratios of their times round by round."""
    with tempfile.TemporaryDirectory(prefix="orphan_pipeline-bench-") as name:
        folder = Path(name)
        on_real_store = _on_real_store(folder / "real", objects)
        with running_postgres(folder / "postgres") as postgres:
            url = postgres.create_database("bench")
            fill_references(url, KEYS)
            on_endpoint = {f"{latency:g} ms": _on_endpoint(folder / f"{latency:g}", url, latency) for latency in LATENCIES_MS}
    return json.dumps({"benchmark": "sweep", "rounds": ROUNDS, "real_store": on_real_store, "synthetic_endpoint": on_endpoint}, indent=2)


def _on_real_store(folder: Path, objects: int) -> dict[str, object]:
    with running_servers(folder) as servers:
        data = demo_data(objects)
        create_bucket(servers.store)
        fill_bucket(servers.store, data, lambda _: None)
        upload_young(servers.store, data)
        url = servers.postgres.create_database("bench")
        fill_database(url, data)
        return _in_turns(folder, servers.store, url)


def _on_endpoint(folder: Path, database_url: str, latency_ms: float) -> dict[str, object]:
    folder.mkdir()
    with endpoint("benchmarks.endpoint", "--keys", str(KEYS), "--latency-ms", str(latency_ms)) as url:
        return _in_turns(folder, ObjectStore(endpoint=url, access_key_id="bench", secret_access_key="bench"), database_url)


def _in_turns(folder: Path, store: ObjectStore, database_url: str) -> dict[str, object]:
    """Both over the same store and database, with the demo's settings. Raises RuntimeError when they do not find the same."""
    settings = folder / "orphan_pipeline.yaml"
    settings.write_text(render_settings(store), encoding="utf-8")
    environment = {
        **os.environ,
        **settings_environment(store, database_url),
        "ORPHAN_PIPELINE_SETTINGS": str(settings),
        "DAGSTER_HOME": str(folder / "dagster"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installation has its byte code: it is not compiled for each process
    _accept_the_first_sweep(environment)
    ours, plain = [], []
    for _ in range(ROUNDS):
        plain.append(_run([sys.executable, "-m", "benchmarks.plain_script"], environment))
        ours.append(_run([COMMAND, "sweep", "--json"], environment))
    figures = json.loads(ours[-1].output)["media"]
    orphans = {figures["orphans"] for figures in (json.loads(run.output)["media"] for run in ours)} | {int(run.output) for run in plain}
    if len(orphans) != 1:
        raise RuntimeError(f"found {sorted(orphans)} orphans, expected the same number from all")
    ratios = [p.wall_seconds / o.wall_seconds for o, p in zip(ours, plain, strict=True)]
    return {
        "objects": figures["objects"],
        "references": sum(source["references"] for source in figures["sources"].values()),
        "orphans": orphans.pop(),
        "ours": _medians(ours),
        "plain_script": _medians(plain),
        "plain_script_over_ours_wall": round(statistics.median(ratios), 2),
        "round_by_round": [round(ratio, 2) for ratio in ratios],
    }


def _accept_the_first_sweep(environment: Mapping[str, str]) -> None:
    """It fails by its gate `baseline` until somebody approves it, once; every later one is measured."""
    swept = subprocess.run([COMMAND, "sweep", "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    digest = json.loads(swept.stdout)["media"]["digest"]
    subprocess.run([COMMAND, "approve", digest, "--yes"], env=environment, stderr=subprocess.DEVNULL, check=True)


def _run(command: Sequence[str], environment: dict[str, str]) -> Measured:
    """Looks at the whole family of processes five times a second: a run of Dagster is a grandchild of its own."""
    began = perf_counter()
    peak, cpu = 0, {}
    with tempfile.TemporaryFile() as output:
        with psutil.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                for member in [process, *process.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess), member.oneshot():
                        peak = max(peak, member.memory_info().rss)
                        cpu[member.pid] = member.cpu_times().user + member.cpu_times().system
                sleep(SAMPLE_SECONDS)
        seconds = perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with status {process.returncode}")
    return Measured(seconds, sum(cpu.values()), peak / MIB, text)


def _medians(runs: Sequence[Measured]) -> dict[str, float]:
    lines = [asdict(run) for run in runs]
    return {name: round(statistics.median(line[name] for line in lines), 2) for name in ("wall_seconds", "cpu_seconds", "peak_mb")}
