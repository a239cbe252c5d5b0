"""What every part of the settings is built of: the closed, immutable mapping, and the plain types with their words."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from orphan_pipeline.settings.values import Expected

FROM_FILE = "file"  # validation context of what was read from a file, not made by code

Text = Annotated[str, Expected("a text")]
Flag = Annotated[bool, Field(strict=True), Expected("true or false")]
Count = Annotated[int, Field(strict=True, ge=1), Expected("a whole number, at least 1")]


class Part(BaseModel):
    """A mapping of the settings file: immutable, and closed to names that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, serialize_by_alias=True)
