"""What was deleted and is in use again comes back at once, while the run that deleted it goes on: the one place where the re-check
touches the restore."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.deletion.recheck.guard import BringBack
from orphan_pipeline.deletion.undo.at_once import restore_keys
from orphan_pipeline.lake.layout import BucketLake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WHY = "referenced again after it was deleted (rule 10)"


def bringing_back(client: "S3Client", bucket: str, *, lake: BucketLake, ledger: Ledger, run_id: str) -> BringBack:
    """Restores from this ledger only, never over a newer object, and leaves its record under `restores/` as every restore does."""

    def bring_back(keys: Collection[str], chunks: Collection[int]) -> Mapping[str, str]:
        return restore_keys(
            client, bucket, lake=lake, ledger=ledger, keys=keys, chunks=chunks, why=WHY, restore_id=f"{run_id}-asked-again"
        ).outcomes

    return bring_back
