"""DeleteObjects at a third of botocore's cost: 1,000 keys with ETags and a full answer keep its validator, serialiser and parser busy for
30 ms of one core (docs/deletion.md). What they do is done here at botocore's own hooks; signing, checksums, sending, retries and errors
stay botocore's. A request or an answer that is not of the plain kind is left to botocore as it is."""

import re
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OURS = "orphan_pipeline_delete_objects"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
FIELDS = {"Key", "VersionId", "ETag"}
RESULT = "DeleteResult"
OK = 200

LINE_ENDS = {"\r": "&#xD;", "\n": "&#xA;"}
"""A parser would make one of the other."""

SPECIAL = re.compile("[&<>\r\n]")
KINDS = {"Deleted": "Deleted", "Error": "Errors"}
_ON_THE_WIRE = threading.local()


def quicken_deletes(client: "S3Client") -> None:
    events: Any = client.meta.events
    events.register_last("before-parameter-build.s3.DeleteObjects", _take_objects, unique_id=f"{OURS}-take")
    events.register_last("before-call.s3.DeleteObjects", _give_body, unique_id=f"{OURS}-give")
    events.register_first("before-send.s3.DeleteObjects", _note_sent, unique_id=f"{OURS}-sent")
    # A wildcard in the service's place comes before botocore's own handler, which parses every body to see whether it is an error.
    events.register("before-parse.*.DeleteObjects", _read_answer, unique_id=f"{OURS}-read")


def serialised(objects: Sequence[Mapping[str, str]], *, quiet: bool) -> bytes | None:
    """The body of a DeleteObjects request; None when an object has other fields than key, version and ETag."""
    lines = [f'<Delete xmlns="{NAMESPACE}">']
    for one in objects:
        if "Key" not in one or not one.keys() <= FIELDS:
            return None
        fields = [f"<{field}>{_escaped(text)}</{field}>" for field, text in one.items()]
        lines.append(f"<Object>{''.join(fields)}</Object>")
    lines.append(f"<Quiet>{str(quiet).lower()}</Quiet></Delete>")
    return "".join(lines).encode()


def parsed(body: bytes) -> dict[str, list[dict[str, Any]]] | None:
    """`Deleted` and `Errors` of a DeleteObjects answer, as botocore gives them; None when the body is no whole such answer."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None
    namespace, brace, name = root.tag.rpartition("}")
    if name != RESULT:
        return None
    start = len(namespace + brace)
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in root:
        kind = KINDS.get(entry.tag[start:])
        if kind is not None:
            found.setdefault(kind, []).append({field.tag[start:]: field.text or "" for field in entry})
    for line in found.get("Deleted", []):
        if "DeleteMarker" in line:
            line["DeleteMarker"] = line["DeleteMarker"].lower() == "true"  # as botocore reads it
    return found


def seconds_on_the_wire() -> float | None:
    """How long the last DeleteObjects request of this thread took from its first byte to the last of its answer, without what this
    process needed to make the one and read the other; told once. None when there was none, or no answer."""
    seconds: float | None = getattr(_ON_THE_WIRE, "seconds", None)
    _ON_THE_WIRE.seconds = None
    return seconds


def _note_sent(**_: object) -> None:
    _ON_THE_WIRE.sent, _ON_THE_WIRE.seconds = monotonic(), None


def _escaped(text: str) -> str:
    return escape(text, LINE_ENDS) if SPECIAL.search(text) else text


def _take_objects(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    delete = params.get("Delete", {})
    if not delete.keys() <= {"Objects", "Quiet"}:
        return
    body = serialised(delete.get("Objects", []), quiet=delete.get("Quiet", False))
    if body is not None:
        context[OURS] = body
        params["Delete"] = {"Objects": []}


def _give_body(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    if OURS in context:
        params["body"] = context[OURS]


def _read_answer(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    _ON_THE_WIRE.seconds = monotonic() - _ON_THE_WIRE.sent
    if response_dict["status_code"] != OK:
        return
    found = parsed(response_dict["body"])
    if found is not None:
        customized_response_dict.update(found)
        response_dict["body"] = f"<{RESULT}/>".encode()
