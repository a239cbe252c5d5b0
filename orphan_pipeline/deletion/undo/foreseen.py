"""What each sweep says about undo, long before anything is deleted: whether a delete of today could be taken back for the undo window."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from orphan_pipeline.deletion.permanent import refuse_unless_permanent_is_exact
from orphan_pipeline.deletion.preflight import refuse_unless_undoable, versioning_of
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.quarantine.preflight import refuse_unless_kept
from orphan_pipeline.deletion.undo.selection import beginning_of
from orphan_pipeline.errors import Refused
from orphan_pipeline.settings.model import BucketSettings
from orphan_pipeline.settings.values import duration_text

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def undo_foreseen(client: "S3Client", settings: BucketSettings) -> tuple[bool, str]:
    """Whether deletion would find everything as its mode needs it, and one line about it. Looks only, and never fails a sweep: in mode
    dry_run it says what mode versioned would find."""
    deletion = settings.deletion
    try:
        if deletion.mode == "permanent":
            refuse_unless_permanent_is_exact(settings.bucket, versioning_of(client, settings.bucket))
            return True, "none: mode permanent deletes for good"
        if deletion.mode == "quarantine" and deletion.quarantine is not None:
            refuse_unless_kept(client, Quarantine.of(deletion.quarantine), deletion.undo_window)
            return True, f"for {duration_text(deletion.undo_window)}, from {deletion.quarantine}"
        for prefix in settings.prefixes:
            refuse_unless_undoable(client, settings.bucket, deletion.undo_window, prefix=beginning_of(prefix.path))
    except Refused as refused:
        return False, str(refused)
    except (BotoCoreError, ClientError) as error:
        return False, f"not known: {error}"
    return True, f"for {duration_text(deletion.undo_window)}, from the bucket's own versions"
