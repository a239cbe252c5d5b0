from pathlib import Path

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.demo.settings_file import MIN_AGE, render_settings, settings_environment
from orphan_pipeline.settings.load import load_settings

STORE = ObjectStore(endpoint="http://127.0.0.1:12345", access_key_id="an-id", secret_access_key="a-secret")


def test_the_file_is_valid_and_marked_as_a_demo(tmp_path: Path) -> None:
    path = tmp_path / "orphan_pipeline.yaml"
    path.write_text(render_settings(STORE))
    settings = load_settings(path)
    assert settings.demo
    media = settings.buckets["media"]
    assert (media.bucket, media.endpoint, media.safety.min_age) == ("demo-media", STORE.endpoint, MIN_AGE)
    assert [reference.name for reference in media.references] == ["documents", "history"]


def test_no_secret_stands_in_the_file() -> None:
    text = render_settings(STORE)
    environment = settings_environment(STORE, "postgresql://somewhere")
    assert not [value for value in environment.values() if value in text]
    assert all(f"{{env: {name}}}" in text for name in environment)


def test_the_secret_is_not_shown() -> None:
    assert "a-secret" not in repr(STORE)
