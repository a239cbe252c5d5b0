"""The JSON paths that a reference source may name: members of members, and arrays of them.

    $.attachments[*].url      $."my files".key      $.blocks[*].images[*].key

Only this grammar can be accounted for element by element. Reading documents with the paths belongs in `references`.
"""

import re
from dataclasses import dataclass
from functools import cached_property

_MEMBER = r'\.(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"\\\x00-\x1f]|\\["\\])+")'
_PATH = re.compile(rf"\$(?:{_MEMBER}|\[\*\])*")
_PART = re.compile(rf"({_MEMBER})|\[\*\]")
_NEEDLESS_QUOTES = re.compile(r'\."([A-Za-z_][A-Za-z0-9_]*)"')


class BadJsonPath(ValueError):
    """A text outside the grammar. The message says what is expected."""


@dataclass(frozen=True)
class JsonPath:
    """One path. Raises BadJsonPath when the text is outside the grammar."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.startswith("$"):
            raise BadJsonPath("expected a path such as $.attachments[*].url")
        if not _PATH.fullmatch(self.text):
            raise BadJsonPath(
                "expected members and [*] only, such as $.attachments[*].url "
                '(names other than letters, digits and _ in quotes: $."my-files"[*])'
            )

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        """The members between the arrays. One spelling for each path, so that paths into the same array are seen to share it."""
        parts = [""]
        for part in _PART.finditer(self.text, 1):
            if part[1] is None:
                parts.append("")
            else:
                # quotes only where needed
                parts[-1] += _NEEDLESS_QUOTES.sub(lambda match: f".{match[1]}", part[1])
        return tuple(parts)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays on the way, outermost first, each as the path up to and including its `[*]`."""
        return tuple(f"${'[*]'.join(self._parts[:n])}[*]" for n in range(1, len(self._parts)))

    @property
    def array(self) -> str | None:
        """The innermost of them; None when there is none."""
        return self.arrays[-1] if self.arrays else None

    @property
    def rest(self) -> str:
        """What follows the last `[*]`, from `$`, which stands for the element; the whole path when there is no `[*]`."""
        return f"${self._parts[-1]}"

    def __str__(self) -> str:
        return f"${'[*]'.join(self._parts)}"
