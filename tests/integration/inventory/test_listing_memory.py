"""A listing's memory does not grow with the bucket."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import endpoint

ROOT = Path(__file__).parents[3]
MOST_MB = 300
FEW, MANY = 150_000, 900_000
"""The fewer are enough to fill what waits for the writer, and a row group."""
LISTING = """
import re, sys, tempfile
from pathlib import Path
import boto3
from botocore.config import Config
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.settings.model import InventorySettings
client = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b",
                      config=Config(s3={"addressing_style": "path"}))
with tempfile.TemporaryDirectory() as folder:
    figures = take_inventory(client, "bench", InventorySettings(concurrency=32), prefixes=[OwnedPrefix(path="uploads/")], last=None,
                             folder=Path(folder), report=lambda line: None)
# Not getrusage: its peak goes back to before this program was started, in the process that forked.
peak = int(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) // 1024
print(figures.total.objects, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here, which tells the peak memory of a process")
def test_six_times_as_many_keys_take_no_more_memory() -> None:
    peaks = []
    for keys in (FEW, MANY):
        with endpoint("benchmarks.endpoint", "--keys", str(keys), "--latency-ms", "0") as url:
            told = subprocess.run([sys.executable, "-c", LISTING, url], cwd=ROOT, capture_output=True, text=True, check=True)
        listed, peak = map(int, told.stdout.split())
        assert listed == keys
        peaks.append(peak)
    assert peaks[1] < peaks[0] + MOST_MB // 6, peaks
    assert max(peaks) < MOST_MB, peaks
