"""The typed settings: every setting, its type, its default, its meaning, and what must hold between settings.

The settings of a source and of safety stand in `sources` and `safety`; everything is imported from here.
Reading the file and turning mistakes into lines belongs in `load`; what one value must look like in `checks` and
`values`. Pure data: nothing here connects to anything, and secrets are names of environment variables.
"""

from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from orphan_pipeline.settings import checks
from orphan_pipeline.settings.checks import identifier
from orphan_pipeline.settings.databases import DatabaseSettings
from orphan_pipeline.settings.deletion import DeletionSettings
from orphan_pipeline.settings.part import Flag, Part, Text
from orphan_pipeline.settings.prices import LIST_PRICES, with_list_prices
from orphan_pipeline.settings.retention import RetentionSettings
from orphan_pipeline.settings.safety import SafetySettings
from orphan_pipeline.settings.sources import (
    Decode,
    DropQuery,
    KeyRules,
    KeyStep,
    LeadingSlash,
    Prepend,
    ReferenceSettings,
    Strip,
    Unicode,
)
from orphan_pipeline.settings.values import DurationRange, EnvRef, Expected, Later, Memory, OneOf, duration_text, mistake, mistakes_below

__all__ = [
    "BucketSettings",
    "DatabaseSettings",
    "Decode",
    "DeletionSettings",
    "DropQuery",
    "InventorySettings",
    "KeyCredentials",
    "KeyRules",
    "KeyStep",
    "LeadingSlash",
    "PrefixSettings",
    "Prepend",
    "ProfileCredentials",
    "ReferenceSettings",
    "RetentionSettings",
    "SafetySettings",
    "ScheduleSettings",
    "Settings",
    "Strip",
    "Unicode",
    "identifier",
]


class ScheduleSettings(Part):
    cron: Annotated[Text, AfterValidator(checks.cron)] = Field(
        default="0 2 * * *", description="When the sweep of each bucket starts, in five cron fields."
    )
    timezone: Annotated[Text, AfterValidator(checks.timezone)] = Field(default="UTC", description="The time zone in which `cron` is meant.")


class KeyCredentials(Part):
    access_key_id: Annotated[EnvRef, Expected("{env: NAME}")] = Field(description="The environment variable that holds the access key id.")
    secret_access_key: Annotated[EnvRef, Expected("{env: NAME}")] = Field(
        description="The environment variable that holds the secret access key."
    )
    session_token: Annotated[EnvRef, Expected("{env: NAME}")] | None = Field(
        default=None, description="The environment variable that holds the token of a temporary session."
    )


class ProfileCredentials(Part):
    profile: Annotated[Text, AfterValidator(checks.non_empty)] = Field(
        description="A profile of the AWS configuration files, in place of the keys."
    )


def _credentials(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "profile" in value and len(value) > 1:
        raise mistake("found profile and keys together, expected one of the two", show_found=False)
    return ProfileCredentials.model_validate(value) if "profile" in value else KeyCredentials.model_validate(value)


class InventorySettings(Part):
    source: Annotated[Literal["listing", "s3_inventory"], OneOf(words=("listing", "s3_inventory"), later={})] = Field(
        default="listing",
        alias="from",
        description="Where the inventory comes from: `listing` asks the bucket; `s3_inventory` reads the reports of S3 Inventory.",
    )
    concurrency: Annotated[int, Field(strict=True, ge=1, le=256), Expected("a whole number from 1 to 256")] = Field(
        default=32, description="For `listing`: how many list requests are under way at once."
    )
    versions: Flag = Field(
        default=False,
        description="Whether every version of every object is in the inventory, delete markers too (ListObjectVersions, or a report of all "
        "versions). Orphans are found among current versions either way.",
    )
    manifest: (
        Annotated[Text, AfterValidator(checks.report_location), Expected("s3://bucket/prefix/ or s3://bucket/…/manifest.json")] | None
    ) = Field(
        default=None,
        description="For `s3_inventory`: the folder of the reports, whose newest complete one is read (a report's destination prefix, "
        "source bucket and configuration id: `s3://inv/media/acme-media/daily/`), or one report's `manifest.json`. "
        "The reports need the optional fields Size, LastModifiedDate and ETag.",
    )
    max_age: Annotated[timedelta, DurationRange(at_least=timedelta(hours=1))] = Field(
        default=timedelta(hours=48),
        description="For `s3_inventory`: how long before the sweep the scan of a report may have begun. An older report is refused.",
    )

    @model_validator(mode="after")
    def _of_the_source(self) -> Self:
        if self.source == "s3_inventory":
            if self.manifest is None:
                raise mistakes_below((("manifest",), "missing, expected beside from: s3_inventory"))
            return self
        # A dump names every setting, so what stands at its default counts as left out.
        given = [name for name in ("manifest", "max_age") if getattr(self, name) != type(self).model_fields[name].default]
        if given:
            raise mistakes_below(*(((name,), "found beside from: listing, expected only beside from: s3_inventory") for name in given))
        return self


class PrefixSettings(Part):
    path: Annotated[Text, AfterValidator(checks.prefix_path)] = Field(
        description="A prefix under which keys may be deleted; ends in `/`. `(all)` is the whole bucket."
    )
    split: Annotated[int, Field(strict=True, ge=0, le=8), Expected("a whole number from 0 to 8")] = Field(
        default=0, description="How many folders deep the prefix is cut into partitions of its own."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"path": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _whole_bucket_is_not_split(self) -> Self:
        if self.path == checks.WHOLE_BUCKET and self.split:
            raise mistakes_below((("split",), f"found {self.split}, expected 0, since (all) is not split"))
        return self


class BucketSettings(Part):
    bucket: Annotated[Text, AfterValidator(checks.bucket_name)] = Field(description="The real bucket's name.")
    endpoint: Annotated[Text, AfterValidator(checks.endpoint_url)] | None = Field(
        default=None, description="The store's URL, such as `https://s3.example.com`. Leave it out on AWS."
    )
    region: Annotated[Text, AfterValidator(checks.region_name)] | None = Field(
        default=None, description="The store's region. Left out: what boto3 finds."
    )
    credentials: Annotated[KeyCredentials | ProfileCredentials | None, BeforeValidator(_credentials), Expected("a mapping")] = Field(
        default=None, description="The two keys and perhaps a token, or a profile. Left out: what boto3 finds."
    )
    path_style: Annotated[Literal["auto"] | bool, BeforeValidator(checks.path_style)] = Field(
        default="auto",
        description="Whether the bucket stands in the URL's path and not in its host: auto, true or false.",
    )
    requester_pays: Flag = Field(default=False, description="Whether every request says that its sender pays for it.")
    inventory: InventorySettings = Field(default_factory=InventorySettings, description="How the inventory of the bucket is taken.")
    prefixes: Annotated[
        tuple[Annotated[PrefixSettings, Expected("a prefix such as uploads/, or a mapping")], ...],
        Field(min_length=1),
        Expected("a list of at least one prefix"),
    ] = Field(description="Only keys under these prefixes can be deleted. `uploads/`, or `{path: uploads/, split: 1}`.")
    protect: Annotated[tuple[Annotated[Text, AfterValidator(checks.protect_glob)], ...], Expected("a list of globs")] = Field(
        default=(), description="Globs in gitignore's meaning; what they match is never deleted."
    )
    list_unowned: Flag = Field(
        default=False,
        description="Whether orphans under no declared prefix are listed in the lake (`orphans/unowned.parquet`), and not only counted.",
    )
    owners: Annotated[
        tuple[Annotated[Text, AfterValidator(checks.owner)], ...],
        Field(min_length=1),
        Expected("a list of at least one e-mail address or team:name"),
    ] = Field(default=("team:storage",), description="Who owns the assets in Dagster: e-mail addresses or `team:name`.")
    references: Annotated[tuple[ReferenceSettings, ...], Field(min_length=1), Expected("a list of at least one reference source")] = Field(
        description="Every place in the databases that says which keys are in use."
    )
    safety: SafetySettings = Field(default_factory=SafetySettings, description="What must hold before a key is deletable.")
    deletion: DeletionSettings = Field(default_factory=DeletionSettings, description="How deletable keys are deleted.")

    @model_validator(mode="after")
    def _prefixes_apart(self) -> Self:
        paths = [prefix.path for prefix in self.prefixes]
        wrong = [(j, f"{paths[j]} overlaps {paths[i]}, expected one of the two") for i, j in checks.overlapping(paths)]
        if wrong:
            raise mistakes_below(*((("prefixes", j), text) for j, text in wrong))
        return self

    @model_validator(mode="after")
    def _reference_names_unique(self) -> Self:
        names = [source.name for source in self.references]
        again = [i for i, name in enumerate(names) if name in names[:i]]
        if again:
            text = "found {!r}, which is another source's name too, expected a unique one"
            raise mistakes_below(*((("references", i, "name"), text.format(names[i])) for i in again))
        return self

    @property
    def store(self) -> str:
        """What tells this bucket's store from another: host and port; empty for AWS."""
        url = urlsplit(self.endpoint or "")
        host = url.hostname or ""
        port = url.port or (443 if url.scheme == "https" else 80)
        return "" if not host or host.endswith(".amazonaws.com") else f"{host}:{port}"


def _checked_names(value: dict[str, Any]) -> dict[str, Any]:
    wrong = [((name,), text) for name, text in checks.wrong_with_names(list(value))]
    if wrong:
        raise mistakes_below(*wrong)
    return value


class Settings(Part):
    file: Path = Field(default=Path("orphan_pipeline.yaml"), exclude=True, description="The file itself; set by load, never in it.")
    lake: Annotated[Path, Expected("a folder such as ./lake")] = Field(
        description="The folder for snapshots, plans and ledgers; relative to the folder of this file."
    )
    memory_limit: Memory | None = Field(
        default=None,
        description="The memory that the joins of one stage may take, such as `4GiB`; what does not fit goes to a folder in the lake while "
        "the stage runs. Left out: half of what the container or the machine has.",
    )
    databases: Annotated[
        dict[str, DatabaseSettings],
        AfterValidator(_checked_names),
        Expected("a mapping of databases"),
    ] = Field(default_factory=dict, description="The PostgreSQL databases that refer to keys, each under a name of yours.")
    buckets: Annotated[
        dict[str, BucketSettings],
        Field(min_length=1),
        AfterValidator(_checked_names),
        Expected("a mapping of at least one bucket"),
    ] = Field(description="The buckets to sweep, each under a name of yours; asset keys begin with it.")
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings, description="When sweeps start.")
    demo: Flag = Field(default=False, description="Marks the demo's own file, which `check` points out.")
    retention: RetentionSettings = Field(default_factory=RetentionSettings, description="What is kept in the lake, and for how long.")
    prices: Annotated[
        dict[str, Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), Expected("USD, a number from 0")]],
        AfterValidator(with_list_prices),
        Expected("a mapping of storage classes to USD"),
    ] = Field(
        default=LIST_PRICES,
        description="What a GB (2**30 bytes) costs a month, in USD by storage class. Classes that are not named here keep the price that "
        "AWS lists for us-east-1 (first 50 TB, 2025), which is the default.",
    )
    notifications: Annotated[None, Later("sending notifications")] = Field(
        default=None, exclude=True, description="Who is told of sweeps and gates."
    )

    @field_validator("lake", mode="before")
    @classmethod
    def _local_folder(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and value.lower().startswith("s3://"):
            raise mistake("but a lake on S3 does not exist yet, expected a folder such as ./lake")
        if not isinstance(value, str | Path) or not str(value).strip() or "://" in str(value) or "\0" in str(value):
            raise mistake("expected a folder such as ./lake")
        return (info.data.get("file", Path()).parent / Path(value).expanduser()).resolve()

    @model_validator(mode="after")
    def _databases_declared(self) -> Self:
        known = f"one of {', '.join(self.databases)}" if self.databases else "a name declared under databases"
        wrong = [
            (("buckets", name, "references", i, "database"), f"found {source.database!r}, expected {known}")
            for name, bucket in self.buckets.items()
            for i, source in enumerate(bucket.references)
            if source.of_postgres and source.database not in self.databases
        ]
        if wrong:
            raise mistakes_below(*wrong)
        return self

    @model_validator(mode="after")
    def _lakes_of_others(self) -> Self:
        """A bucket that took its own last references would keep every key for ever."""
        wrong = [
            (("buckets", name, "references", i, "lake"), f"found {source.lake!r}, this bucket's own folder, expected another's")
            for name, bucket in self.buckets.items()
            for i, source in enumerate(bucket.references)
            if source.lake is not None and Path(source.lake).resolve() == self.lake / name
        ]
        if wrong:
            raise mistakes_below(*wrong)
        return self

    @model_validator(mode="after")
    def _buckets_apart(self) -> Self:
        wrong = []
        for (first, one), (second, other) in combinations(self.buckets.items(), 2):
            if (one.store, one.bucket) != (other.store, other.bucket):
                continue
            ours, theirs = [[prefix.path for prefix in bucket.prefixes] for bucket in (one, other)]
            for i, j in checks.overlapping(ours + theirs):
                loc = ("buckets", second, "prefixes", j - len(ours))
                text = f"{theirs[loc[3]]} overlaps {ours[i]} of buckets.{first}, which is the same bucket"
                wrong.append((loc, f"{text}, expected one of the two"))
        if wrong:
            raise mistakes_below(*wrong)
        return self

    @model_validator(mode="after")
    def _quarantines_apart(self) -> Self:
        """Swept prefixes inside a quarantine would be protected as it is, and their copies mixed with them."""
        wrong = []
        for name, owner in self.buckets.items():
            where, _, inside = (owner.deletion.quarantine or "").removeprefix("s3://").partition("/")
            for other, swept in self.buckets.items():
                if not where or (swept.store, swept.bucket) != (owner.store, where):
                    continue
                for path in (prefix.path for prefix in swept.prefixes):
                    if path.startswith(inside):
                        found = f"found {owner.deletion.quarantine!r}, which holds {path} of buckets.{other}"
                        wrong.append((("buckets", name, "deletion", "quarantine"), f"{found}, expected a place that nothing is swept from"))
        if wrong:
            raise mistakes_below(*wrong)
        return self

    def reports(self) -> list[str]:
        """The manifests of all inventory reports that are read."""
        return [bucket.inventory.manifest for bucket in self.buckets.values() if bucket.inventory.manifest is not None]

    def quarantines(self) -> list[str]:
        """Of all buckets."""
        return [bucket.deletion.quarantine for bucket in self.buckets.values() if bucket.deletion.quarantine is not None]

    def warnings(self) -> tuple[str, ...]:
        """One line for each setting that is allowed but lowers the protection or lets something be deleted."""
        lines = ["this is the demo's settings file: its ages are for a demonstration only"] if self.demo else []
        for name, bucket in self.buckets.items():
            safety, at = bucket.safety, f"buckets.{name}"
            lines += [f"{at}.{flag}" for flag in safety.flags()]
            if safety.confirmations == 1:
                lines.append(f"{at}.safety.confirmations is 1: one sweep is enough to delete")
            if safety.confirmation_gap < timedelta(hours=1):
                lines.append(f"{at}.safety.confirmation_gap is {duration_text(safety.confirmation_gap)}, under 1h")
            lines += [f"{at}.safety.{name} is {found}: that gate never trips" for name, found in safety.gates_off().items()]
            if bucket.deletion.mode == "permanent":
                lines.append(f"{at}.deletion.mode is permanent: what is deleted is gone for good, there is no undo")
            elif bucket.deletion.mode != "dry_run":
                lines.append(f"{at}.deletion.mode is {bucket.deletion.mode}: planned objects can be deleted")
        return tuple(lines)
