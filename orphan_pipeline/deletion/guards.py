"""What is asked about a chunk before it goes, before each of its requests, and after it went: the seam between the executor and whoever
may hold a key back.

The executor calls every guard in the order in which it was given them, from several workers at once: a guard is
thread-safe. An exception of a guard stops the run before the chunk's request is sent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.requests import Alone, Together

Hold = Callable[[Sequence[Planned]], Mapping[str, Answer]]
"""Asked by a deleter about the keys that its next request names: those that must not go any more, each with the answer that the ledger
records. Raises Refused when nothing may be sent."""


def held_by(holds: Iterable[Hold], planned: Sequence[Planned]) -> dict[str, Answer]:
    """Each is asked about what those before it let go."""
    held: dict[str, Answer] = {}
    for hold in holds:
        held |= hold([one for one in planned if one.key not in held])
    return held


def unless_held(hold: Hold, send: Together) -> Together:
    """Asks right before the request, and sends the rest."""

    def held_or_sent(planned: Sequence[Planned]) -> Mapping[str, Answer | None]:
        held = hold(planned)
        free = [one for one in planned if one.key not in held]
        return {**held, **(send(free) if free else {})}

    return held_or_sent


def alone_unless_held(hold: Hold, send: Alone) -> Alone:
    return lambda one: hold([one]).get(one.key) or send(one)


def hold_nothing(planned: Sequence[Planned]) -> Mapping[str, Answer]:
    """A `Hold` where there are no guards."""
    return {}


class Guard(Protocol):
    """Looks at each chunk, and at each of its requests."""

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        """Once a chunk, before it is begun: for each key that must not go, the answer that the ledger records in its place
        (`referenced_again` or `held`, its code the reason). Raises Refused when the run must not go on."""
        ...

    def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        """As `before`, about the keys of one request, right before it is sent: hooks, copies and attempts that failed lie between, and
        what was known when the chunk began may be too old by now."""
        ...

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """The chunk's outcome is in the ledger. Raises Refused when the run must not go on."""
        ...

    def finish(self) -> None:
        """No chunk comes after this one; also called when the run stops early. What `after` put off is done now."""
        ...
