"""A probe that this role may not make, or that the store answers otherwise than it should: what is said instead of what would have been
found. For who only looks; whoever deletes lets the error rise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import ClientError

from orphan_pipeline.errors import Refused

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NotKnown:
    """`why`: the request that was refused and the store's code for it, or the refusal in its own words."""

    why: str

    def __str__(self) -> str:
        return f"not known: {self.why}"


def tried(probe: Callable[[], T]) -> T | NotKnown:
    """What the probe finds."""
    try:
        return probe()
    except ClientError as error:
        first = _first(error)
        return NotKnown(f"{first.operation_name} was answered {first.response['Error'].get('Code', 'with an error')}")
    except Refused as refused:
        return NotKnown(str(refused))


def _first(error: ClientError) -> ClientError:
    """Of an error in a probe's tidying up, the one that it tidies up after."""
    before = error.__context__
    return _first(before) if isinstance(before, ClientError) else error
