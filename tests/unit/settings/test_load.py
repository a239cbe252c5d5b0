"""A right file becomes what it says."""

from datetime import timedelta
from pathlib import Path

import pytest

from orphan_pipeline.errors import BadSettings
from orphan_pipeline.settings.key_rules import BucketUrls
from orphan_pipeline.settings.load import find_settings, load_settings, missing_secrets
from orphan_pipeline.settings.model import (
    Decode,
    DropQuery,
    KeyCredentials,
    KeyRules,
    LeadingSlash,
    Prepend,
    ProfileCredentials,
    Settings,
    Strip,
    Unicode,
    identifier,
)

# SPEC section 5, without what does not exist yet
SKETCH = """\
lake: ./lake
databases:
  app:     {url: {env: APP_DATABASE_URL}}
  archive: {url: {env: ARCHIVE_DATABASE_URL}, system_identifier: "7431"}
buckets:
  media:
    bucket: acme-media
    endpoint: https://s3.example.com/
    region: eu-west-1
    credentials: {access_key_id: {env: KEY_ID}, secret_access_key: {env: SECRET_KEY}}
    path_style: auto
    inventory: {from: listing}
    prefixes: [uploads/, {path: avatars/, split: 1}]
    protect: ["**/.keep"]
    references:
      - {name: documents, database: app, table: public.documents, column: data,
         json_paths: ["$.attachments[*]", "$.attachments[*].url"], ignore: ["$.attachments[*].external"]}
      - {name: history, database: archive, table: public.documents_history, column: data,
         json_paths: ["$.attachments[*].url"],
         key: {strip: ["https://cdn.example.com/", "s3://acme-media/"], drop_query: true, decode: percent,
               prepend: uploads/}}
      - {name: avatars, database: app, sql: "SELECT avatar_key FROM users;\\n",
         variants: ["{dir}{stem}@2x{suffix}"], expect_rows_at_least: 1000}
    safety: {min_age: 7d, multipart_grace: 7d, confirmations: 2, confirmation_gap: 20h, max_orphan_fraction: 0.2,
             min_match_rate: 0.95, plan_expiry: 72h}
    deletion: {mode: dry_run, undo_window: 14d, max_deletions: 1000000, max_keys_per_second: 3000}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""


def _load(folder: Path, text: str) -> Settings:
    path = folder / "orphan_pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_the_sketch_is_read(tmp_path: Path) -> None:
    settings = _load(tmp_path, SKETCH)
    media = settings.buckets["media"]

    assert settings.file == tmp_path / "orphan_pipeline.yaml"
    assert settings.lake == tmp_path / "lake"
    assert settings.databases["archive"].system_identifier == "7431"
    assert media.endpoint == "https://s3.example.com"
    assert isinstance(media.credentials, KeyCredentials)
    assert media.credentials.access_key_id.env == "KEY_ID"
    assert [(prefix.path, prefix.split) for prefix in media.prefixes] == [("uploads/", 0), ("avatars/", 1)]
    assert media.inventory.source == "listing"
    assert media.owners == ("team:storage",)
    assert media.references[1].key.steps == (
        Strip(bases=("https://cdn.example.com/", "s3://acme-media/")),
        DropQuery(),
        Decode(),
        Prepend(prefix="uploads/"),
    )
    assert media.references[2].sql == "SELECT avatar_key FROM users"
    assert media.safety.plan_expiry == timedelta(hours=72)
    assert settings.warnings() == ()


def test_a_dump_holds_no_secret_and_becomes_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    settings = _load(tmp_path, SKETCH)
    dump = settings.model_dump(mode="json")
    assert "hunter2" not in str(dump)
    assert dump["buckets"]["media"]["safety"]["min_age"] == "7d"
    assert "file" not in dump
    assert "notifications" not in dump
    assert dump["retention"] == {"sweeps": 14}
    assert Settings.model_validate({**dump, "file": settings.file}) == settings


def test_key_rules_are_applied_and_dumped_in_the_order_of_the_file() -> None:
    rules = KeyRules.model_validate({"prepend": "a/", "drop_query": False, "strip": ["x://"]})
    assert rules.steps == (Prepend(prefix="a/"), Strip(bases=("x://",)))
    assert rules == KeyRules(steps=(Prepend(prefix="a/"), Strip(bases=("x://",))))
    assert rules.model_dump(mode="json") == {
        "steps": [{"rule": "prepend", "prefix": "a/"}, {"rule": "strip", "bases": ["x://"]}],
        "ignore_foreign": False,
    }


def test_every_key_rule_is_read(tmp_path: Path) -> None:
    rules = """{ignore_foreign: ["https://gravatar.com/"], leading_slash: drop, unicode: nfc, decode: form,
               strip: [{bucket: acme-media, endpoint: "https://s3.example.com"}, "https://cdn.example.com/"]}"""
    given = SKETCH[SKETCH.index("{strip:") : SKETCH.index("prepend: uploads/}") + len("prepend: uploads/}")]
    key = _load(tmp_path, SKETCH.replace(given, rules)).buckets["media"].references[1].key
    assert key.ignore_foreign == ("https://gravatar.com/",)
    assert key.steps[:3] == (LeadingSlash(what="drop"), Unicode(form="nfc"), Decode(how="form"))
    [strip] = key.steps[3:]
    assert isinstance(strip, Strip)
    assert strip.bases == (
        "s3://acme-media/",
        "https://acme-media.s3.example.com/",
        "https://s3.example.com/acme-media/",
        "http://acme-media.s3.example.com/",
        "http://s3.example.com/acme-media/",
        "//acme-media.s3.example.com/",
        "//s3.example.com/acme-media/",
        "https://cdn.example.com/",
    )


def test_the_urls_of_a_bucket_on_aws() -> None:
    bases = BucketUrls.model_validate({"bucket": "acme", "region": "eu-west-1"}).bases()
    assert len(bases) == len(set(bases)) == 25
    for base in (
        "s3://acme/",
        "https://acme.s3.amazonaws.com/",
        "https://s3.amazonaws.com/acme/",
        "https://acme.s3.eu-west-1.amazonaws.com/",
        "https://s3.eu-west-1.amazonaws.com/acme/",
        "http://s3-eu-west-1.amazonaws.com/acme/",
        "//acme.s3.dualstack.eu-west-1.amazonaws.com/",
    ):
        assert base in bases
    assert "https://acme.s3.cn-north-1.amazonaws.com.cn/" in BucketUrls.model_validate({"bucket": "acme", "region": "cn-north-1"}).bases()


def test_a_bucket_is_no_source_of_its_own(tmp_path: Path) -> None:
    source = f"{{name: own, lake: {tmp_path}/lake/../lake/media}}"
    text = SKETCH.replace("      - {name: documents", f"      - {source}\n      - {{name: documents")
    with pytest.raises(BadSettings, match="this bucket's own folder, expected another's"):
        _load(tmp_path, text)
    _load(tmp_path, text.replace("lake/media", "lake/others"))


def test_sources_that_are_no_database(tmp_path: Path) -> None:
    text = SKETCH[: SKETCH.index("databases:")] + SKETCH[SKETCH.index("buckets:") :]
    sources = text[text.index("      - {name: documents") : text.index("    safety:")]
    text = text.replace(
        sources,
        "      - {name: legacy, file: '/exports/legacy/**/*.parquet', column: path, max_age: 72h}\n"
        "      - {name: shop, lake: /srv/shop/lake/media, take: inventory}\n",
    )
    settings = _load(tmp_path, text)
    legacy, shop = settings.buckets["media"].references
    assert settings.databases == {}
    assert [(source.kind, source.of_postgres, source.database) for source in (legacy, shop)] == [("file", False, ""), ("lake", False, "")]
    assert (legacy.max_age, shop.max_age, shop.take) == (timedelta(hours=72), timedelta(hours=48), "inventory")
    dump = settings.model_dump(mode="json")
    assert Settings.model_validate({**dump, "file": settings.file}) == settings


def test_a_profile_in_place_of_keys(tmp_path: Path) -> None:
    keys = "{access_key_id: {env: KEY_ID}, secret_access_key: {env: SECRET_KEY}}"
    credentials = _load(tmp_path, SKETCH.replace(keys, "{profile: sweeper}")).buckets["media"].credentials
    assert credentials == ProfileCredentials(profile="sweeper")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("auto", "auto")])
def test_path_style(tmp_path: Path, text: str, value: object) -> None:
    assert _load(tmp_path, SKETCH.replace("path_style: auto", f"path_style: {text}")).buckets["media"].path_style is value


def test_the_lake_is_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    _load(tmp_path / "there", SKETCH)
    monkeypatch.chdir(tmp_path)
    assert load_settings(Path("there/orphan_pipeline.yaml")).lake == tmp_path / "there" / "lake"
    assert _load(tmp_path, SKETCH.replace("./lake", "/var/lake")).lake == Path("/var/lake")


def test_the_whole_bucket(tmp_path: Path) -> None:
    text = SKETCH.replace("[uploads/, {path: avatars/, split: 1}]", "[(all)]")
    assert _load(tmp_path, text).buckets["media"].prefixes[0].path == "(all)"


def test_aliases_repeat_what_they_name(tmp_path: Path) -> None:
    text = SKETCH.replace("app:     {url: {env: APP_DATABASE_URL}}", "app: &app {url: {env: X}}\n  copy: *app")
    settings = _load(tmp_path, text)
    assert settings.databases["copy"] == settings.databases["app"]


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(_load(tmp_path, SKETCH), "demo", True)  # noqa: B010


def test_what_lowers_the_protection_is_said(tmp_path: Path) -> None:
    text = SKETCH.replace("min_age: 7d", "min_age: 20s, allow_short_min_age: true")
    text = text.replace("confirmations: 2, confirmation_gap: 20h", "confirmations: 1, confirmation_gap: 1s")
    text = text.replace("max_orphan_fraction: 0.2", "max_orphan_fraction: 1.0")
    text = text.replace("mode: dry_run", "mode: versioned") + "demo: true\n"
    assert _load(tmp_path, text).warnings() == (
        "this is the demo's settings file: its ages are for a demonstration only",
        "buckets.media.safety.allow_short_min_age is true: min_age is 20s, the floor of 24h is off",
        "buckets.media.safety.confirmations is 1: one sweep is enough to delete",
        "buckets.media.safety.confirmation_gap is 1s, under 1h",
        "buckets.media.safety.max_orphan_fraction is 1.0: that gate never trips",
        "buckets.media.deletion.mode is versioned: planned objects can be deleted",
    )


def test_a_pin_may_name_the_database_too(tmp_path: Path) -> None:
    settings = _load(tmp_path, SKETCH.replace('"7431"', '"7431000000000000000/16384"'))
    assert settings.databases["archive"].system_identifier == "7431000000000000000/16384"


def test_every_unset_secret_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("KEY_ID", "")
    for name in ("ARCHIVE_DATABASE_URL", "SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "orphan_pipeline.yaml"
    assert missing_secrets(_load(tmp_path, SKETCH)) == (
        f"{file}: databases.archive.url: environment variable ARCHIVE_DATABASE_URL is not set",
        f"{file}: buckets.media.credentials.access_key_id: environment variable KEY_ID is not set",
        f"{file}: buckets.media.credentials.secret_access_key: environment variable SECRET_KEY is not set",
    )


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORPHAN_PIPELINE_SETTINGS", raising=False)
    assert find_settings(None) is None
    Path("orphan_pipeline.yaml").write_text(SKETCH)
    assert find_settings(None) == Path("orphan_pipeline.yaml")
    Path("named.yaml").write_text(SKETCH)
    monkeypatch.setenv("ORPHAN_PIPELINE_SETTINGS", "named.yaml")
    assert find_settings(None) == Path("named.yaml")
    assert find_settings(Path("orphan_pipeline.yaml")) == Path("orphan_pipeline.yaml")
    with pytest.raises(BadSettings, match=r"^none.yaml: not found, expected a settings file$"):
        find_settings(Path("none.yaml"))
    monkeypatch.setenv("ORPHAN_PIPELINE_SETTINGS", "none.yaml")
    expected = r"^none.yaml: not found, expected the settings file that ORPHAN_PIPELINE_SETTINGS names$"
    with pytest.raises(BadSettings, match=expected):
        find_settings(None)


def test_identifiers() -> None:
    assert identifier("my-bucket.eu") == "my_bucket_eu"


def test_reports_of_s3_inventory_are_read_from_a_folder_or_one_manifest(tmp_path: Path) -> None:
    folder = "{from: s3_inventory, manifest: s3://inv/media/acme-media/daily/, max_age: 8d}"
    inventory = _load(tmp_path, SKETCH.replace("{from: listing}", folder)).buckets["media"].inventory
    assert (inventory.source, inventory.manifest) == ("s3_inventory", "s3://inv/media/acme-media/daily/")
    assert inventory.max_age == timedelta(days=8)

    one = "{from: s3_inventory, manifest: s3://inv/m/2026-11-20T01-00Z/manifest.json}"
    inventory = _load(tmp_path, SKETCH.replace("{from: listing}", one)).buckets["media"].inventory
    assert inventory.manifest == "s3://inv/m/2026-11-20T01-00Z/manifest.json"
    assert inventory.max_age == timedelta(hours=48)
    assert type(inventory).model_validate(inventory.model_dump()) == inventory
