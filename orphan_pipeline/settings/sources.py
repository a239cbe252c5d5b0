"""Settings of one reference source: where the raw values stand and how they become keys."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from orphan_pipeline.settings import checks
from orphan_pipeline.settings.json_paths import JsonPath
from orphan_pipeline.settings.part import FROM_FILE, Count, Flag, Part, Text
from orphan_pipeline.settings.values import Expected, mistake, mistakes_below

JsonPathText = Annotated[Text, AfterValidator(checks.json_path)]
SqlName = Annotated[Text, AfterValidator(checks.column_name)]


class Strip(Part):
    rule: Literal["strip"] = "strip"
    bases: tuple[str, ...]


class DropQuery(Part):
    rule: Literal["drop_query"] = "drop_query"


class Decode(Part):
    rule: Literal["decode"] = "decode"
    how: Literal["percent"] = "percent"


class Prepend(Part):
    rule: Literal["prepend"] = "prepend"
    prefix: str


KeyStep = Annotated[Strip | DropQuery | Decode | Prepend, Field(discriminator="rule")]


class KeyMapping(Part):
    """`key` as the file has it. The order of its names is the order of application."""

    strip: Annotated[
        tuple[Annotated[Text, AfterValidator(checks.non_empty)], ...],
        Field(min_length=1),
        Expected("a list of at least one base"),
    ] = Field(default=(), description="URL bases; the longest one that the value begins with is taken off.")
    drop_query: Flag = Field(default=False, description="Whether everything from the first `?` or `#` on is cut off.")
    decode: Annotated[Literal["percent"] | None, Expected("percent")] = Field(
        default=None, description="`percent` turns `%20` and the like into characters; `+` stays."
    )
    prepend: Annotated[Text, AfterValidator(checks.non_empty)] | None = Field(default=None, description="A text put before the value.")

    def steps(self, order: list[str]) -> tuple[KeyStep, ...]:
        steps: dict[str, KeyStep] = {}
        if self.strip:
            steps["strip"] = Strip(bases=self.strip)
        if self.drop_query:
            steps["drop_query"] = DropQuery()
        if self.decode:
            steps["decode"] = Decode(how=self.decode)
        if self.prepend:
            steps["prepend"] = Prepend(prefix=self.prepend)
        return tuple(steps[name] for name in order if name in steps)


class KeyRules(Part):
    """How a raw value becomes a key: the steps, in the order in which they are applied."""

    written_as: ClassVar[type[Part]] = KeyMapping

    steps: tuple[KeyStep, ...] = Field(default=(), description="The steps in the order of application.")

    @model_validator(mode="before")
    @classmethod
    def _from_mapping(cls, data: Any, info: ValidationInfo) -> Any:
        # `steps` is the form of dumps and of code; in a file there is one form only
        if isinstance(data, dict) and (info.context == FROM_FILE or "steps" not in data):
            return {"steps": KeyMapping.model_validate(data).steps(list(data))}
        return data


class ReferenceSettings(Part):
    name: Annotated[Text, AfterValidator(checks.reference_name)] = Field(
        description="A name of yours for the source, unique in the bucket."
    )
    database: Text = Field(description="The database that holds it: a name declared under `databases`.")
    table: Annotated[Text, AfterValidator(checks.table_name)] | None = Field(
        default=None, description="The table, `table` or `schema.table`, as the database spells it."
    )
    column: SqlName | None = Field(default=None, description="The column with the JSON documents (jsonb, json or text).")
    json_paths: Annotated[tuple[JsonPathText, ...], Expected("a list of at least one path")] = Field(
        default=(),
        description="Where in a document keys stand, such as `$.attachments[*].url`.",
    )
    ignore: Annotated[tuple[JsonPathText, ...], Expected("a list of paths")] = Field(
        default=(),
        description="Paths that mark an element of the array as one that holds no key. A path that also stands in `json_paths`, or an "
        "array itself, excuses a null there and nothing else.",
    )
    sql: Annotated[Text, AfterValidator(checks.sql_query)] | None = Field(
        default=None,
        description="In place of table, column and json_paths: a query that gives one column of raw values.",
    )
    key: KeyRules = Field(default_factory=KeyRules, description="How a raw value becomes a key; applied in the order written.")
    variants: Annotated[tuple[Annotated[Text, AfterValidator(checks.variant)], ...], Expected("a list of templates")] = Field(
        default=(),
        description="Keys derived from each key that are in use too: of `{dir}`, `{stem}`, `{suffix}`, `{key}`.",
    )
    expect_rows_at_least: Count = Field(
        default=1, description="The floor: with fewer references than this, the source is taken to be incomplete."
    )
    optional: Annotated[tuple[JsonPathText, ...], Expected("a list of paths out of json_paths, or of their arrays")] = Field(
        default=(),
        description="Paths of `json_paths`, or arrays that they lead through, that an element may lack. An element in which no path finds "
        "anything fails the sweep, unless all paths into it stand here.",
    )
    expect_types: Annotated[
        tuple[Literal["string", "number", "null"], ...], Field(min_length=1), Expected("a list of string, number and null")
    ] = Field(
        default=("string",),
        description="What may stand at `json_paths`: a string is a key, a number's text is one where `number` stands here, and null is no "
        "key where `null` does. Everything else fails the sweep.",
    )

    @model_validator(mode="after")
    def _one_kind_of_source(self) -> Self:
        of_table = {"table": self.table, "column": self.column, "json_paths": self.json_paths}
        given = [name for name, value in of_table.items() if value]
        if self.sql is not None:
            given += ["ignore"] if self.ignore else []
            if given:
                raise mistakes_below(*(((name,), "found beside sql, expected one of the two") for name in given))
            return self
        if not given:
            raise mistake("found neither sql nor table, expected sql, or table, column and json_paths", show_found=False)
        missing = [name for name in of_table if name not in given]
        if missing:
            raise mistakes_below(*(((name,), f"missing, expected beside {given[0]}") for name in missing))
        return self

    @model_validator(mode="after")
    def _ignored_arrays_are_read(self) -> Self:
        read = {array for path in self.json_paths for array in JsonPath(path).arrays}
        wrong = [(i, JsonPath(path)) for i, path in enumerate(self.ignore) if JsonPath(path).array not in read | {None}]
        if wrong:
            expected = "expected an array that json_paths names"
            raise mistakes_below(*((("ignore", i), f"found {path.text!r}, {expected}") for i, path in wrong))
        return self

    @model_validator(mode="after")
    def _optional_and_types_of_json_paths(self) -> Self:
        paths = [JsonPath(path) for path in self.json_paths]
        known = {text for path in paths for text in (str(path), *path.arrays)}
        wrong = [(i, path) for i, path in enumerate(self.optional) if str(JsonPath(path)) not in known]
        if wrong:
            expected = "expected a path of json_paths, or an array that one leads through"
            raise mistakes_below(*((("optional", i), f"found {path!r}, {expected}") for i, path in wrong))
        if self.expect_types == ("null",):
            raise mistakes_below((("expect_types",), "found null alone, expected string or number beside it"))
        if self.expect_types != ("string",) and not self.json_paths:
            raise mistakes_below((("expect_types",), "found without json_paths, expected beside them"))
        return self
