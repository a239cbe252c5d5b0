"""All SQL of the orphan stage, over four views: `inventory` and `refs` (each with the place of its rows in their files), `previous` (the
orphan set of the last accepted sweep) and `restored` (what was brought back and not released since, deletion/undo/held.py). Follow one
object: not referenced, whom it resembles, seen before, why not yet. Which views make keys resemble each other stands in lax.py; plans
are cut into chunks in files.py."""

PREVIOUS = {
    "key": "VARCHAR",
    "etag": "VARCHAR",
    "last_modified": "TIMESTAMPTZ",
    "first_seen": "TIMESTAMPTZ",
    "sightings": "INTEGER",
    "sighted_at": "TIMESTAMPTZ",
}

# Both sides are hashed in one query: hash() differs between versions of DuckDB, and hashes of two would make everything an orphan. Two keys
# with one hash can only keep an object. A reference from any source, derived ones too, keeps the object.
# Only the place of each orphan is carried through the join, and its columns are fetched afterwards: in a small memory the join writes
# both sides to disk, and whole rows are ten times as wide.
UNREFERENCED = """
CREATE TEMP TABLE unreferenced AS
SELECT {place} FROM (SELECT hash(key) AS hashed, {place} FROM inventory) ANTI JOIN (SELECT hash(key) AS hashed FROM refs) USING (hashed)
"""

# Orphans that no row of the snapshot names, but a glob among a source's variants may: those are none.
UNLISTED = """
CREATE TEMP TABLE unlisted AS SELECT key, {place} FROM inventory SEMI JOIN unreferenced USING ({place})
"""

GLOB_PARENTS = """
CREATE OR REPLACE TEMP VIEW glob_parents AS SELECT key FROM refs WHERE source = {source} AND NOT derived
"""

GLOB_MATCHED = "CREATE TEMP TABLE glob_matched (key VARCHAR)"

MATCH_GLOB = "INSERT INTO glob_matched SELECT key FROM ({matches})"

STILL_UNREFERENCED = """
CREATE OR REPLACE TEMP TABLE unreferenced AS SELECT {place} FROM unlisted ANTI JOIN glob_matched USING (key)
"""

ORPHANS = """
CREATE TEMP TABLE orphans AS
SELECT * EXCLUDE (file_index, file_row_number) FROM inventory SEMI JOIN unreferenced USING ({place})
WHERE prefix IS NOT NULL
"""

UNOWNED = """
FROM inventory SEMI JOIN unreferenced USING ({place}) WHERE prefix IS NULL
"""
UNOWNED_AMOUNT = f"SELECT count(*), coalesce(sum(size), 0)::BIGINT {UNOWNED}"
UNOWNED_ROWS = f"SELECT key, size, last_modified, etag, storage_class {UNOWNED} ORDER BY key"

REFERENCE_FORMS = """
SELECT file_index::INTEGER AS file, file_row_number AS row, hash(form) AS form FROM ({with_form})
"""

# Which references have the form of an orphan: by hash first, since that is most often none.
SHARING_A_FORM = """
CREATE TEMP TABLE sharing AS
SELECT file::UBIGINT AS file_index, row AS file_row_number FROM read_parquet($forms, hive_partitioning = false)
SEMI JOIN (SELECT hash(form) AS form FROM ({with_form})) USING (form)
"""
SHARING = "SELECT count(*) FROM sharing"

CANDIDATES = """
CREATE TEMP TABLE candidates AS
SELECT DISTINCT key, form, whole FROM ({with_forms})
"""
CANDIDATE_KEYS = "(SELECT key FROM refs SEMI JOIN sharing USING ({place}))"

# The join of orphans and references goes by hashes; this goes by the keys themselves.
REFERENCED_AFTER_ALL = """
SELECT key FROM orphans SEMI JOIN candidates USING (key) LIMIT 1
"""

SHARERS = """
CREATE TEMP TABLE sharers AS
SELECT key, form, whole FROM ({with_forms})
"""
SHARING_ORPHANS = """(
    SELECT key FROM (SELECT key, hash(form) AS form FROM ({with_form})) SEMI JOIN (SELECT hash(form) AS form FROM candidates) USING (form)
)"""

NOTHING_RESEMBLES = """
CREATE TEMP TABLE resembling (key VARCHAR, resembles VARCHAR, "view" VARCHAR)
"""
# Only ever equal texts are joined, each with one reference: thousands of names with a `#` that share a form are not compared in pairs.
RESEMBLING = """
INSERT INTO resembling
WITH pairs AS (
    SELECT sharers.key, reference
    FROM sharers JOIN (SELECT form, whole, min(key) AS reference FROM candidates GROUP BY ALL) USING (form, whole)
    UNION ALL
    SELECT begun.key, reference
    FROM (SELECT key, form, unnest({before_a_query}) AS whole FROM sharers) AS begun
    JOIN (SELECT form, whole, min(key) AS reference FROM candidates GROUP BY ALL) USING (form, whole)
    UNION ALL
    SELECT sharers.key, reference
    FROM sharers
    JOIN (
        SELECT form, whole, min(key) AS reference
        FROM (SELECT key, form, unnest({before_a_query}) AS whole FROM candidates) GROUP BY ALL
    ) USING (form, whole)
    UNION ALL
    SELECT sharers.key, reference
    FROM sharers JOIN (
        SELECT form, min(key) AS reference FROM candidates WHERE regexp_matches(whole, $not_decoded) GROUP BY form
    ) USING (form)
    UNION ALL
    SELECT sharers.key, reference
    FROM sharers JOIN (SELECT form, min(key) AS reference FROM candidates GROUP BY form) USING (form)
    WHERE regexp_matches(sharers.whole, $not_decoded)
)
SELECT key, min(reference), NULL FROM pairs GROUP BY key
"""
UNEXPLAINED = 'SELECT count(*) FROM resembling WHERE "view" IS NULL'
EXPLAIN = """
UPDATE resembling SET "view" = $views
WHERE "view" IS NULL AND key IN (
    SELECT one.key FROM ({of_key}) AS one JOIN ({of_reference}) AS other ON one.key = other.of AND {alike}
)
"""
UNEXPLAINED_KEYS = '(SELECT key FROM resembling WHERE "view" IS NULL)'
UNEXPLAINED_REFERENCES = '(SELECT resembles AS key, key AS of FROM resembling WHERE "view" IS NULL)'

HELD = """
CREATE TEMP TABLE held AS
WITH sighted AS (
    -- Rule 7: the same object (key, ETag, time) as an orphan again. A gap that is not over yet neither counts nor resets; a report
    -- that is read twice is one sighting.
    SELECT orphans.*,
           coalesce(previous.first_seen, $sweep_at) AS first_seen,
           CASE WHEN previous.key IS NULL THEN 1
                WHEN $sweep_at > previous.sighted_at AND $sweep_at - previous.sighted_at >= $gap THEN previous.sightings + 1
                ELSE previous.sightings END::INTEGER AS sightings,
           CASE WHEN previous.key IS NULL OR $sweep_at - previous.sighted_at >= $gap THEN $sweep_at
                ELSE previous.sighted_at END AS sighted_at,
           brought_back.restored_at,
           resembling.resembles, resembling."view",
           {protected_by} AS protected_by,
           -- Rule 3: the last_modified of a multipart object is when its upload began.
           orphans.last_modified + CASE WHEN is_multipart THEN $multipart_grace ELSE INTERVAL 0 SECONDS END AS written_by
    FROM orphans
    LEFT JOIN previous USING (key, etag, last_modified)
    -- Without last_modified: what comes back from quarantine is written anew, and the same content again is asked for no less.
    LEFT JOIN restored AS brought_back USING (key, etag)
    LEFT JOIN resembling USING (key)
), judged AS (
    -- One class each, by what an operator should hear first: nobody may delete it; somebody wanted it back; a rule may be wrong; and
    -- only then what time alone will mend.
    SELECT *,
           CASE WHEN protected_by IS NOT NULL THEN 'protected'
                WHEN restored_at IS NOT NULL THEN 'restored'
                WHEN resembles IS NOT NULL THEN 'ambiguous'
                WHEN written_by >= $cutoff THEN 'young'
                WHEN sightings < $confirmations THEN 'unconfirmed' END AS hold,
           written_by + $min_age AS old_enough_at,
           sighted_at + $gap * greatest($confirmations - sightings, 0) AS confirmed_at
    FROM sighted
)
SELECT * EXCLUDE (written_by, old_enough_at, confirmed_at),
       -- When this hold can end by the mere passing of time, and which of the two it then waited for.
       CASE WHEN hold IN ('young', 'unconfirmed') THEN greatest(old_enough_at, confirmed_at) END AS ready_at,
       CASE WHEN hold IN ('young', 'unconfirmed')
            THEN CASE WHEN confirmed_at > old_enough_at THEN 'unconfirmed' ELSE 'young' END END AS ready_after
FROM judged
"""

# The cap is not a gate: the oldest go now, the rest next time. The last one that goes.
CAP = """
SELECT last_modified, key FROM held WHERE hold IS NULL ORDER BY last_modified, key LIMIT 1 OFFSET $max_deletions - 1
"""
CAPPED = """
CASE WHEN hold IS NULL AND (last_modified > $cap_time OR (last_modified = $cap_time AND key > $cap_key)) THEN 'capped' ELSE hold END
"""

BY_PREFIX_AND_HOLD = f"""
SELECT prefix, {CAPPED} AS hold, count(*), coalesce(sum(size), 0)::BIGINT FROM held GROUP BY ALL ORDER BY ALL
"""

EARLIEST = """
SELECT ready_at, ready_after FROM held WHERE ready_at IS NOT NULL ORDER BY ready_at, ready_after LIMIT 1
"""

IN_ORDER = f"""
SELECT prefix, {CAPPED} AS hold, ready_at, protected_by, restored_at, resembles, "view",
       key, size, last_modified, etag, storage_class, is_multipart, first_seen, sightings, sighted_at
FROM held ORDER BY prefix, key
"""

# By hash, as above; here two keys with one hash could only leave a dangling reference unreported.
DANGLING_PLACES = """
CREATE TEMP TABLE dangling AS
SELECT {place}
FROM (SELECT hash(key) AS hashed, {place} FROM refs WHERE NOT derived)
ANTI JOIN (SELECT hash(key) AS hashed FROM inventory) USING (hashed)
"""
DANGLING = """
COPY (
    SELECT key, source FROM refs SEMI JOIN dangling USING ({place}) ORDER BY source, key
) TO $file (FORMAT parquet, COMPRESSION zstd)
"""

# Of the keys their hashes: all of a source may dangle, and two keys with one hash are a figure that is off by one.
DANGLING_BY_SOURCE = """
SELECT source, count(*), count(DISTINCT hash(key)) FROM read_parquet($file, hive_partitioning = false) GROUP BY source ORDER BY source
"""

DANGLING_SAMPLE = """
SELECT source, key FROM read_parquet($files, hive_partitioning = false)
QUALIFY row_number() OVER (PARTITION BY source ORDER BY key) <= $each ORDER BY source, key
"""

# Over the snapshots, for the gate on bands of ages and the pictures. The orphans' files lie in a folder a prefix.
INVENTORY_BY_AGE = """
SELECT prefix, {band} AS band, count(*), sum(size)::BIGINT FROM inventory WHERE prefix IS NOT NULL
GROUP BY prefix, band ORDER BY prefix, band
"""

ORPHANS_BY_AGE = """
SELECT parse_path(filename)[-2] AS folder, {band} AS band, count(*), sum(size)::BIGINT
FROM read_parquet($files, hive_partitioning = false, union_by_name = true, filename = true) GROUP BY folder, band ORDER BY folder, band
"""

ORPHANS_BY_CLASS = """
SELECT storage_class, count(*), sum(size)::BIGINT FROM read_parquet($files, hive_partitioning = false, union_by_name = true)
GROUP BY storage_class ORDER BY storage_class
"""

# Rule 15, over `inventory`, `refs`, `restores` (the rows of all restores) and `acknowledged` (deletes that somebody let be). First what is
# nearly always empty: references to keys that a ledger names. Only then is the inventory looked at.
RESTORES = {"key": "VARCHAR", "outcome": "VARCHAR", "at": "TIMESTAMPTZ"}
ACKNOWLEDGED = {"key": "VARCHAR", "deleted_at": "TIMESTAMPTZ"}

# What the ledgers say is gone, or may have gone since; and what is in chunks that no run has finished, of which nobody knows yet.
NOTHING_RECORDED = """
CREATE TEMP VIEW recorded AS SELECT NULL::VARCHAR AS key, NULL::TIMESTAMPTZ AS "at", NULL::VARCHAR AS plan WHERE false
"""
RECORDED = """
CREATE TEMP TABLE recorded AS SELECT key, "at", parse_path(filename)[-2] AS plan
FROM read_parquet($files, hive_partitioning = false, union_by_name = true, filename = true) SEMI JOIN refs USING (key)
WHERE list_contains($gone, outcome) OR list_contains($unanswered, split_part(code, ':', 1))
"""
UNSETTLED = 'CREATE TEMP TABLE unsettled (key VARCHAR, "at" TIMESTAMPTZ, plan VARCHAR)'
ADD_UNSETTLED = """
INSERT INTO unsettled SELECT key, $at, $plan FROM read_parquet($file, hive_partitioning = false) WHERE list_contains($chunks, chunk)
"""

DELETED_AND_REFERENCED = """
CREATE TEMP TABLE deleted_and_referenced AS
WITH deleted AS (
    SELECT key, max("at") AS deleted_at, arg_max(plan, "at") AS plan FROM (FROM recorded UNION ALL BY NAME FROM unsettled) GROUP BY key
), named AS (
    SELECT DISTINCT key, source::VARCHAR AS source FROM refs SEMI JOIN deleted USING (key)
)
SELECT key, source, deleted_at, plan FROM named JOIN deleted USING (key)
"""

MISSED = """
CREATE TEMP TABLE missed AS
SELECT key, source, deleted_at, plan FROM deleted_and_referenced AS one
ANTI JOIN inventory USING (key)
WHERE NOT EXISTS (
    -- What somebody let be is that delete, not every later one of an object of the same name.
    SELECT 1 FROM acknowledged WHERE acknowledged.key = one.key AND acknowledged.deleted_at >= one.deleted_at
) AND NOT EXISTS (
    -- It was back after that: what is gone now, somebody else took away.
    SELECT 1 FROM restores WHERE restores.key = one.key AND restores."at" >= one.deleted_at AND outcome IN ('restored', 'newer')
)
"""

MISSED_FIGURES = """
SELECT count(DISTINCT key), coalesce(list_sort(list(DISTINCT key))[:$sample], []),
       coalesce(list_sort(list(DISTINCT source)), []), coalesce(list_sort(list(DISTINCT plan)), [])
FROM missed
"""

WRITE_MISSED = """
COPY (SELECT * FROM missed ORDER BY key, source) TO $file (FORMAT parquet, COMPRESSION zstd)
"""

STILL_MISSED = """
SELECT count(*) FROM read_parquet($missed, hive_partitioning = false) AS one
WHERE NOT EXISTS (
    SELECT 1 FROM restores WHERE restores.key = one.key AND restores."at" >= one.deleted_at AND outcome IN ('restored', 'newer')
)
"""
