"""From YAML text to plain values, and where in the text each of them stands. What they mean is no concern of this file.

YAML 1.2's plain values only: true and false are the booleans, `yes`, `on`, `1:30` and dates are texts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Loc = tuple[int | str, ...]

_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    f"{_TAG}null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    f"{_TAG}bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    f"{_TAG}int": re.compile(r"[-+]?[0-9]{1,40}\Z"),
    f"{_TAG}float": re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?|\.nan|[-+]?\.inf)\Z"),
}
_MOST_VALUES = 100_000  # aliases of aliases of aliases could otherwise fill the memory


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {None: list(_PLAIN.items())}  # noqa: RUF012 - the name and form that PyYAML reads


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """Line and column count from 1."""

    line: int
    column: int
    loc: Loc = field(compare=False)
    text: str = field(compare=False)


class BrokenDocument(Exception):
    """The text cannot be read as one plain value."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Document:
    """`positions` holds (line, column), from 1, of every value; that of a mapping or list is where its name stands."""

    value: Any
    positions: dict[Loc, tuple[int, int]]
    names: dict[Loc, tuple[int, int]]  # where the name of a mapping's entry stands

    def has(self, loc: Loc) -> bool:
        return loc in self.positions

    def at(self, loc: Loc) -> Any:
        value = self.value
        for part in loc:
            value = value[part]
        return value


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


class _Reader:
    def __init__(self) -> None:
        self.positions: dict[Loc, tuple[int, int]] = {}
        self.names: dict[Loc, tuple[int, int]] = {}
        self.mistakes: list[Mistake] = []
        self._open: set[int] = set()

    def value(self, node: Node, loc: Loc) -> Any:
        place = self.names.get(loc, _place(node)) if not isinstance(node, ScalarNode) else _place(node)
        self.positions[loc] = place
        if len(self.positions) > _MOST_VALUES:
            raise BrokenDocument(Mistake(*place, (), f"more than {_MOST_VALUES} values, expected a settings file"))
        if isinstance(node, ScalarNode):
            return self._scalar(node, loc)
        if id(node) in self._open:
            return self._wrong(node, loc, "found an alias of what it stands in, expected a plain value")
        self._open.add(id(node))
        value = self._collection(node, loc)
        self._open.remove(id(node))
        return value

    def _wrong(self, node: Node, loc: Loc, text: str) -> None:
        self.mistakes.append(Mistake(*_place(node), loc, text))

    def _collection(self, node: Node, loc: Loc) -> Any:
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*loc, i)) for i, item in enumerate(node.value)]
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return dict(self._entries(node, loc))
        return self._wrong(node, loc, "found a tag, expected a plain value")

    def _entries(self, node: MappingNode, loc: Loc) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for name, value in node.value:
            if not isinstance(name, ScalarNode) or name.tag != f"{_TAG}str":
                self._wrong(name, loc, "found a name that is no text, expected one (in quotes, if it looks like a number)")
                continue
            below = (*loc, name.value)
            if name.value in seen:
                self._wrong(name, below, f"given twice, expected once (first on line {seen[name.value]})")
                continue
            seen[name.value], _ = self.names[below] = _place(name)
            yield name.value, self.value(value, below)

    def _scalar(self, node: ScalarNode, loc: Loc) -> Any:
        tag, text = node.tag, node.value
        if tag == f"{_TAG}str":
            return text
        if tag not in _PLAIN or not _PLAIN[tag].match(text):
            return self._wrong(node, loc, "found a tag, expected a plain value")
        if tag == f"{_TAG}null":
            return None
        if tag == f"{_TAG}bool":
            return text.lower() == "true"
        return int(text) if tag == f"{_TAG}int" else float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _yaml_mistake(wrong: yaml.YAMLError, text: str) -> Mistake:
    line = column = 1
    problem = "unreadable"
    if isinstance(wrong, yaml.reader.ReaderError):
        line, problem = text.count("\n", 0, int(wrong.position)) + 1, "a character that YAML does not allow"
    elif isinstance(wrong, yaml.MarkedYAMLError):
        mark = wrong.problem_mark or wrong.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        # PyYAML quotes names of aliases and tags, which a secret that begins with * or ! looks like
        problem = re.sub(r" '(?![<\\]|.')[^']*'", "", wrong.problem or problem)
    return Mistake(line, column, (), f"broken YAML: {problem}")


def read_document(text: str) -> Document:
    """Raises BrokenDocument for broken YAML, several documents, names given twice, tags, and names that are no text."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.YAMLError as wrong:
        raise BrokenDocument(_yaml_mistake(wrong, text)) from wrong
    except RecursionError as wrong:
        raise BrokenDocument(Mistake(1, 1, (), "broken YAML: nested too deeply")) from wrong
    reader = _Reader()
    value = None if node is None else reader.value(node, ())
    if reader.mistakes:
        raise BrokenDocument(*sorted(reader.mistakes))
    return Document(value, reader.positions, reader.names)
