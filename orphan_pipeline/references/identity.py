"""Which database it is: its server's system_identifier, its oid, the timeline, and how far its WAL has come. Every copy of a server's files
has the same identifier and oids; a copy that was promoted has a timeline of its own, and one that was restored lies behind.

What follows from a difference belongs to who asks: the cut, the re-check before a deletion, the gate `references_unchanged`.
"""

from psycopg import errors, sql

from orphan_pipeline.references.figures import CutFigures
from orphan_pipeline.references.sessions import Connection

SERVER_AND_DATABASE = sql.SQL(
    """
(SELECT system_identifier::text FROM pg_control_system()), (SELECT oid::bigint FROM pg_database WHERE datname = current_database())
""".strip()
)

# The last checkpoint may be of before a promotion, for minutes; what recovery ended with is kept until the next one.
TIMELINE = sql.SQL("SELECT greatest(timeline_id, min_recovery_end_timeline) FROM pg_control_checkpoint(), pg_control_recovery()")


def timeline_of(connection: Connection) -> int | None:
    """The timeline that the server writes or replays; None where it does not tell this role. Ends the connection's transaction."""
    try:
        row = connection.execute(TIMELINE).fetchone()
    except (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.UndefinedFunction):
        return None
    finally:
        connection.rollback()
    assert row is not None  # each of the two functions gives one row
    assert isinstance(row[0], int)
    return row[0]


def full_identifier(cut: CutFigures) -> str:
    """`system_identifier/oid`, as the settings may pin it."""
    return f"{cut.system_identifier}/{cut.database_oid}"


def unlike(before: CutFigures, now: CutFigures) -> str | None:
    """Why `now` may not be the database that `before` was, or None. What one of them does not know (it was written down by an earlier
    release, or the server does not tell) is not compared.

    Of one database the position never falls: what a standby has replayed its primary had written, and a standby is read once it has
    replayed what the primary had written by then."""
    if now.system_identifier != before.system_identifier:
        return f"its system_identifier is {now.system_identifier}, it was {before.system_identifier}: another server"
    if None not in (now.database_oid, before.database_oid) and now.database_oid != before.database_oid:
        return f"its oid is {now.database_oid}, it was {before.database_oid}: another database of that server"
    if None not in (now.timeline, before.timeline) and now.timeline != before.timeline:
        return f"its timeline is {now.timeline}, it was {before.timeline}: a failover, or a copy that was promoted"
    if _position(now.lsn) < _position(before.lsn):
        return f"its WAL has come to {now.lsn}, it had been at {before.lsn}: restored, or an older copy"
    return None


def _position(lsn: str) -> int:
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
