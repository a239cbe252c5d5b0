"""The JSON paths that a reference source may name: members of members, and at most one array.

    $.attachments[*].url      $."my files".key      $.a.b

Only this grammar can be accounted for element by element. Reading documents with the paths belongs in `references`.
"""

import re
from dataclasses import dataclass
from functools import cached_property

_MEMBER = r'\.(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\\x00-\x1f]|\\["\\])+")'
_PATH = re.compile(rf"\$((?:{_MEMBER})*)(?:\[\*\]((?:{_MEMBER})*))?")
_NEEDLESS_QUOTES = re.compile(r'\."([A-Za-z_][A-Za-z0-9_]*)"|(\.[A-Za-z_][A-Za-z0-9_]*|\."(?:[^"\\]|\\.)+")')


class BadJsonPath(ValueError):
    """A text outside the grammar. The message says what is expected."""


def _canonical(members: str) -> str:
    """One spelling for each path, so that paths into the same array are seen to share it: quotes only where needed."""
    return _NEEDLESS_QUOTES.sub(lambda match: f".{match[1]}" if match[1] else match[2], members)


@dataclass(frozen=True)
class JsonPath:
    """One path. Raises BadJsonPath when the text is outside the grammar."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.startswith("$"):
            raise BadJsonPath("expected a path such as $.attachments[*].url")
        if not _PATH.fullmatch(self.text):
            raise BadJsonPath(
                "not available yet: expected members and at most one [*], such as $.attachments[*].url "
                '(names other than letters, digits and _ in quotes: $."my-files"[*])'
            )

    @cached_property
    def _parts(self) -> tuple[str, str | None]:
        match = _PATH.fullmatch(self.text)
        assert match is not None  # the text was checked when the path was made
        return match[1], match[2]

    @property
    def array(self) -> str | None:
        """The path up to and including its `[*]`; None when it has none."""
        before, after = self._parts
        return None if after is None else f"${_canonical(before)}[*]"

    @property
    def rest(self) -> str:
        """What follows the `[*]`, from `$`, which stands for the element; the whole path when there is no `[*]`."""
        before, after = self._parts
        return f"${_canonical(before if after is None else after)}"

    def __str__(self) -> str:
        return self.rest if self.array is None else self.array + self.rest.removeprefix("$")
