"""What was deleted and is in use again comes back at once, while the run that deleted it goes on: the one place where the re-check
touches the restore."""

from collections.abc import Collection, Mapping
from itertools import count
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.deletion.recheck.guard import BringBack
from orphan_pipeline.deletion.restore import restore, restore_totals
from orphan_pipeline.lake.layout import BucketLake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def bringing_back(client: "S3Client", bucket: str, *, lake: BucketLake, ledger: Ledger, run_id: str) -> BringBack:
    """Restores from this ledger only, never over a newer object, and leaves its record under `restores/` as every restore does."""
    numbers = count()

    def bring_back(keys: Collection[str], chunks: Collection[int]) -> Mapping[str, str]:
        files = [str(ledger.folder / f"{chunk:08d}.parquet") for chunk in chunks]
        outcomes = {}
        for key in keys:
            restore_id = f"{run_id}-asked-again-{next(numbers)}"
            restore(client, bucket, ledgers=files, key=key, include_unknown=False, folder=lake.restore(restore_id), report=lambda _: None)
            [outcomes[key]] = restore_totals(lake, restore_id)
        return outcomes

    return bring_back
