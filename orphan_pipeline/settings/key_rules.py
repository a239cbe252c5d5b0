"""Settings of how a raw value becomes a key: the rules, in the order in which they are written. What they do is SQL, and belongs in
`references.normalise`."""

from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from orphan_pipeline.settings import checks
from orphan_pipeline.settings.part import FROM_FILE, Flag, Part, Text
from orphan_pipeline.settings.values import Expected


class Strip(Part):
    rule: Literal["strip"] = "strip"
    bases: tuple[str, ...]


class DropQuery(Part):
    rule: Literal["drop_query"] = "drop_query"


class Decode(Part):
    rule: Literal["decode"] = "decode"
    how: Literal["percent", "form"] = "percent"


class Unicode(Part):
    rule: Literal["unicode"] = "unicode"
    form: Literal["nfc", "nfd"]


class LeadingSlash(Part):
    rule: Literal["leading_slash"] = "leading_slash"
    what: Literal["drop", "add"]


class Prepend(Part):
    rule: Literal["prepend"] = "prepend"
    prefix: str


KeyStep = Annotated[Strip | DropQuery | Decode | Unicode | LeadingSlash | Prepend, Field(discriminator="rule")]


class BucketUrls(Part):
    """Every base under which a store serves one bucket: virtual-hosted, path-style, `s3://`, with either scheme or none."""

    bucket: Annotated[Text, AfterValidator(checks.bucket_name)] = Field(description="The bucket whose own URLs are meant.")
    region: Annotated[Text, AfterValidator(checks.region_name)] | None = Field(
        default=None, description="On AWS: the region that stands in the URLs. Without it only those of `s3.amazonaws.com`."
    )
    endpoint: Annotated[Text, AfterValidator(checks.endpoint_url)] | None = Field(
        default=None, description="The store's URL, where it is not AWS."
    )

    def bases(self) -> tuple[str, ...]:
        """Sources: AWS's guide "Virtual hosting of general purpose buckets" (path-style, virtual-hosted, legacy `s3-region` and
        dual-stack endpoints)."""
        if self.endpoint is not None:
            hosts = [urlsplit(self.endpoint).netloc]
        else:
            hosts = ["s3.amazonaws.com"]
            if self.region is not None:
                domain = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
                hosts += [f"s3.{self.region}.{domain}", f"s3-{self.region}.{domain}", f"s3.dualstack.{self.region}.{domain}"]
        places = [place for host in hosts for place in (f"{self.bucket}.{host}/", f"{host}/{self.bucket}/")]
        return (f"s3://{self.bucket}/", *(f"{scheme}{place}" for scheme in ("https://", "http://", "//") for place in places))


def _base(value: Any) -> Any:
    return BucketUrls.model_validate(value) if isinstance(value, dict) else value


Base = Annotated[
    Annotated[Text, AfterValidator(checks.non_empty)] | BucketUrls,
    BeforeValidator(_base),
    Expected("a base such as https://cdn.example.com/, or {bucket: NAME}"),
]


class KeyMapping(Part):
    """`key` as the file has it. The order of its names is the order of application."""

    strip: Annotated[tuple[Base, ...], Field(min_length=1), Expected("a list of at least one base")] = Field(
        default=(),
        description="URL bases; the longest that the value begins with is taken off. `{bucket: NAME}` stands for all of that bucket's.",
    )
    drop_query: Flag = Field(default=False, description="Whether everything from the first `?` or `#` on is cut off.")
    decode: Annotated[Literal["percent", "form"] | None, Expected("percent or form")] = Field(
        default=None, description="`percent` turns `%20` and the like into characters; `+` stays. With `form`, `+` is a space."
    )
    unicode: Annotated[Literal["nfc", "nfd"] | None, Expected("nfc or nfd")] = Field(
        default=None, description="The Unicode form that the bucket's keys have, where the source may have another."
    )
    leading_slash: Annotated[Literal["keep", "drop", "add"], Expected("keep, drop or add")] = Field(
        default="keep", description="Whether one `/` at the beginning is taken off (`drop`), or put where there is none (`add`)."
    )
    prepend: Annotated[Text, AfterValidator(checks.non_empty)] | None = Field(default=None, description="A text put before the value.")
    ignore_foreign: Annotated[
        Annotated[bool, Field(strict=True)] | Annotated[tuple[Annotated[Text, AfterValidator(checks.non_empty)], ...], Field(min_length=1)],
        Expected("true, false, or a list of URL bases"),
    ] = Field(
        default=False,
        description="Whether a URL under no base of `strip` is counted and passed over, in place of failing the sweep: all of them but "
        "those with the host of such a base, or only those under the bases of a list.",
    )

    def steps(self, order: list[str]) -> tuple[KeyStep, ...]:
        steps: dict[str, KeyStep] = {}
        if self.strip:
            steps["strip"] = Strip(bases=tuple(dict.fromkeys(base for entry in self.strip for base in _bases(entry))))
        if self.drop_query:
            steps["drop_query"] = DropQuery()
        if self.decode:
            steps["decode"] = Decode(how=self.decode)
        if self.unicode:
            steps["unicode"] = Unicode(form=self.unicode)
        if self.leading_slash != "keep":
            steps["leading_slash"] = LeadingSlash(what=self.leading_slash)
        if self.prepend:
            steps["prepend"] = Prepend(prefix=self.prepend)
        return tuple(steps[name] for name in order if name in steps)


def _bases(entry: str | BucketUrls) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else entry.bases()


class KeyRules(Part):
    """How a raw value becomes a key: the steps, in the order in which they are applied, and which URLs may be passed over."""

    written_as: ClassVar[type[Part]] = KeyMapping

    steps: tuple[KeyStep, ...] = Field(default=(), description="The steps in the order of application.")
    ignore_foreign: bool | tuple[str, ...] = Field(default=False, description="Foreign URLs that yield no key and are no mistake.")

    @model_validator(mode="before")
    @classmethod
    def _from_mapping(cls, data: Any, info: ValidationInfo) -> Any:
        # `steps` is the form of dumps and of code; in a file there is one form only
        if isinstance(data, dict) and (info.context == FROM_FILE or "steps" not in data):
            mapping = KeyMapping.model_validate(data)
            return {"steps": mapping.steps(list(data)), "ignore_foreign": mapping.ignore_foreign}
        return data
