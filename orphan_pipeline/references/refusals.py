"""One line for what PostgreSQL, or a row, says no with. Passwords and URLs are in none of them. When to refuse belongs
in the other modules of this package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from orphan_pipeline.errors import Refused

LONGEST_SHOWN = 80
USER = re.compile(r"//[^/@]*@")


def one_line(text: str, longest: int = 300) -> str:
    """The text on one line, cut to `longest` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else f"{flat[: longest - 1]}…"


def shown(value: str) -> str:
    """A value as a message may show it: short, and without what may be a secret: a URL's user and query string."""
    return one_line(USER.sub("//", value.partition("?")[0]), LONGEST_SHOWN)


def refusal(error: psycopg.Error, what: str) -> Refused:
    """`what` (the source or table, and its database), then PostgreSQL's own primary message."""
    said = one_line(error.diag.message_primary or str(error) or type(error).__name__)
    return Refused(f"{what}: {said}{_advice(error)}")


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Whatever the database answers amiss in here becomes a Refused of one line."""
    try:
        yield
    except psycopg.Error as error:
        raise refusal(error, what) from None


def connection_refusal(error: psycopg.Error, database: str, password: str | None) -> Refused:
    """As `refusal`, for a connection that does not come about: libpq's text, without the password if it is there."""
    said = str(error)
    if password:
        said = said.replace(password, "…")
    return Refused(f"database {database}: {one_line(said)}")


def _advice(error: psycopg.Error) -> str:
    if "conflict with recovery" in str(error):
        return " (raise max_standby_streaming_delay on the replica, or leave replica out)"
    if isinstance(error, errors.LockNotAvailable):
        return " (is a migration running? run the sweep again after it)"
    if isinstance(error, errors.InsufficientPrivilege):
        return f" {error.diag.message_hint or ''}".rstrip()
    return ""
