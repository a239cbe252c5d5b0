"""An even sample of the keys that pass by, small whatever their number: the next listing is cut at its quantiles."""

from typing import Any

CUTS = 63
MOST_SAMPLED = 16_384
FIRST_STRIDE = 64


class KeySample:
    """Keeps every nth key; when there are too many, every second of them goes and n doubles."""

    def __init__(self) -> None:
        self._stride, self._seen = FIRST_STRIDE, 0
        self._keys: list[str] = []

    def add(self, keys: Any) -> None:
        """A column of keys, in any order."""
        first = -self._seen % self._stride
        self._keys += [keys[place].as_py() for place in range(first, len(keys), self._stride)]
        self._seen += len(keys)
        while len(self._keys) > MOST_SAMPLED:
            self._keys, self._stride = self._keys[::2], self._stride * 2

    def cuts(self) -> tuple[str, ...]:
        """At most 63 keys, ascending, that divide the keys about evenly; none for a small bucket."""
        ordered = sorted(self._keys)
        if len(ordered) <= CUTS:
            return ()
        return tuple(dict.fromkeys(ordered[(number + 1) * len(ordered) // (CUTS + 1)] for number in range(CUTS)))
