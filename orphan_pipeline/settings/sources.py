"""Settings of one reference source: where the raw values stand and how they become keys. The rules themselves are in `key_rules`."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from orphan_pipeline.settings import checks
from orphan_pipeline.settings.incremental import IncrementalSettings
from orphan_pipeline.settings.json_paths import JsonPath
from orphan_pipeline.settings.key_rules import Decode, DropQuery, KeyMapping, KeyRules, KeyStep, LeadingSlash, Prepend, Strip, Unicode
from orphan_pipeline.settings.part import Count, Flag, Part, Text
from orphan_pipeline.settings.values import DurationRange, Expected, mistake, mistakes_below

__all__ = [
    "Decode",
    "DropQuery",
    "KeyMapping",
    "KeyRules",
    "KeyStep",
    "LeadingSlash",
    "Prepend",
    "ReferenceSettings",
    "Strip",
    "Unicode",
]

JsonPathText = Annotated[Text, AfterValidator(checks.json_path)]
SqlName = Annotated[Text, AfterValidator(checks.column_name)]

# What each kind of source must name, and what it may. The first kind that is named is the source's.
NEEDED = {"sql": ("database",), "table": ("database", "column"), "file": ("column",), "lake": ()}
ALLOWED = {
    "sql": ("pattern",),
    "table": ("json_paths", "ignore", "ignore_null", "pattern", "where"),
    "file": ("max_age",),
    "lake": ("take", "max_age"),
}


class ReferenceSettings(Part):
    name: Annotated[Text, AfterValidator(checks.reference_name)] = Field(
        description="A name of yours for the source, unique in the bucket."
    )
    database: Text = Field(
        default="", description="The database that holds it: a name declared under `databases`. Not for `file` and `lake`."
    )
    table: Annotated[Text, AfterValidator(checks.table_name)] | None = Field(
        default=None,
        description="The table, `table` or `schema.table`, as the database spells it; views and partitioned tables too.",
    )
    column: SqlName | None = Field(
        default=None,
        description="The column with the raw values: text, varchar, uuid or an array of them (every element is one), with `json_paths` "
        "also jsonb, json or text that holds JSON. For `file`: the column of the file.",
    )
    json_paths: Annotated[tuple[JsonPathText, ...], Expected("a list of at least one path")] = Field(
        default=(),
        description="Where in a JSON document keys stand, such as `$.attachments[*].url`.",
    )
    ignore: Annotated[tuple[JsonPathText, ...], Expected("a list of paths")] = Field(
        default=(),
        description="Paths that mark an element of the array as one that holds no key. A path that also stands in `json_paths`, or that "
        "one leads through, excuses a null there and nothing else, nor anything beside it. Of an array write `[*]`.",
    )
    ignore_null: Flag = Field(
        default=False, description="For a column that is an array: whether an element that is NULL stands for no key, and is no mistake."
    )
    pattern: Annotated[Text, AfterValidator(checks.non_empty)] | None = Field(
        default=None,
        description="A PostgreSQL regular expression that finds raw values inside free text: of each match the first group that captured, "
        "or the whole match if it has no groups. Text without a match yields no key.",
    )
    where: Annotated[Text, AfterValidator(checks.sql_condition)] | None = Field(
        default=None, description="An SQL condition; rows of the table for which it does not hold are not read. They protect nothing."
    )
    sql: Annotated[Text, AfterValidator(checks.sql_query)] | None = Field(
        default=None,
        description="In place of table and column: a query that gives one column of raw values, or of texts for `pattern`.",
    )
    file: Annotated[Text, AfterValidator(checks.export_path)] | None = Field(
        default=None,
        description="In place of a database: the absolute path of an export in Parquet or CSV (with a header, comma-separated, UTF-8), or "
        "a glob of such files, for systems that are not PostgreSQL.",
    )
    lake: Annotated[Text, AfterValidator(checks.absolute_path)] | None = Field(
        default=None,
        description="In place of a database: the absolute path of a bucket's folder in another lake, whose latest published sweep is read "
        "(for its references, the latest that passed its gates or was approved there).",
    )
    take: Annotated[Literal["references", "inventory"], Expected("references or inventory")] = Field(
        default="references",
        description="For `lake`: `references`, every key that its databases point at; or `inventory`, every key that its bucket holds.",
    )
    max_age: Annotated[timedelta, DurationRange(at_least=timedelta(minutes=1))] = Field(
        default=timedelta(hours=48),
        description="For `file` and `lake`: how long ago it may have been written (the oldest file of a glob) or taken. What is older "
        "fails the sweep.",
    )
    key: KeyRules = Field(default_factory=KeyRules, description="How a raw value becomes a key; applied in the order written.")
    variants: Annotated[tuple[Annotated[Text, AfterValidator(checks.variant)], ...], Expected("a list of templates")] = Field(
        default=(),
        description="Keys derived from each key that are in use too: of `{dir}`, `{stem}`, `{suffix}`, `{key}`, and `{up}`, the folder "
        "above `{dir}`. `*` stands for anything but `/`, and `**` for anything.",
    )
    expect_rows_at_least: Count = Field(
        default=1,
        description="The floor: with fewer rows than this (of the table that meet `where`, of the statement's answer, of the files), the "
        "source is taken to be incomplete. Whatever it says, a source must yield one reference at least.",
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
    incremental: Annotated[IncrementalSettings, Expected("{updated_at: COLUMN} or {append_only: COLUMN}")] | None = Field(
        default=None,
        description="For a table: only new rows are read and put to what the last sweep read of it. Such a sweep "
        "reports, but makes no plans.",
    )

    @property
    def kind(self) -> Literal["sql", "table", "file", "lake"]:
        if self.sql is not None:
            return "sql"
        if self.table is not None:
            return "table"
        return "file" if self.file is not None else "lake"

    @property
    def of_postgres(self) -> bool:
        """Whether a database is asked; otherwise files are read."""
        return self.kind in ("sql", "table")

    @property
    def json_may_be_key(self) -> bool:
        """Whether a value that looks like JSON is a key like any other: where a pattern says what a key is, and of a lake, which knows."""
        return self.pattern is not None or self.kind == "lake"

    @model_validator(mode="after")
    def _one_kind_of_source(self) -> Self:
        # A dump names every setting, so what stands at its default counts as left out.
        names = dict.fromkeys(name for kind in NEEDED for name in (kind, *NEEDED[kind], *ALLOWED[kind]))
        given = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
        kinds = [kind for kind in NEEDED if kind in given]
        if not kinds:
            if "column" in given:
                raise mistakes_below((("table",), "missing, expected beside column (or file)"))
            raise mistake("found no place to read, expected table and column, sql, file or lake", show_found=False)
        kind = kinds[0]
        wrong = [name for name in given if name not in (kind, *NEEDED[kind], *ALLOWED[kind])]
        if wrong:
            fields = [name for name in type(self).model_fields if name in wrong]
            raise mistakes_below(*(((name,), f"found beside {kind}, expected one of the two") for name in fields))
        missing = [name for name in NEEDED[kind] if name not in given]
        if missing:
            raise mistakes_below(*(((name,), f"missing, expected beside {kind}") for name in missing))
        return self

    @model_validator(mode="after")
    def _one_way_to_read_a_column(self) -> Self:
        if self.json_paths:
            wrong = [name for name in ("pattern", "ignore_null") if getattr(self, name)]
            raising = [((name,), "found beside json_paths, expected one of the two") for name in wrong]
        else:
            raising = [(("ignore",), "found without json_paths, expected only beside them")] if self.ignore else []
            if self.pattern is not None and self.ignore_null:
                raising.append((("ignore_null",), "found beside pattern, expected one of the two"))
        if raising:
            raise mistakes_below(*raising)
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
    def _optional_types_and_incremental(self) -> Self:
        paths = [JsonPath(path) for path in self.json_paths]
        known = {text for path in paths for text in (str(path), *path.arrays)}
        wrong = [(i, path) for i, path in enumerate(self.optional) if str(JsonPath(path)) not in known]
        if wrong:
            expected = "expected a path of json_paths, or an array that one leads through"
            raise mistakes_below(*((("optional", i), f"found {path!r}, {expected}") for i, path in wrong))
        if self.incremental is not None and self.kind != "table":
            raise mistakes_below((("incremental",), f"found beside {self.kind}, expected only beside table"))
        if self.expect_types == ("null",):
            raise mistakes_below((("expect_types",), "found null alone, expected string or number beside it"))
        if self.expect_types != ("string",) and not self.json_paths:
            raise mistakes_below((("expect_types",), "found without json_paths, expected beside them"))
        return self
