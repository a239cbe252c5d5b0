"""What is asked about a chunk before it goes and after it went: the seam between the executor and whoever may hold a key back.

The executor calls every guard in the order in which it was given them, from several workers at once: a guard is
thread-safe. An exception of a guard stops the run before the chunk's request is sent.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from orphan_pipeline.deletion.ledger import Answer, Planned


class Guard(Protocol):
    """Looks at each chunk twice."""

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        """Right before the chunk's request: for each key that must not go, the answer that the ledger records in its place
        (`referenced_again` or `held`, its code the reason). Raises Refused when the run must not go on."""
        ...

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """The chunk's outcome is in the ledger. Raises Refused when the run must not go on."""
        ...

    def finish(self) -> None:
        """No chunk comes after this one; also called when the run stops early. What `after` put off is done now."""
        ...
