"""Rule 4b in slow Python, for the statements to be held against: every place that a path names is absent, a key, excused, or a problem, and
so is every element of every array."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Parts = tuple[str, ...]
"""A path's members, and `*` for an array's elements."""

ABSENT = object()


def parts_of(path: str) -> Parts:
    return tuple(path.removeprefix("$").replace("[*]", ".*").split(".")[1:])


@dataclass(frozen=True, slots=True)
class Source:
    paths: Sequence[Parts]
    ignore: Sequence[Parts]
    optional: frozenset[Parts]
    types: Sequence[str]

    def account(self, document: object) -> Counter[str] | None:
        """How often each key stands in the document; None where something in it is a problem."""
        keys = Counter[str]()
        arrays = {path[: n + 1] for path in self.paths for n, part in enumerate(path) if part == "*"}
        looked_at = [self._look(array, element, keys) for array in {(), *arrays} for element in self._elements(array, document)]
        return keys if all(looked_at) else None

    def _elements(self, array: Parts, document: object) -> Iterator[object]:
        """An array's, or what stands in its place; the document itself for no array."""
        if not array:
            yield document
            return
        above = _array_of(array[:-1])
        for element in self._elements(above, document):
            value = _at(element, array[len(above) : -1])
            if value is not ABSENT:
                yield from value if isinstance(value, list) else [value]

    def _look(self, array: Parts, element: object, keys: Counter[str]) -> bool:
        """Whether the element is as it should be; counts its keys."""
        here = {path[len(array) :] for path in self.paths if _array_of(path) == array}
        deeper = {
            path[len(array) : path.index("*", len(array))]
            for path in self.paths
            if path[: len(array)] == array and "*" in path[len(array) :]
        }
        between = {rest[:n] for rest in here | deeper for n in range(len(rest))}
        ignored = {path[len(array) :] for path in self.ignore if _array_of(path) == array}
        nulls = ignored & ({()} | here | between | deeper)
        if "null" in self.types:
            nulls |= here | ({()} if array else set())
        if any(_at(element, mark) is not ABSENT for mark in ignored - nulls):
            keys.update(str(value) for value in (_at(element, rest) for rest in here) if self._is_key(value))
            return True
        good = True
        accounted = not array or (() in nulls and element is None)
        for rest in here | between:
            value = _at(element, rest)
            if rest in here and self._is_key(value):
                keys[str(value)] += 1
                accounted = True
            elif rest in nulls and value is None:
                accounted = True
            elif array and not rest:
                pass  # the element as a whole: looked at below
            elif value is not ABSENT:
                good &= (isinstance(value, dict) and rest in between) or (value is None and rest not in here)
        accounted |= any(_at(element, rest) is not ABSENT for rest in deeper)
        all_optional = {(*array, *rest) for rest in here} | {(*array, *rest, "*") for rest in deeper} <= self.optional
        return good and element != "" and (accounted or (all_optional and isinstance(element, dict)))

    def _is_key(self, value: object) -> bool:
        return _type(value) in self.types and value not in ("", None)


def _array_of(path: Parts) -> Parts:
    return path[: max((n + 1 for n, part in enumerate(path) if part == "*"), default=0)]


def _at(value: Any, members: Parts) -> object:
    for member in members:
        if not isinstance(value, dict) or member not in value:
            return ABSENT
        value = value[member]
    return value


def _type(value: object) -> str:
    return {str: "string", int: "number", type(None): "null"}.get(type(value), "other")
