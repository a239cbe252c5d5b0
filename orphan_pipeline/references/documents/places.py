"""Where in a document keys may stand: the paths of a source as a tree of arrays, and JSON paths as PostgreSQL spells them.

A node is the document itself, or one array; below it lie the places of its keys and its inner arrays. What is asked of a place belongs in
`verdicts` (every element, slowly) and `closing` (the whole document at once).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from orphan_pipeline.settings.json_paths import JsonPath

MEMBER = re.compile(r'\.(?:([A-Za-z_][A-Za-z0-9_]*)|("(?:[^"\\]|\\.)+"))')


@dataclass(frozen=True, slots=True)
class Place:
    """One path below a root (the document, or an element): whether a key may stand there, or below it."""

    path: str
    is_key: bool
    is_between: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The document itself (`array` is None) or an array, by its full path. `keys` are paths below the document or an element;
    `inner` are the arrays directly below. `marks` are paths that say, where they exist, that there is no key. `nulls` are keys' places and
    what lies on the way to keys and inner arrays (`$`: the element itself, or what stands in the array's place): a null there stands for no
    key, and says nothing of what is beside it. `may_lack`: an element in which no path finds anything is as it should be."""

    array: str | None
    keys: tuple[str, ...]
    inner: tuple["Node", ...]
    marks: tuple[str, ...]
    nulls: tuple[str, ...]
    may_lack: bool

    @property
    def step(self) -> str:
        """The path from the node above to this one, without its `[*]`."""
        assert self.array is not None
        above = JsonPath(self.array.removesuffix("[*]"))
        return above.rest

    @property
    def places(self) -> list[Place]:
        """Keys, and what lies on the way to them and to the inner arrays; an array's own place is neither."""
        between = _between(self.keys, self.inner)
        return [Place(path, path in self.keys, path in between) for path in sorted({*self.keys, *between}, key=len)]

    def below(self) -> Iterator["Node"]:
        """Every array of the tree, outer ones first."""
        for node in self.inner:
            yield node
            yield from node.below()


def tree(json_paths: Sequence[JsonPath], ignore: Sequence[JsonPath], optional: Sequence[JsonPath]) -> Node:
    """The document's node with all arrays that the paths name. A document that lacks them all is as it should be."""
    return _node(None, json_paths, ignore, {str(path) for path in optional})


def _node(array: str | None, json_paths: Sequence[JsonPath], ignore: Sequence[JsonPath], optional: set[str]) -> Node:
    depth = 0 if array is None else len(JsonPath(array).arrays)
    within = [path for path in json_paths if array is None or array in path.arrays]
    here = [path for path in within if path.array == array]
    deeper = dict.fromkeys(path.arrays[depth] for path in within if len(path.arrays) > depth)
    keys = tuple(dict.fromkeys(path.rest for path in here))
    inner = tuple(_node(below, json_paths, ignore, optional) for below in deeper)
    places = {"$", *keys, *_between(keys, inner)}
    arrays = {node.step for node in inner}  # what stands there is looked at as their elements are
    ignored = dict.fromkeys(path.rest for path in ignore if path.array == array)
    return Node(
        array=array,
        keys=keys,
        inner=inner,
        marks=tuple(path for path in ignored if path not in places | arrays),
        nulls=tuple(path for path in ignored if path in places),
        may_lack=array is None or {*map(str, here), *deeper} <= optional,
    )


def _between(keys: Sequence[str], inner: Sequence[Node]) -> set[str]:
    """What lies on the way to keys and inner arrays."""
    return {before for path in [*keys, *(node.step for node in inner)] for before in _before(path)}


def _before(path: str) -> Iterator[str]:
    """The paths that lead to this one: `$` and `$.a` for `$.a.b`."""
    for member in MEMBER.finditer(path):
        yield path[: member.start()]


def members(path: str) -> list[str]:
    """The names in a path without arrays."""
    return [match[1] or match[2][1:-1].replace('\\"', '"').replace("\\\\", "\\") for match in MEMBER.finditer(path)]


def spelled(path: str) -> str:
    """With every member in quotes: some names are words of PostgreSQL's own."""
    return MEMBER.sub(lambda member: f'."{member[1]}"' if member[1] else f".{member[2]}", path)


def jsonpath(text: str) -> sql.Composed:
    return sql.SQL("{}::jsonpath").format(sql.Literal(text))
