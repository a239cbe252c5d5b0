"""Where the databases are. Only names of environment variables are kept; the URL is read in the run and shown nowhere."""

import dagster as dg

from orphan_pipeline.settings.model import DatabaseSettings
from orphan_pipeline.settings.values import EnvRef


class DatabaseResource(dg.ConfigurableResource[None]):
    url_env: str
    system_identifier: str | None = None

    def url(self) -> str:
        """The database's URL, a secret. Raises BadSettings when its variable is not set."""
        return EnvRef(env=self.url_env).read()


def database_resource(settings: DatabaseSettings) -> DatabaseResource:
    return DatabaseResource(url_env=settings.url.env, system_identifier=settings.system_identifier)
