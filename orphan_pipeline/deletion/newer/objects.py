"""A newer object that the store hid under our own delete marker, uncovered before the chunk's outcome is final (rule 11).

Where a store does not decide the condition and carry out the delete in one step, a PUT in between is not refused and not lost, but lies
behind our marker, and the application does not find what it has just written (SeaweedFS 4.48: 65 of 150 such pairs). No probe can tell
such a store for certain, so every chunk is looked at after its delete, except on AWS, which promises one step. What was not there yet is
found by the second look (late.py).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orphan_pipeline.deletion.ledger import GONE, NO_MARKER, Answer, Planned
from orphan_pipeline.deletion.looking import Current
from orphan_pipeline.deletion.requests import remove_every_marker
from orphan_pipeline.deletion.standing import current_of
from orphan_pipeline.deletion.wire.quickened import quickened
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HIDDEN = "NewerObjectHidden"
"""Code of a key whose marker hides a newer object: ours is about to be removed; one that is `unknown` may be the application's own."""

UNCOVERED = "NewerObjectUncovered"
LOOKS_AT_ONCE = 32
"""Of all chunks of a run together; as many as the client has connections."""

ONE_SECOND = timedelta(seconds=1)
"""Listings may tell times in whole seconds."""


ONE_STEP = (".amazonaws.com", ".amazonaws.com.cn")
"""S3 user guide, conditional deletes: evaluated with the delete; a concurrent write is answered 412 or 409."""


def decides_in_one_step(endpoint: str) -> bool:
    """Whether the store behind this URL promises that no write comes between a delete's condition and the delete."""
    return (urlsplit(endpoint).hostname or "").endswith(ONE_STEP)


def hides_newer(current: Current, *, etag: str, last_modified: datetime) -> bool:
    """Whether what the current marker hides was written after the planned object: it has another ETag, or the same one and a later
    LastModified. What is older than the planned object was replaced by it and stays where it is."""
    if current.marker is None or current.behind is None or current.behind_at is None:
        return False
    if current.behind == etag:
        return current.behind_at >= last_modified + ONE_SECOND
    return current.behind_at >= last_modified


class NewerObjects:
    """Finds and uncovers them, a chunk at a time: at most one listing request a key, two or three for keys that lie close together.
    Thread-safe."""

    def __init__(self, *, client: "S3Client", bucket: str) -> None:
        """`client` may retry by itself: to remove a marker that is gone already has no effect."""
        self._client, self._bucket = quickened(client), bucket
        self._pool = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="newer")

    def hidden(self, planned: Sequence[Planned], answers: Mapping[str, Answer]) -> dict[str, Answer]:
        """Those of the answers whose marker hides a newer object, with the code that says so."""
        gone = [one for one in planned if answers[one.key].outcome in GONE and answers[one.key].version_id not in NO_MARKER]
        gone.sort(key=lambda one: one.key.encode())
        found = dict(zip(gone, current_of(self._client, self._bucket, [one.key for one in gone], self._pool), strict=True))
        return {
            one.key: replace(answers[one.key], code=HIDDEN)
            for one, current in found.items()
            if current.marker == answers[one.key].version_id and hides_newer(current, etag=one.etag, last_modified=one.last_modified)
        }

    def uncovered(self, answers: Mapping[str, Answer]) -> dict[str, Answer]:
        """The answers of those whose marker, ours beyond doubt, was found to hide a newer object, now or in a run that broke off. Raises
        Refused when the store does not remove it."""
        ours = {
            key: answer.version_id
            for key, answer in answers.items()
            if answer.outcome == "deleted" and answer.code == HIDDEN and answer.version_id is not None
        }
        refused = remove_every_marker(self._client, self._bucket, ours) if ours else {}
        for key, code in refused.items():
            raise Refused(
                f"{key!r}: the delete marker {ours[key]} of this plan hides an object that was written in the moment of its delete, and "
                f"the store does not remove it ({code}): remove that marker by its version id, or run this again"
            )
        return {key: replace(answers[key], outcome="changed", version_id=None, code=UNCOVERED) for key in ours}

    def close(self) -> None:
        """No look is under way any more."""
        self._pool.shutdown()
