"""Brings objects back by removing our delete markers. Only our own marker is ever removed (or one that may be ours, of what is `unknown`
or between ours and the object, where somebody asked for that), and only when the planned object is what it hides, or one that the
application wrote later (newer.py), or what stands there although the marker was left behind (SeaweedFS does that when the connection
breaks); no object is ever touched."""

from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import zip_longest
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.ledger import NO_MARKER
from orphan_pipeline.deletion.looking import Current
from orphan_pipeline.deletion.newer.objects import hides_newer
from orphan_pipeline.deletion.requests import ATTEMPTS_TO_REMOVE, TRY_AGAIN, remove_every_marker, tried_until_done
from orphan_pipeline.deletion.standing import current_of
from orphan_pipeline.deletion.undo.outcomes import Line, Result
from orphan_pipeline.deletion.wire.quickened import quickened
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OVERLOOKED = "NewerNotCurrent"
"""Code of a key that the application wrote in the very moment in which its marker went, where the store makes the older object current:
SeaweedFS 4.48, in 6 of 2,000 such pairs. Nothing that may be done by us puts that right without touching an object."""

LOOKS = 4


def unmarked(client: "S3Client", bucket: str, lines: Sequence[Line], pool: Executor, *, named: bool, include_unknown: bool) -> list[Result]:
    """One result a line, in order; `lines` ascend by key. Raises Refused when the store stays too busy."""
    client = quickened(client)
    before = dict(zip((line["key"] for line in lines), current_of(client, bucket, [line["key"] for line in lines], pool), strict=True))
    between = {line["key"]: markers for line in lines if (markers := _between(line, before[line["key"]]))}
    unknown = {key for key, markers in between.items() if not include_unknown or markers & {*NO_MARKER}}
    ours = [line for line in lines if line["key"] not in unknown and _ours_to_remove(line, before[line["key"]], named=named)]
    refused: dict[str, str] = {}
    # Ours last: as long as it is the current one, whoever is killed here and runs again finds what lies between. One of each key at a time.
    asked_for = [[(key, marker) for marker in markers] for key, markers in between.items() if key not in unknown]
    for others in zip_longest(*asked_for):
        refused |= _remove(client, bucket, dict(filter(None, others)))
    refused |= _remove(client, bucket, {line["key"]: line["version_id"] for line in ours if line["key"] not in refused})
    gone = {line["key"] for line in ours if line["key"] not in refused}
    to_look_at = [line["key"] for line in lines if line["key"] in gone or before[line["key"]].overlooked]
    after = before | _settled(client, bucket, to_look_at, pool)
    return [
        Result("refused", refused[line["key"]])
        if line["key"] in refused
        else Result("unknown")
        if line["key"] in unknown
        else _outcome(line, after[line["key"]])
        for line in lines
    ]


def _settled(client: "S3Client", bucket: str, keys: Sequence[str], pool: Executor) -> dict[str, Current]:
    """What is current; looked at again while the store lists a newer version and does not call it current, which may pass."""
    found: dict[str, Current] = {}

    def attempt() -> bool:
        open_ones = [key for key in keys if key not in found or found[key].overlooked]
        found.update(zip(open_ones, current_of(client, bucket, open_ones, pool), strict=True))
        return any(found[key].overlooked for key in open_ones)

    tried_until_done(attempt, attempts=LOOKS)
    return found


def _between(line: Line, current: Current) -> frozenset[str]:
    """Markers between ours, which is the current one, and the planned object: of an earlier request of ours whose answer was lost, or of
    the application's own delete in that moment."""
    ours_hides_it = current.marker is not None and current.marker == line["version_id"] and current.behind == line["etag"]
    if not ours_hides_it or hides_newer(current, etag=line["etag"], last_modified=line["last_modified"]):
        return frozenset()
    return current.between


def _ours_to_remove(line: Line, current: Current, *, named: bool) -> bool:
    """Were anything older behind the marker, its removal would bring back what the application had replaced."""
    ours: str | None = line["version_id"]
    if ours in NO_MARKER:  # an object can have the version id `null` too, so that removing it could remove an object
        return False
    planned_is_next = line["etag"] == (current.etag if current.marker is None else current.behind)
    # Of an `unknown` delete the marker may be the application's, which then deleted its newer object itself: it comes back by its key.
    ours_or_asked_for = named or line["outcome"] == "deleted"
    if ours_or_asked_for and current.marker == ours and hides_newer(current, etag=line["etag"], last_modified=line["last_modified"]):
        return True
    return ours in current.markers and current.marker in (None, ours) and planned_is_next


def _remove(client: "S3Client", bucket: str, markers: dict[str, str]) -> dict[str, str]:
    """Gives the store's code for each key whose marker it will not remove; the other keys go on."""
    refused = remove_every_marker(client, bucket, markers)
    for key, code in refused.items():
        if code in TRY_AGAIN:
            raise Refused(
                f"restore: the store is still too busy to remove delete markers after {ATTEMPTS_TO_REMOVE} attempts ({code} for {key!r}): "
                "run it again later"
            )
    return refused


def _outcome(line: Line, current: Current) -> Result:
    if current.overlooked:
        return Result("refused", OVERLOOKED)
    if current.etag is not None:
        return Result("restored" if current.etag == line["etag"] else "newer")
    return Result("lost" if current.marker in (None, line["version_id"]) else "deleted_again")
