"""Settings of hooks: functions of the operator's own that are called for each chunk."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from orphan_pipeline.settings.part import Part, Text
from orphan_pipeline.settings.values import EnvRef, Expected, mistake

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def _function_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise mistake("expected module:function")
    return value


def _options(value: dict[str, Any]) -> dict[str, Any]:
    """An option can be a secret, in the one way in which secrets are given."""
    return {
        name: EnvRef.model_validate(option) if isinstance(option, dict) and "env" in option else option for name, option in value.items()
    }


class HookSettings(Part):
    """One function, and what it is given beside the chunk."""

    call: Annotated[Text, AfterValidator(_function_name), Expected("module:function")] = Field(
        description="The function, as `module:function`; the module must be importable where the run executes."
    )
    options: Annotated[dict[str, Any], AfterValidator(_options), Expected("a mapping of the function's options")] = Field(
        default_factory=dict, description="Keyword arguments for the function. A value `{env: NAME}` is read from the environment."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"call": data} if isinstance(data, str) else data


Hooks = Annotated[
    tuple[Annotated[HookSettings, Expected("module:function, or a mapping with call and options")], ...],
    Expected("a list of module:function"),
]
