"""A whole sweep beside the plain script, on one SeaweedFS and one PostgreSQL, in turns. Ours includes everything a run in production
includes: the command's start, Dagster's run, both snapshots in the lake, dangling references, holds, gates, plans, manifest."""

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

from orphan_pipeline.demo.data import demo_data
from orphan_pipeline.demo.fill import create_bucket, fill_bucket, fill_database, upload_young
from orphan_pipeline.demo.servers import running_servers
from orphan_pipeline.demo.settings_file import render_settings, settings_environment

OBJECTS = 20_000
ROUNDS = 3
MIB = 2**20
SAMPLE_SECONDS = 0.05
COMMAND = str(Path(sys.executable).with_name("orphan-pipeline"))


@dataclass(frozen=True, slots=True)
class Measured:
    """`peak_mb`: the largest single process of all that the command started."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def measure(objects: int = OBJECTS) -> str:
    """JSON: medians of both, and the ratio of their times round by round."""
    with tempfile.TemporaryDirectory(prefix="orphan_pipeline-bench-") as name, running_servers(Path(name)) as servers:
        folder = Path(name)
        data = demo_data(objects)
        create_bucket(servers.store)
        fill_bucket(servers.store, data, lambda _: None)
        upload_young(servers.store, data)
        url = servers.postgres.create_database("bench")
        fill_database(url, data)
        settings = folder / "orphan_pipeline.yaml"
        settings.write_text(render_settings(servers.store), encoding="utf-8")
        environment = {
            **os.environ,
            **settings_environment(servers.store, url),
            "ORPHAN_PIPELINE_SETTINGS": str(settings),
            "DAGSTER_HOME": str(folder / "dagster"),
        }
        _accept_the_first_sweep(environment)
        ours, plain = [], []
        for _ in range(ROUNDS):
            plain.append(_run([sys.executable, "-m", "benchmarks.plain_script"], environment))
            ours.append(_run([COMMAND, "sweep", "--json"], environment))
    figures = json.loads(ours[-1].output)["media"]
    return json.dumps(
        {
            "benchmark": "sweep",
            "objects": figures["objects"],
            "orphans": {"ours": figures["orphans"], "plain_script": int(plain[-1].output)},
            "ours": _medians(ours),
            "plain_script": _medians(plain),
            "ours_over_plain_script_wall": round(
                statistics.median(o.wall_seconds / p.wall_seconds for o, p in zip(ours, plain, strict=True)), 2
            ),
        },
        indent=2,
    )


def _accept_the_first_sweep(environment: Mapping[str, str]) -> None:
    """It fails by its gate `baseline` until somebody approves it, once; every later one is measured."""
    swept = subprocess.run([COMMAND, "sweep", "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    digest = json.loads(swept.stdout)["media"]["digest"]
    subprocess.run([COMMAND, "approve", digest, "--yes"], env=environment, stderr=subprocess.DEVNULL, check=True)


def _run(command: Sequence[str], environment: dict[str, str]) -> Measured:
    """Looks at the whole family of processes twenty times a second: a run of Dagster is a grandchild of its own."""
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
