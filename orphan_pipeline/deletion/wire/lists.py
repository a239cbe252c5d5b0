"""A page of versions (ListObjectVersions) at a quarter of botocore's cost, which is 80 ms of one core for 1,000 records; looks for newer
objects read two such pages for each chunk (docs/deletion.md). The answer is read here, at botocore's own hook, by botocore's own model of
it, into what botocore would make of it; keys are decoded by botocore afterwards. Whatever the model does not know, or is not written in the
plainest way, is left to botocore.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OURS = "orphan_pipeline_lists"
OPERATION = "ListObjectVersions"
ROOT = "ListVersionsResult"
OK = 200

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
NUMBER = re.compile(r"\d{1,18}", re.ASCII)


class NotPlain(Exception):
    """Something that is left to botocore."""


Reader = Callable[["ElementTree.Element", int], Any]
"""What botocore makes of an element; `start` is where the names of tags begin, behind their namespace. Raises NotPlain."""


@dataclass(frozen=True, slots=True)
class Field:
    """`many`: the element stands once for each of a list."""

    name: str
    many: bool
    read: Reader


def quicken_lists(client: "S3Client") -> None:
    events: Any = client.meta.events
    # A wildcard in the service's place comes before botocore's own handler, which parses every body to see whether it is an error.
    events.register(f"before-parse.*.{OPERATION}", _read_answer, unique_id=OURS)


def _read_answer(operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    if response_dict["status_code"] != OK:
        return
    found = parsed(response_dict["body"], operation_model)
    if found is not None:
        customized_response_dict.update(found)
        response_dict["body"] = f"<{ROOT}/>".encode()


def parsed(body: bytes, operation_model: Any) -> dict[str, Any] | None:
    """What botocore makes of a page, keys as they are written; None where that is left to it."""
    try:
        root = ElementTree.fromstring(body)
        namespace, brace, name = root.tag.rpartition("}")
        if name != ROOT:
            return None
        return _structure(root, len(namespace + brace), fields=_fields(operation_model.output_shape))
    except (ElementTree.ParseError, NotPlain):
        return None


def _structure(element: "ElementTree.Element", start: int, *, fields: dict[str, Field]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for child in element:
        field = fields.get(child.tag[start:])
        if field is None:
            raise NotPlain
        if field.many:
            found.setdefault(field.name, []).append(field.read(child, start))
        elif field.name in found:
            raise NotPlain
        else:
            found[field.name] = field.read(child, start)
    return found


@lru_cache
def _fields(shape: Any) -> dict[str, Field]:
    """By their tags, those fields of a structure that are read here."""
    fields: dict[str, Field] = {}
    for name, its in shape.members.items():
        if its.type_name == "list" and its.serialization.get("flattened"):
            tag = its.member.serialization.get("name") or its.serialization.get("name") or name
            one, many = its.member, True
        else:
            tag, one, many = its.serialization.get("name") or name, its, False
        read = partial(_structure, fields=_fields(one)) if one.type_name == "structure" else SCALARS.get(one.type_name)
        if read is not None and "location" not in its.serialization:
            fields[tag] = Field(name, many, read)
    return fields


def _text(element: "ElementTree.Element", _: int = 0) -> str:
    if len(element):
        raise NotPlain
    return element.text or ""


def _truth(element: "ElementTree.Element", _: int) -> bool:
    return _text(element) == "true"  # as botocore reads it


def _number(element: "ElementTree.Element", _: int) -> int:
    text = _text(element)
    if not NUMBER.fullmatch(text):
        raise NotPlain
    return int(text)


def _time(element: "ElementTree.Element", _: int) -> datetime:
    text = _text(element)
    if not TIME.fullmatch(text):
        raise NotPlain
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise NotPlain from None


SCALARS: dict[str, Reader] = {"string": _text, "boolean": _truth, "integer": _number, "long": _number, "timestamp": _time}
