"""Every mistake in the settings file is one line: file, line, path, what was found, what is expected."""

from pathlib import Path

import pytest

from orphan_pipeline.errors import BadSettings
from orphan_pipeline.settings.load import load_settings

GOOD = """\
lake: ./lake
databases:
  app:
    url: {env: APP_DATABASE_URL}
buckets:
  media:
    bucket: acme-media
    prefixes: [uploads/]
    references:
      - name: documents
        database: app
        table: public.documents
        column: data
        json_paths: ["$.attachments[*]"]
    safety:
      min_age: 7d
    deletion:
      mode: dry_run
schedule:
  cron: "0 2 * * *"
"""
BUCKET_NAMES = (
    "bucket, endpoint, region, credentials, path_style, requester_pays, inventory, prefixes, protect, list_unowned, "
    "owners, references, safety, deletion"
)
PATHS = 'expected members and [*] only, such as $.attachments[*].url (names other than letters, digits and _ in quotes: $."my-files"[*])'

# what of GOOD is replaced, by what, the line after "orphan_pipeline.yaml:"
MISTAKES = [
    ("lake: ./lake", "lake: s3://ops/lake",
     "1: lake: found 's3://ops/lake', but a lake on S3 does not exist yet, expected a folder such as ./lake"),
    ("lake: ./lake", "lake: 7", "1: lake: found 7, expected a folder such as ./lake"),
    ("lake: ./lake", "lake:", "1: lake: found nothing, expected a folder such as ./lake"),
    ("lake: ./lake", "laek: ./lake\nlake: x",
     "1: laek: unknown name, expected one of lake, memory_limit, databases, buckets, schedule, demo, retention, prices "
     "(did you mean lake?)"),
    ("lake: ./lake", "file: x\nlake: x",
     "1: file: unknown name, expected one of lake, memory_limit, databases, buckets, schedule, demo, retention, prices"),
    ("lake: ./lake\n", "", "1: lake: missing, expected a folder such as ./lake"),
    ("lake: ./lake", "lake: a\nlake: b", "2: lake: given twice, expected once (first on line 1)"),
    ("lake: ./lake", "retention: {sweeps: 1}\nlake: x",
     "1: retention.sweeps: found 1, expected a whole number from 2 to 10000"),
    ("lake: ./lake", "prices: {STANDARD: free}\nlake: x", "1: prices.STANDARD: found 'free', expected USD, a number from 0"),
    ("lake: ./lake", "prices: {STANDARD: -0.1}\nlake: x", "1: prices.STANDARD: found -0.1, expected USD, a number from 0"),
    ("lake: ./lake", "prices: 0.023\nlake: x", "1: prices: found 0.023, expected a mapping of storage classes to USD"),
    ("lake: ./lake", "notifications: {webhook: {env: X}}\nlake: x",
     "1: notifications: found a mapping, but sending notifications does not exist yet: leave it out"),
    ("lake: ./lake", "demo: yes\nlake: x", "1: demo: found 'yes', expected true or false"),
    ("lake: ./lake", "lake: !!python/name:os.system x", "1: lake: found a tag, expected a plain value"),
    ("lake: ./lake", "lake: *nowhere", "1: broken YAML: found undefined alias"),
    ("lake: ./lake", "lake: &a [*a]", "1: lake[0]: found an alias of what it stands in, expected a plain value"),
    ("lake: ./lake", "1: x\nlake: y",
     "1: found a name that is no text, expected one (in quotes, if it looks like a number)"),
    ("{env: APP_DATABASE_URL}", "postgresql://u:hunter2@h/d",
     "4: databases.app.url: found a literal, expected {env: NAME}"),
    ("{env: APP_DATABASE_URL}", "", "4: databases.app.url: found nothing, expected {env: NAME}"),
    ("{env: APP_DATABASE_URL}", "{env: hunter2@h}",
     "4: databases.app.url: found no variable's name after env, expected {env: NAME}"),
    ("{env: APP_DATABASE_URL}", "{hunter2: x}",
     "4: databases.app.url: found other names than env, expected {env: NAME}"),
    ("url: {env: APP_DATABASE_URL}", "postgresql://u:hunter2@h/d",
     "4: databases.app: found a value (not shown, it could be a secret), expected a mapping"),
    ("url: {env: APP_DATABASE_URL}", "replica: postgresql://u:hunter2@h/d\n    url: {env: X}",
     "4: databases.app.replica: found a literal, expected {env: NAME}"),
    ("url: {env: APP_DATABASE_URL}", "connections: 33\n    url: {env: X}",
     "4: databases.app.connections: found 33, expected a whole number from 1 to 32"),
    ("url: {env: APP_DATABASE_URL}", "url: {env: X}\n    system_identifier: 743",
     "5: databases.app.system_identifier: found 743, expected digits in quotes, or two numbers with a / between"),
    ("url: {env: APP_DATABASE_URL}", "url: {env: X}\n    system_identifier: 743/",
     "5: databases.app.system_identifier: found '743/', expected digits in quotes, or two numbers with a / between"),
    ("  app:\n    url: {env: APP_DATABASE_URL}", "  app: {}", "3: databases.app.url: missing, expected {env: NAME}"),
    ("  app:\n    url: {env: APP_DATABASE_URL}", "  {}",
     "10: buckets.media.references[0].database: found 'app', expected a name declared under databases"),
    ("  app:\n", "  app 1:\n", "3: databases.app 1: expected a name of letters, digits, '.', '_' and '-', "
     "beginning with a letter or digit"),
    ("  app:\n", "  a.b: {url: {env: X}}\n  a-b: {url: {env: X}}\n  app:\n",
     "4: databases.a-b: a.b and a-b become the same identifier a_b, expected another name"),
    ("bucket: acme-media", "bucket: ab",
     "7: buckets.media.bucket: found 'ab', expected a bucket's name: 3 to 63 letters, digits, '.', '_' or '-'"),
    ("    bucket: acme-media\n", "", "6: buckets.media.bucket: missing, expected a text"),
    ("bucket: acme-media", "bucket: acme-media\n    endpont: x",
     f"8: buckets.media.endpont: unknown name, expected one of {BUCKET_NAMES} (did you mean endpoint?)"),
    ("bucket: acme-media", "bucket: acme-media\n    endpoint: https://s3.example.com/path",
     "8: buckets.media.endpoint: found 'https://s3.example.com/path', "
     "expected http(s)://host[:port], without path, query or user"),
    ("bucket: acme-media", "bucket: acme-media\n    endpoint: https://u:hunter2@h",
     "8: buckets.media.endpoint: found a value (not shown, it could be a secret), "
     "expected http(s)://host[:port], without path, query or user"),
    ("bucket: acme-media", "bucket: acme-media\n    region: eu west", "8: buckets.media.region: found 'eu west', "
     "expected a region such as eu-west-1"),
    ("bucket: acme-media", "bucket: acme-media\n    path_style: 1",
     "8: buckets.media.path_style: found 1, expected auto, true or false"),
    ("bucket: acme-media", "bucket: acme-media\n    credentials: hunter2",
     "8: buckets.media.credentials: found a value (not shown, it could be a secret), expected a mapping"),
    ("bucket: acme-media", "bucket: acme-media\n    credentials: {profile: x, access_key_id: {env: X}}",
     "8: buckets.media.credentials: found profile and keys together, expected one of the two"),
    ("bucket: acme-media", "bucket: acme-media\n    credentials: {access_key_id: {env: X}}",
     "8: buckets.media.credentials.secret_access_key: missing, expected {env: NAME}"),
    ("bucket: acme-media",
     "bucket: acme-media\n    credentials: {access_key_id: {env: X}, secret_access_key: {env: X}, hunter2: x}",
     "8: buckets.media.credentials.…: unknown name, "
     "expected one of access_key_id, secret_access_key, session_token, profile"),
    ("bucket: acme-media", "bucket: acme-media\n    owners: [storage]",
     "8: buckets.media.owners[0]: found 'storage', expected an e-mail address or team:name"),
    ("bucket: acme-media", "bucket: acme-media\n    owners: []",
     "8: buckets.media.owners: found an empty list, expected a list of at least one e-mail address or team:name"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {from: reports}",
     "8: buckets.media.inventory.from: found 'reports', expected listing or s3_inventory"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {from: s3_inventory}",
     "8: buckets.media.inventory.manifest: missing, expected beside from: s3_inventory"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {from: listing, manifest: s3://inv/media/daily/, max_age: 24h}",
     "8: buckets.media.inventory.manifest: found beside from: listing, expected only beside from: s3_inventory\n"
     "8: buckets.media.inventory.max_age: found beside from: listing, expected only beside from: s3_inventory"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {max_age: 24h}",
     "8: buckets.media.inventory.max_age: found beside from: listing, expected only beside from: s3_inventory"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {from: s3_inventory, manifest: s3://inv/media/daily}",
     "8: buckets.media.inventory.manifest: found 's3://inv/media/daily', "
     "expected s3://bucket/prefix/ or s3://bucket/…/manifest.json"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {from: s3_inventory, manifest: s3://inv/}",
     "8: buckets.media.inventory.manifest: found 's3://inv/', expected s3://bucket/prefix/ or s3://bucket/…/manifest.json"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {from: s3_inventory, manifest: s3://inv/a/, max_age: 10m}",
     "8: buckets.media.inventory.max_age: found '10m', expected a duration of at least 1h"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {from: listing, concurrency: 0}",
     "8: buckets.media.inventory.concurrency: found 0, expected a whole number from 1 to 256"),
    ("bucket: acme-media", "bucket: acme-media\n    inventory: {source: listing}",
     "8: buckets.media.inventory.source: unknown name, expected one of from, concurrency, versions, manifest, max_age"),
    ("bucket: acme-media", "bucket: acme-media\n    protect: ['!keep/']",
     "8: buckets.media.protect[0]: found '!keep/', "
     "expected a glob that protects: one that begins with ! would take protection away"),
    ("bucket: acme-media", "bucket: acme-media\n    protect:\n      - a/**\n      - '# b'",
     "10: buckets.media.protect[1]: found '# b', expected a glob in gitignore's meaning, such as **/.keep"),
    ("[uploads/]", "[]", "8: buckets.media.prefixes: found an empty list, expected a list of at least one prefix"),
    ("[uploads/]", "uploads/", "8: buckets.media.prefixes: found 'uploads/', expected a list of at least one prefix"),
    ("[uploads/]", "[uploads]", "8: buckets.media.prefixes[0]: found 'uploads', "
     "expected a prefix that ends in / and does not begin with /, or (all)"),
    ("[uploads/]", "[{path: /uploads/}]", "8: buckets.media.prefixes[0].path: found '/uploads/', "
     "expected a prefix that ends in / and does not begin with /, or (all)"),
    ("[uploads/]", "[{path: uploads/, split: 9}]",
     "8: buckets.media.prefixes[0].split: found 9, expected a whole number from 0 to 8"),
    ("[uploads/]", "[{path: (all), split: 1}]",
     "8: buckets.media.prefixes[0].split: found 1, expected 0, since (all) is not split"),
    ("[uploads/]", "[(all), uploads/]",
     "8: buckets.media.prefixes[1]: uploads/ overlaps (all), expected one of the two"),
    ("[uploads/]", "[uploads/, uploads/2026/]",
     "8: buckets.media.prefixes[1]: uploads/2026/ overlaps uploads/, expected one of the two"),
    ("name: documents", "name: Documents", "10: buckets.media.references[0].name: found 'Documents', "
     "expected a name of a-z, 0-9 and _, beginning with a letter"),
    ("database: app", "database: ap",
     "11: buckets.media.references[0].database: found 'ap', expected one of app"),
    ("table: public.documents", "table: a.b.c", "12: buckets.media.references[0].table: found 'a.b.c', "
     "expected table or schema.table, as the database spells them, without quotes"),
    ("        column: data\n", "", "10: buckets.media.references[0].column: missing, expected beside table"),
    ("        table: public.documents\n        column: data\n        json_paths: [\"$.attachments[*]\"]\n", "",
     "10: buckets.media.references[0]: found no place to read, expected table and column, sql, file or lake"),
    ("        table: public.documents\n", "", "10: buckets.media.references[0].table: missing, expected beside column (or file)"),
    ("        database: app\n", "", "10: buckets.media.references[0].database: missing, expected beside table"),
    ("column: data", "column: data\n        pattern: '[a-z]+'\n        ignore_null: true",
     "14: buckets.media.references[0].pattern: found beside json_paths, expected one of the two\n"
     "15: buckets.media.references[0].ignore_null: found beside json_paths, expected one of the two"),
    ("json_paths: [\"$.attachments[*]\"]", "pattern: x\n        ignore_null: true",
     "15: buckets.media.references[0].ignore_null: found beside pattern, expected one of the two"),
    ("json_paths: [\"$.attachments[*]\"]", "ignore: [\"$.attachments[*]\"]",
     "14: buckets.media.references[0].ignore: found without json_paths, expected only beside them"),
    ("column: data", "column: data\n        where: a; b",
     "14: buckets.media.references[0].where: found 'a; b', expected one condition, without ;"),
    ("column: data", "column: data\n        where: ' '",
     "14: buckets.media.references[0].where: found ' ', expected a condition such as deleted_at IS NULL"),
    ("column: data", "column: data\n        take: inventory",
     "14: buckets.media.references[0].take: found beside table, expected one of the two"),
    ("database: app\n        table: public.documents\n        column: data\n        json_paths: [\"$.attachments[*]\"]",
     "file: exports/*.csv\n        column: key",
     "11: buckets.media.references[0].file: found 'exports/*.csv', "
     "expected an absolute path, since runs are started in many folders"),
    ("database: app\n        table: public.documents\n        column: data\n        json_paths: [\"$.attachments[*]\"]",
     "file: /exports/keys.txt\n        column: key",
     "11: buckets.media.references[0].file: found '/exports/keys.txt', "
     "expected the absolute path of files that end in .parquet or .csv"),
    ("database: app\n        table: public.documents\n        column: data\n        json_paths: [\"$.attachments[*]\"]",
     "file: /exports/keys.csv", "10: buckets.media.references[0].column: missing, expected beside file"),
    ("database: app\n        table: public.documents\n        column: data\n        json_paths: [\"$.attachments[*]\"]",
     "lake: /lake/media\n        database: app\n        take: all",
     "13: buckets.media.references[0].take: found 'all', expected references or inventory"),
    ("database: app\n        table: public.documents\n        column: data\n        json_paths: [\"$.attachments[*]\"]",
     "lake: /lake/media\n        database: app",
     "12: buckets.media.references[0].database: found beside lake, expected one of the two"),
    ("column: data", "column: data\n        sql: SELECT 1",
     "12: buckets.media.references[0].table: found beside sql, expected one of the two\n"
     "13: buckets.media.references[0].column: found beside sql, expected one of the two\n"
     "15: buckets.media.references[0].json_paths: found beside sql, expected one of the two"),
    ("table: public.documents\n        column: data\n        json_paths: [\"$.attachments[*]\"]",
     "sql: SELECT 1; DROP TABLE t",
     "12: buckets.media.references[0].sql: found 'SELECT 1; DROP TABLE t', expected one query, without ;"),
    ("$.attachments[*]", "attachments", "14: buckets.media.references[0].json_paths[0]: found 'attachments', "
     "expected a path such as $.attachments[*].url"),
    ("$.attachments[*]", "$.a[0]", f"14: buckets.media.references[0].json_paths[0]: found '$.a[0]', {PATHS}"),
    ('json_paths: ["$.attachments[*]"]', 'json_paths: ["$.a[*].b"]\n        optional: ["$.a"]',
     "15: buckets.media.references[0].optional[0]: found '$.a', expected a path of json_paths, or an array that one leads through"),
    ('json_paths: ["$.attachments[*]"]', 'json_paths: ["$.a[*].b"]\n        expect_types: ["null"]',
     "15: buckets.media.references[0].expect_types: found null alone, expected string or number beside it"),
    ('json_paths: ["$.attachments[*]"]', 'json_paths: ["$.a[*].b"]\n        incremental: {updated_at: a, append_only: b}',
     "15: buckets.media.references[0].incremental: expected one of updated_at and append_only"),
    ("column: data", "column: data\n        ignore: ['$.other[*].x']",
     "14: buckets.media.references[0].ignore[0]: found '$.other[*].x', expected an array that json_paths names"),
    ("column: data", "column: data\n        key: {trim: true}",
     "14: buckets.media.references[0].key.trim: unknown name, "
     "expected one of strip, drop_query, decode, unicode, leading_slash, prepend, ignore_foreign (did you mean strip?)"),
    ("column: data", "column: data\n        key: {steps: []}",
     "14: buckets.media.references[0].key.steps: unknown name, "
     "expected one of strip, drop_query, decode, unicode, leading_slash, prepend, ignore_foreign (did you mean strip?)"),
    ("column: data", "column: data\n        key: {decode: base64}",
     "14: buckets.media.references[0].key.decode: found 'base64', expected percent or form"),
    ("column: data", "column: data\n        key: {unicode: nfkc}",
     "14: buckets.media.references[0].key.unicode: found 'nfkc', expected nfc or nfd"),
    ("column: data", "column: data\n        key: {leading_slash: true}",
     "14: buckets.media.references[0].key.leading_slash: found true, expected keep, drop or add"),
    ("column: data", "column: data\n        key: {ignore_foreign: 'yes'}",
     "14: buckets.media.references[0].key.ignore_foreign: found 'yes', expected true, false, or a list of URL bases"),
    ("column: data", "column: data\n        key: {strip: [{bucket: b}]}",
     "14: buckets.media.references[0].key.strip[0].bucket: found 'b', "
     "expected a bucket's name: 3 to 63 letters, digits, '.', '_' or '-'"),
    ("column: data", "column: data\n        key: {strip: [{region: eu-west-1}]}",
     "14: buckets.media.references[0].key.strip[0].bucket: missing, expected a text"),
    ("column: data", "column: data\n        key: {strip: https://x/}",
     "14: buckets.media.references[0].key.strip: found 'https://x/', expected a list of at least one base"),
    ("column: data", "column: data\n        variants: ['{dir}thumb']",
     "14: buckets.media.references[0].variants[0]: found '{dir}thumb', expected a template that holds {key} or {stem}"),
    ("column: data", "column: data\n        variants: ['{stem}.{ext}']",
     "14: buckets.media.references[0].variants[0]: found '{stem}.{ext}', "
     "expected a template of {up}, {dir}, {stem}, {suffix} and {key}"),
    ("column: data", "column: data\n        variants: ['{{a}}{stem}']",
     "14: buckets.media.references[0].variants[0]: found '{{a}}{stem}', "
     "expected a template of {up}, {dir}, {stem}, {suffix} and {key}"),
    ("column: data", "column: data\n        variants: ['*/{key}']",
     "14: buckets.media.references[0].variants[0]: found '*/{key}', "
     "expected a placeholder such as {dir} or {key} before the first *"),
    ("column: data", "column: data\n        variants: ['{key}***']",
     "14: buckets.media.references[0].variants[0]: found '{key}***', expected * or **, not three of them"),
    ("column: data", "column: data\n        expect_rows_at_least: 0",
     "14: buckets.media.references[0].expect_rows_at_least: found 0, expected a whole number, at least 1"),
    ("references:\n", "references:\n      - {name: documents, database: app, sql: SELECT 1}\n",
     "11: buckets.media.references[1].name: found 'documents', which is another source's name too, "
     "expected a unique one"),
    ("min_age: 7d", "min_age: 7 fortnights", "16: buckets.media.safety.min_age: found '7 fortnights', "
     "expected a duration such as 7d, 24h, 15m or 30s"),
    ("min_age: 7d", "min_age: 7",
     "16: buckets.media.safety.min_age: found 7, expected a duration such as 7d, 24h, 15m or 30s"),
    ("min_age: 7d", "min_age: 99999d",
     "16: buckets.media.safety.min_age: found '99999d', expected a duration of at most 3650d"),
    ("min_age: 7d", "min_age: 23h", "16: buckets.media.safety.min_age: found '23h', "
     "expected at least 24h (below it only with allow_short_min_age: true)"),
    ("min_age: 7d", "min_age: 1h\n      allow_short_min_age: \"false\"",
     "17: buckets.media.safety.allow_short_min_age: found 'false', expected true or false"),
    ("min_age: 7d", "confirmations: true",
     "16: buckets.media.safety.confirmations: found true, expected a whole number from 1 to 14"),
    ("min_age: 7d", "confirmations: \"5\"",
     "16: buckets.media.safety.confirmations: found '5', expected a whole number from 1 to 14"),
    ("min_age: 7d", "max_orphan_fraction: 0",
     "16: buckets.media.safety.max_orphan_fraction: found 0, expected a number above 0, at most 1"),
    ("min_age: 7d", "min_match_rate: .nan",
     "16: buckets.media.safety.min_match_rate: found nan, expected a number from 0 to 1"),
    ("min_age: 7d", "max_shrink: 1.5", "16: buckets.media.safety.max_shrink: found 1.5, expected a number from 0 to 1"),
    ("min_age: 7d", "max_growth: 0.5", "16: buckets.media.safety.max_growth: found 0.5, expected a number, at least 1"),
    ("min_age: 7d", "max_age_band_excess: -1", "16: buckets.media.safety.max_age_band_excess: found -1, expected a number from 0 to 1"),
    ("min_age: 7d", "plan_expiry: 31d",
     "16: buckets.media.safety.plan_expiry: found '31d', expected a duration from 1m to 30d"),
    ("      min_age: 7d\n", "", "15: buckets.media.safety: found nothing, expected a mapping"),
    ("mode: dry_run", "mode: quarantine", "17: buckets.media.deletion.quarantine: missing, "
     "expected s3://bucket/prefix/ beside mode: quarantine"),
    ("mode: dry_run", "quarantine: s3://elsewhere/q",
     "18: buckets.media.deletion.quarantine: found 's3://elsewhere/q', expected s3://bucket/prefix/ or s3://bucket/"),
    ("mode: dry_run", "quarantine: /q/",
     "18: buckets.media.deletion.quarantine: found '/q/', expected s3://bucket/prefix/ or s3://bucket/"),
    ("mode: dry_run", "mode: wet", "18: buckets.media.deletion.mode: found 'wet', "
     "expected dry_run or versioned or quarantine or permanent"),
    ("mode: dry_run", "undo_window: 10m",
     "18: buckets.media.deletion.undo_window: found '10m', expected a duration of at least 1h"),
    ("mode: dry_run", "max_deletions: 1_000",
     "18: buckets.media.deletion.max_deletions: found '1_000', expected a whole number, at least 1"),
    ("mode: dry_run", "concurrency: 0", "18: buckets.media.deletion.concurrency: found 0, expected a whole number from 1 to 32"),
    ("mode: dry_run", 'not_after: "24:00"',
     """18: buckets.media.deletion.not_after: found '24:00', expected an hour of the day such as "06:00\""""),
    ("mode: dry_run", "recheck_max_age: 1s",
     "18: buckets.media.deletion.recheck_max_age: found '1s', expected a duration from 10s to 6h"),
    ("mode: dry_run", "recheck_max_age: 7h",
     "18: buckets.media.deletion.recheck_max_age: found '7h', expected a duration from 10s to 6h"),
    ("mode: dry_run", "after_chunk: [nothing]",
     "18: buckets.media.deletion.after_chunk[0]: found 'nothing', expected module:function"),
    ('"0 2 * * *"', '"@daily"', "20: schedule.cron: found '@daily', expected five fields such as 0 2 * * *"),
    ('"0 2 * * *"', '"0 25 * * *"', "20: schedule.cron: found '0 25 * * *', "
     "expected for the hour 0 to 23, *, or lists, ranges and steps (not '25')"),
    ('"0 2 * * *"', '"0 2 31 2 *"',
     "20: schedule.cron: found '0 2 31 2 *', expected a day that its months have"),
    ('cron: "0 2 * * *"', "timezone: Mars/Olympus",
     "20: schedule.timezone: found 'Mars/Olympus', expected a time zone such as UTC or Europe/Dublin"),
    ("bucket: acme-media", "bucket: " + "a" * 70, "7: buckets.media.bucket: found '" + "a" * 58 + "…, "
     "expected a bucket's name: 3 to 63 letters, digits, '.', '_' or '-'"),
    (GOOD, "", "1: found nothing, expected a mapping"),
    (GOOD, "- a\n- b\n", "1: found a list, expected a mapping"),
    (GOOD, "a: [b\nc: d\n", "2: broken YAML: expected ',' or ']', but got ':'"),
    (GOOD, "a: b\n---\nc: d\n", "2: broken YAML: but found another document"),
    (GOOD, "a: \x00\n", "1: broken YAML: a character that YAML does not allow"),
    (GOOD, "[" * 5000, "1: broken YAML: nested too deeply"),
]  # fmt: skip


def _lines(path: Path) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as wrong:
        load_settings(path)
    return wrong.value.lines


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES, ids=range(len(MISTAKES)))
def test_each_mistake_is_one_line(old: str, new: str, expected: str) -> None:
    assert GOOD.count(old) == 1
    path = Path("orphan_pipeline.yaml")
    path.write_text(GOOD.replace(old, new), encoding="utf-8")

    lines = _lines(path)

    assert lines == tuple(f"orphan_pipeline.yaml:{line}" for line in expected.splitlines())
    assert "hunter2" not in "".join(lines)


def test_the_unchanged_file_has_no_mistake() -> None:
    path = Path("orphan_pipeline.yaml")
    path.write_text(GOOD, encoding="utf-8")
    assert load_settings(path).buckets["media"].bucket == "acme-media"


def test_several_mistakes_are_several_lines_in_the_order_of_the_file() -> None:
    path = Path("orphan_pipeline.yaml")
    path.write_text(GOOD.replace("mode: dry_run", "mode: wet").replace("ke: ./lake", "ke: 7").replace("e: 7d", "e: 7"), "utf-8")
    assert [line.split(": found")[0] for line in _lines(path)] == [
        "orphan_pipeline.yaml:1: lake",
        "orphan_pipeline.yaml:16: buckets.media.safety.min_age",
        "orphan_pipeline.yaml:18: buckets.media.deletion.mode",
    ]


def test_two_entries_for_one_bucket_must_not_overlap() -> None:
    path = Path("orphan_pipeline.yaml")
    media = GOOD[GOOD.index("  media:\n") : GOOD.index("schedule:")]
    again = media.replace("media:", "again:", 1).replace("[uploads/]", "[avatars/, uploads/2026/]")
    path.write_text(GOOD.replace("schedule:", f"{again}schedule:"), encoding="utf-8")
    assert _lines(path) == (
        "orphan_pipeline.yaml:21: buckets.again.prefixes[1]: uploads/2026/ overlaps uploads/ of buckets.media, "
        "which is the same bucket, expected one of the two",
    )


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"lake: x\n# caf\xe9\n")
    assert _lines(latin) == (f"{latin}:2: not UTF-8, expected a text file in UTF-8",)
    assert _lines(tmp_path) == (f"{tmp_path}: a folder, expected a settings file",)
    assert _lines(tmp_path / "none.yaml") == (f"{tmp_path / 'none.yaml'}: not found, expected a settings file",)


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    path = Path("orphan_pipeline.yaml")
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]" for i in range(9)]
    path.write_text("\n".join(levels), encoding="utf-8")
    assert [line.split(": ", 1)[1] for line in _lines(path)] == ["more than 100000 values, expected a settings file"]
