"""What is wrong with a value that gives no key where one was expected, as the statements write it down and as people read it."""

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from orphan_pipeline.references.refusals import LONGEST_SHOWN, one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A value that gives no key where one was expected. `ignore` is the path by which a null there would be ignored, `types` what a key
    may be."""

    place: str
    ignore: str
    wanted: Literal["key", "object", "element"]
    types: str
    found: str
    value: str

    def __str__(self) -> str:
        if self.found == "null":
            return f'{self.place} is null; if a null there stands for no key, add "{self.ignore}" to ignore'
        if self.value == '""':
            return f"{self.place} is an empty string, no key; correct the row, or add a member of such values to ignore"
        article = "an" if self.found in {"object", "array"} else "a"
        found = f"{self.place} is {article} {self.found}, {one_line(self.value, LONGEST_SHOWN)}"
        if self.wanted == "object":
            return f"{found}; expected an object with the members that json_paths names; correct json_paths"
        if self.wanted == "key":
            return f"{found}; expected a {self.types}; correct json_paths, or add a member of such values to ignore"
        return f"{found}; json_paths finds no key in it: add the path of its key there, or one of its members to ignore"


PROBLEMS = TypeAdapter(Problem)
