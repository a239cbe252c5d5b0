"""Where the databases are. Only names of environment variables are kept; the URLs are read in the run and shown nowhere."""

from datetime import timedelta

import dagster as dg

from orphan_pipeline.references.sessions import DatabaseUnderCut, Limits
from orphan_pipeline.settings.model import DatabaseSettings
from orphan_pipeline.settings.values import EnvRef


class DatabaseResource(dg.ConfigurableResource[None]):
    url_env: str
    system_identifier: str | None = None
    replica_env: str | None = None
    replica_wait_seconds: float = 300
    connections: int = 4
    lock_timeout_seconds: float = 30
    statement_timeout_seconds: float = 0

    def url(self) -> str:
        """The database's URL, a secret. Raises BadSettings when its variable is not set."""
        return EnvRef(env=self.url_env).read()

    def under_cut(self) -> DatabaseUnderCut:
        """All that a cut of this database for a snapshot needs. Raises BadSettings when a variable is not set."""
        return DatabaseUnderCut(
            url=self.url(),
            system_identifier=self.system_identifier,
            connections=self.connections,
            limits=Limits(
                lock_timeout=timedelta(seconds=self.lock_timeout_seconds),
                statement_timeout=timedelta(seconds=self.statement_timeout_seconds),
            ),
            replica=None if self.replica_env is None else EnvRef(env=self.replica_env).read(),
            replica_wait=timedelta(seconds=self.replica_wait_seconds),
        )


def database_resource(settings: DatabaseSettings) -> DatabaseResource:
    return DatabaseResource(
        url_env=settings.url.env,
        system_identifier=settings.system_identifier,
        replica_env=None if settings.replica is None else settings.replica.env,
        replica_wait_seconds=settings.replica_wait.total_seconds(),
        connections=settings.connections,
        lock_timeout_seconds=settings.lock_timeout.total_seconds(),
        statement_timeout_seconds=settings.statement_timeout.total_seconds(),
    )
