"""Settings of two buckets that share a database, and the graph that they make."""

from pathlib import Path

import dagster as dg
import pytest

from orphan_pipeline.definitions import build_definitions
from orphan_pipeline.settings.load import load_settings
from orphan_pipeline.settings.model import Settings

TWO_BUCKETS = """
lake: ./lake
databases:
  app: {url: {env: GRAPH_TEST_URL}}
  billing: {url: {env: GRAPH_TEST_BILLING_URL}}
buckets:
  media:
    bucket: acme-media
    credentials: {access_key_id: {env: GRAPH_TEST_KEY}, secret_access_key: {env: GRAPH_TEST_SECRET}}
    prefixes: [uploads/, avatars/]
    owners: [team:media, media@example.com]
    references:
      - {name: live, database: app, table: documents, column: data, json_paths: ["$.attachments[*]"]}
      - {name: again, database: app, table: public.documents, column: data, json_paths: ["$.cover"]}
      - {name: history, database: app, table: archive.documents, column: data, json_paths: ["$.attachments[*]"]}
  my-invoices:
    bucket: acme.invoices
    prefixes: [(all)]
    references:
      - {name: paid, database: billing, sql: "SELECT key FROM invoices"}
      - {name: live, database: app, table: documents, column: data, json_paths: ["$.invoice"]}
schedule: {cron: "30 3 * * *", timezone: Europe/Berlin}
"""


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    file = tmp_path / "orphan_pipeline.yaml"
    file.write_text(TWO_BUCKETS)
    return file


@pytest.fixture
def settings(settings_file: Path) -> Settings:
    return load_settings(settings_file)


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings)
