"""What time it is for the store: ages are measured by its clock, and the inventory begins by it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class StoreTime:
    """One moment by two clocks: the store's (its Date header, whole seconds) and this host's."""

    store: datetime
    host: datetime


def store_time(client: "S3Client", bucket: str) -> StoreTime:
    """Asks the store what time it is. Raises Refused when it does not say."""
    headers = client.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
    try:
        said = parsedate_to_datetime(headers.get("date", ""))
    except ValueError as error:
        raise Refused(f"bucket {bucket}: the store's answer carries no Date header, so no cutoff can be trusted") from error
    # HTTP knows only UTC; a date that leaves its zone open would be taken for local time.
    return StoreTime(store=said.replace(tzinfo=said.tzinfo or UTC).astimezone(UTC), host=datetime.now(UTC))
