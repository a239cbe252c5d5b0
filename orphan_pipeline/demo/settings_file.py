"""The demo's own settings file, and the environment that its secrets come from."""

from datetime import timedelta
from importlib.resources import files
from string import Template

from orphan_pipeline.demo.data import BUCKET, CDN
from orphan_pipeline.demo.servers import ObjectStore

MIN_AGE = timedelta(seconds=20)  # as in settings.yaml


def render_settings(store: ObjectStore) -> str:
    """The text of a settings file; the lake lies beside it."""
    template = Template(files("orphan_pipeline.demo").joinpath("settings.yaml").read_text(encoding="utf-8"))
    return template.substitute(bucket=BUCKET, endpoint=store.endpoint, region=store.region, cdn=CDN)


def settings_environment(store: ObjectStore, database_url: str) -> dict[str, str]:
    """The variables that the settings file names."""
    return {
        "DEMO_DATABASE_URL": database_url,
        "DEMO_ACCESS_KEY_ID": store.access_key_id,
        "DEMO_SECRET_ACCESS_KEY": store.secret_access_key,
    }
