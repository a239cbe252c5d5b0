"""What stands where in the model: which names a mapping takes, what a setting takes, in words.

For mistakes (`load`) and for documentation (`reference`). It reads the model's types and holds no words of its own
about single settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orphan_pipeline.settings.values import DurationRange, EnvRef, Expected, Later, OneOf

Loc = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """A type with what is annotated to it."""

    annotation: Any
    metadata: tuple[Any, ...] = ()

    def alternatives(self) -> tuple["Spot", ...]:
        """The types of a union, without None; the type itself if it is none."""
        if get_origin(self.annotation) is Annotated:
            inner, *metadata = get_args(self.annotation)
            return Spot(inner, (*self.metadata, *metadata)).alternatives()
        if get_origin(self.annotation) in (Union, UnionType):
            parts = (Spot(part, self.metadata) for part in get_args(self.annotation) if part is not NoneType)
            return tuple(spot for part in parts for spot in part.alternatives())
        return (self,)

    def models(self) -> tuple[type[BaseModel], ...]:
        """The mappings that can stand here, in the form that the file has."""
        found = [spot.annotation for spot in self.alternatives()]
        found = [part for part in found if isinstance(part, type) and issubclass(part, BaseModel)]
        return tuple(getattr(part, "written_as", part) for part in found if part is not EnvRef)

    def item(self) -> "Spot | None":
        """What the entries of this list or of this mapping of free names are; None when it is neither."""
        for spot in self.alternatives():
            if get_origin(spot.annotation) is tuple:
                return Spot(get_args(spot.annotation)[0])
            if get_origin(spot.annotation) is dict:
                return Spot(get_args(spot.annotation)[1])
        return None

    @property
    def is_list(self) -> bool:
        return any(get_origin(spot.annotation) is tuple for spot in self.alternatives())

    @property
    def later(self) -> bool:
        return any(isinstance(mark, Later) for mark in self.metadata)

    @property
    def expected(self) -> str:
        """What this takes, in words."""
        spots = self.alternatives()
        for mark in (mark for spot in spots for mark in reversed(spot.metadata)):
            if isinstance(mark, Expected):
                return mark.text
            if isinstance(mark, DurationRange | OneOf):
                return mark.expected
        words = [word for spot in spots if get_origin(spot.annotation) is Literal for word in get_args(spot.annotation)]
        if words:
            return " or ".join([*words, "true", "false"] if len(spots) > len(words) else words)
        return "a list" if self.is_list else "a mapping"


def field_spot(field: FieldInfo) -> Spot:
    return Spot(field.annotation, tuple(field.metadata))


def fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The names that the file can hold for this mapping, in order. What only code sets is not among them."""
    return {field.alias or name: field for name, field in model.model_fields.items() if not field.exclude or field_spot(field).later}


def spot_at(model: type[BaseModel], loc: Loc) -> Spot | None:
    """What stands at the path; None when the model has no such place."""
    spot: Spot | None = Spot(model)
    for part in loc:
        if spot is None:
            return None
        found = [fields(model)[str(part)] for model in spot.models() if part in fields(model)]
        spot = field_spot(found[0]) if found else spot.item()
    return spot
