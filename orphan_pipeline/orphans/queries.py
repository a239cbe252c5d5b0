"""All SQL of the orphan stage, over four views: `inventory`, `refs`, `previous` (the orphan set of the last accepted sweep) and
`restored` (what was brought back and not released since). Follow one object: not referenced, seen before, why not yet, which chunk."""

CANARY_KEYS = 10
"""Keys of chunk 0: small, so that a store that misbehaves is found out before a thousand keys are gone (rule 12)."""

CHUNK_KEYS = 1000
"""The most keys that one DeleteObjects request carries."""

NO_PREVIOUS = """
SELECT NULL::VARCHAR AS key, NULL::VARCHAR AS etag, NULL::TIMESTAMPTZ AS last_modified,
       NULL::TIMESTAMPTZ AS first_seen, NULL::INTEGER AS sightings, NULL::TIMESTAMPTZ AS sighted_at WHERE false
"""

NO_RESTORED = """
SELECT NULL::VARCHAR AS key, NULL::VARCHAR AS etag, NULL::TIMESTAMPTZ AS "at" WHERE false
"""

# Of the same object, what was restored after it was released is held again.
RESTORED = """
CREATE TEMP VIEW restored AS
SELECT key, etag FROM (SELECT key, etag, max("at") AS restored_at FROM ever_restored GROUP BY key, etag) AS latest
WHERE NOT EXISTS (FROM released WHERE released.key = latest.key AND released.etag = latest.etag AND released."at" >= restored_at)
"""

# Exact: a key is compared as the bytes it is. A reference from any source, derived ones too, keeps the object.
ORPHANS = """
CREATE TEMP TABLE orphans AS
WITH unreferenced AS (
    SELECT * FROM inventory ANTI JOIN refs USING (key)
), sighted AS (
    -- Rule 7: the same object (key, ETag, time) as an orphan again. A gap that is not over yet neither counts nor resets; a report
    -- that is read twice is one sighting.
    SELECT unreferenced.*,
           coalesce(previous.first_seen, $sweep_at) AS first_seen,
           CASE WHEN previous.key IS NULL THEN 1
                WHEN $sweep_at > previous.sighted_at AND $sweep_at - previous.sighted_at >= $gap THEN previous.sightings + 1
                ELSE previous.sightings END::INTEGER AS sightings,
           CASE WHEN previous.key IS NULL OR $sweep_at - previous.sighted_at >= $gap THEN $sweep_at
                ELSE previous.sighted_at END AS sighted_at,
           brought_back.key IS NOT NULL AS was_restored
    FROM unreferenced
    LEFT JOIN previous USING (key, etag, last_modified)
    -- Without last_modified: what comes back from quarantine is written anew, and the same content again is asked for no less.
    LEFT JOIN (SELECT DISTINCT key, etag FROM restored) AS brought_back USING (key, etag)
), aged AS (
    -- Rule 3: the last_modified of a multipart object is when its upload began.
    SELECT *, last_modified + CASE WHEN is_multipart THEN $multipart_grace ELSE INTERVAL 0 SECONDS END AS written_by FROM sighted
), held AS (
    SELECT *,
           CASE WHEN prefix IS NULL THEN 'unowned'
                WHEN {protected} THEN 'protected'
                WHEN was_restored THEN 'restored'
                WHEN written_by >= $cutoff THEN 'young'
                WHEN sightings < $confirmations THEN 'unconfirmed' END AS hold
    FROM aged
)
SELECT key, size, last_modified, etag, storage_class, is_multipart, prefix, first_seen, sightings, sighted_at,
       -- The cap is not a gate: the oldest go now, the rest next time.
       CASE WHEN hold IS NULL AND row_number() OVER (PARTITION BY hold IS NULL ORDER BY last_modified, key) > $max_deletions
            THEN 'capped' ELSE hold END AS hold,
       -- When this hold can end by the mere passing of time, and which of the two it then waited for.
       CASE WHEN hold IN ('young', 'unconfirmed') THEN greatest(old_enough_at, confirmed_at) END AS ready_at,
       CASE WHEN hold IN ('young', 'unconfirmed')
            THEN CASE WHEN confirmed_at > old_enough_at THEN 'unconfirmed' ELSE 'young' END END AS ready_after
FROM (
    SELECT *, written_by + $min_age AS old_enough_at,
           sighted_at + $gap * greatest($confirmations - sightings, 0) AS confirmed_at FROM held
)
ORDER BY prefix, key
"""

# Objects that no row of the snapshot names, but a glob among a source's variants may.
UNLISTED = """
CREATE TEMP TABLE unlisted AS SELECT key FROM inventory ANTI JOIN refs USING (key)
"""

GLOB_PARENTS = """
CREATE OR REPLACE TEMP VIEW glob_parents AS SELECT key FROM refs WHERE source = {source} AND NOT derived
"""

GLOB_MATCHED = """
CREATE TEMP TABLE glob_matched (key VARCHAR, source VARCHAR, derived BOOLEAN)
"""

MATCH_GLOB = """
INSERT INTO glob_matched SELECT key, {source}, true FROM ({matches})
"""

# From here on a matched object is referenced, for whatever asks `refs`.
WITH_GLOB_MATCHED = """
CREATE VIEW refs AS SELECT * FROM listed_refs UNION ALL BY NAME SELECT * FROM glob_matched
"""

# A store that lists a key twice (overwritten while it was listed, say) would have it deleted twice: a second delete marker.
LISTED_TWICE = """
SELECT min(key) FROM orphans GROUP BY key HAVING count(*) > 1 LIMIT 1
"""

BY_PREFIX_AND_HOLD = """
SELECT prefix, hold, count(*), coalesce(sum(size), 0)::BIGINT FROM orphans GROUP BY prefix, hold ORDER BY prefix, hold
"""

EARLIEST = """
SELECT ready_at, ready_after FROM orphans WHERE ready_at IS NOT NULL ORDER BY ready_at, ready_after LIMIT 1
"""

LAST_CHUNK = """
SELECT max(chunk) FROM read_parquet($file, hive_partitioning = false)
"""

PLAN = f"""
COPY (
    SELECT CASE WHEN place <= {CANARY_KEYS} THEN 0 ELSE 1 + (place - {CANARY_KEYS} - 1) // {CHUNK_KEYS} END::INTEGER AS chunk,
           * EXCLUDE (place)
    FROM (
        SELECT row_number() OVER (ORDER BY key) AS place,
               key, size, last_modified, etag, storage_class, is_multipart, first_seen, sightings, sighted_at
        FROM orphans WHERE prefix = $prefix AND hold IS NULL
    ) ORDER BY place
) TO $file (FORMAT parquet, COMPRESSION zstd)
"""

HOLDS = """
COPY (
    SELECT hold, ready_at, key, size, last_modified, etag, storage_class, is_multipart, first_seen, sightings, sighted_at
    FROM orphans WHERE prefix = $prefix AND hold IS NOT NULL ORDER BY key
) TO $file (FORMAT parquet, COMPRESSION zstd)
"""

DANGLING = """
COPY (
    SELECT key, source FROM refs ANTI JOIN inventory USING (key) WHERE NOT derived ORDER BY source, key
) TO $file (FORMAT parquet, COMPRESSION zstd)
"""

DANGLING_BY_SOURCE = """
SELECT source, count(*) FROM read_parquet($file, hive_partitioning = false) GROUP BY source ORDER BY source
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

# Rule 15, over `inventory`, `refs`, `restored` (the rows of all restores) and `acknowledged` (keys that somebody let be). First what is
# nearly always empty: references to keys that a ledger names. Only then is the inventory looked at.
NO_RESTORES = """
SELECT NULL::VARCHAR AS key, NULL::VARCHAR AS outcome, NULL::TIMESTAMPTZ AS "at" WHERE false
"""

NO_KEYS = """
SELECT NULL::VARCHAR AS key WHERE false
"""

DELETED_AND_REFERENCED = """
CREATE TEMP TABLE deleted_and_referenced AS
WITH deleted AS (
    SELECT key, max("at") AS deleted_at, arg_max(parse_path(filename)[-2], "at") AS plan
    FROM read_parquet($files, hive_partitioning = false, union_by_name = true, filename = true)
    WHERE list_contains($gone, outcome) GROUP BY key
), named AS (
    SELECT DISTINCT key, source::VARCHAR AS source FROM refs SEMI JOIN deleted USING (key)
)
SELECT key, source, deleted_at, plan FROM named JOIN deleted USING (key)
"""

MISSED = """
CREATE TEMP TABLE missed AS
SELECT key, source, deleted_at, plan FROM deleted_and_referenced AS one
ANTI JOIN inventory USING (key)
ANTI JOIN acknowledged USING (key)
WHERE NOT EXISTS (
    -- It was back after that: what is gone now, somebody else took away.
    SELECT 1 FROM restored WHERE restored.key = one.key AND restored."at" >= one.deleted_at AND outcome IN ('restored', 'newer')
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
    SELECT 1 FROM read_parquet($restores, hive_partitioning = false, union_by_name = true) AS restored
    WHERE restored.key = one.key AND restored."at" >= one.deleted_at AND outcome IN ('restored', 'newer')
)
"""
