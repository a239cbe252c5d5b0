"""Settings of one PostgreSQL database: where it is, where its snapshots come from, and how gently it is asked."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from orphan_pipeline.settings.part import Part
from orphan_pipeline.settings.values import DurationRange, EnvRef, Expected

RATES = frozenset({"connections", "lock_timeout", "statement_timeout", "replica_wait"})
"""What decides how fast a database is read, never what is read in it."""


class DatabaseSettings(Part):
    url: Annotated[EnvRef, Expected("{env: NAME}")] = Field(
        description="Where the database is: the environment variable that holds its URL. What libpq understands may stand in it, such as "
        "`?sslmode=verify-full&sslrootcert=/etc/ssl/app.pem`."
    )
    system_identifier: (
        Annotated[str, Field(pattern=r"^[0-9]{1,20}(/[0-9]{1,10})?$"), Expected("digits in quotes, or two numbers with a / between")] | None
    ) = Field(
        default=None,
        description="The `system_identifier` that the server must have, and behind a `/` the oid that the database must have (`check` "
        "shows both). It tells one server, and one database of it, from another; a copy of the server's files has the same (docs/cut.md).",
    )
    replica: Annotated[EnvRef, Expected("{env: NAME}")] | None = Field(
        default=None,
        description="The environment variable that holds the URL of a streaming replica. Snapshots are then read there, once it has "
        "replayed all that the primary had written when the inventory was over; everything else is asked of `url`.",
    )
    replica_wait: Annotated[timedelta, DurationRange(at_most=timedelta(hours=24))] = Field(
        default=timedelta(minutes=5), description="How long a sweep waits for the replica to catch up before it fails."
    )
    connections: Annotated[int, Field(strict=True, ge=1, le=32), Expected("a whole number from 1 to 32")] = Field(
        default=4, description="With how many connections a large table is read at once, all in one snapshot."
    )
    lock_timeout: Annotated[timedelta, DurationRange(at_least=timedelta(seconds=1), at_most=timedelta(hours=1))] = Field(
        default=timedelta(seconds=30),
        description="How long a sweep waits for the lock on a table, behind a migration, before it fails.",
    )
    statement_timeout: Annotated[timedelta, DurationRange()] = Field(
        default=timedelta(0),
        description="How long one statement of a sweep may run before the sweep fails; `0s` is as long as it takes. A table is read in "
        "many short statements, a source with `sql` in one.",
    )
