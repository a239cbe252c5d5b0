"""Brings objects back by removing our delete markers. Only our own marker is ever removed, and only when the planned object is what it
hides, or what stands there although the marker was left behind (SeaweedFS does that when the connection breaks); a newer object is never
touched."""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.ledger import NO_MARKER
from orphan_pipeline.deletion.looking import Current
from orphan_pipeline.deletion.requests import TRY_AGAIN, remove_markers, tried_until_done
from orphan_pipeline.deletion.undo.outcomes import Line, Restored, Result
from orphan_pipeline.deletion.undo.standing import current_etags, current_of
from orphan_pipeline.deletion.wire import quickened
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 6


def unmarked(client: "S3Client", bucket: str, lines: Sequence[Line], pool: Executor) -> list[Result]:
    """One result a line, in order; `lines` ascend by key. Raises Refused when the store stays too busy."""
    before = dict(zip((line["key"] for line in lines), current_of(client, bucket, [line["key"] for line in lines], pool), strict=True))
    ours = [line for line in lines if _ours_to_remove(line, before[line["key"]])]
    refused = _remove(quickened(client), bucket, {line["key"]: line["version_id"] for line in ours})
    gone = [line["key"] for line in ours if line["key"] not in refused]
    after = before | dict(zip(gone, current_etags(client, bucket, gone, pool), strict=True))
    return [
        Result("refused", refused[line["key"]]) if line["key"] in refused else Result(_outcome(line, after[line["key"]])) for line in lines
    ]


def _ours_to_remove(line: Line, current: Current) -> bool:
    """Were anything else behind the marker, its removal would bring back what the application had replaced."""
    ours: str | None = line["version_id"]
    if ours in NO_MARKER:  # an object can have the version id `null` too, so that removing it could remove an object
        return False
    planned_is_next = line["etag"] == (current.etag if current.marker is None else current.behind)
    return ours in current.markers and current.marker in (None, ours) and planned_is_next


def _remove(client: "S3Client", bucket: str, markers: dict[str, str]) -> dict[str, str]:
    """Gives the store's code for each key whose marker it will not remove; the other keys go on."""
    left = dict(markers)
    final: dict[str, str] = {}

    def remove_the_rest() -> bool:
        refused = remove_markers(client, bucket, left)
        final.update({key: code for key, code in refused.items() if code not in TRY_AGAIN})
        for key in left.keys() - refused.keys() | final.keys():
            left.pop(key, None)
        return bool(left)

    if not tried_until_done(remove_the_rest, attempts=ATTEMPTS):
        raise Refused(f"restore: the store is still too busy to remove delete markers after {ATTEMPTS} attempts: run it again later")
    return final


def _outcome(line: Line, current: Current) -> Restored:
    if current.etag is not None:
        return "restored" if current.etag == line["etag"] else "newer"
    return "lost" if current.marker in (None, line["version_id"]) else "deleted_again"
