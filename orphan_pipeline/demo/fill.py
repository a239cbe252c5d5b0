"""Writes the demo's data into a real bucket and a real database. What the data is lies in data.py."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import urlsplit

import psycopg

from orphan_pipeline.demo.data import BUCKET, Case, DemoData
from orphan_pipeline.demo.servers import ObjectStore

_TABLES = """
CREATE TABLE documents (id bigint PRIMARY KEY, title text NOT NULL, data jsonb);
CREATE TABLE documents_history (id bigint NOT NULL, archived_at timestamptz NOT NULL, data jsonb);
"""
_THREADS = 16
_BATCH = 100


def create_bucket(store: ObjectStore) -> None:
    """The demo's bucket, empty and versioned."""
    client = store.client()
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})


def fill_bucket(store: ObjectStore, data: DemoData, done: Callable[[int], None]) -> datetime:
    """Uploads all objects but the young ones; `done` is told each batch's size. Returns when the last was there."""
    _upload(store, data, [key for key, case in data.objects.items() if case is not Case.YOUNG], done)
    return datetime.now(UTC)


def upload_young(store: ObjectStore, data: DemoData) -> None:
    """Uploads the young objects, or again, since the store sets ages itself: to be called right before each sweep."""
    _upload(store, data, data.keys(Case.YOUNG), lambda _: None)


def old_enough_at(filled_at: datetime, min_age: timedelta) -> datetime:
    """From when on all but the young objects are of age to a sweep. The store's clock leaves out fractions of a second."""
    return filled_at + min_age + timedelta(seconds=1)


def fill_database(url: str, data: DemoData) -> None:
    """Creates the tables `documents` and `documents_history` and their rows."""
    archived = datetime(2026, 1, 1, tzinfo=UTC)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLES)
        with cursor.copy("COPY documents (id, title, data) FROM STDIN") as rows:
            for identifier, text in data.documents:
                rows.write_row((identifier, f"Document {identifier}", text))
        with cursor.copy("COPY documents_history (id, archived_at, data) FROM STDIN") as rows:
            for identifier, text in data.history:
                rows.write_row((identifier, archived + timedelta(minutes=identifier), text))


def _upload(store: ObjectStore, data: DemoData, keys: Collection[str], done: Callable[[int], None]) -> None:
    ordered = sorted(keys)
    batches = [ordered[at : at + _BATCH] for at in range(0, len(ordered), _BATCH)]
    client = store.client()

    def send(batch: Sequence[str]) -> int:
        # Signed by boto3, sent by hand: boto3's own put_object takes four times the processor time for each object.
        with closing(HTTPConnection(urlsplit(store.endpoint).netloc, timeout=60)) as connection:
            for key in batch:
                where = {"Bucket": BUCKET, "Key": key}
                signed = urlsplit(client.generate_presigned_url("put_object", Params=where, ExpiresIn=3600))
                _put(connection, f"{signed.path}?{signed.query}", key, data.body(key))
        return len(batch)

    with ThreadPoolExecutor(_THREADS) as threads:
        for sent in threads.map(send, batches):
            done(sent)


def _put(connection: HTTPConnection, target: str, key: str, body: bytes) -> None:
    connection.request("PUT", target, body=body, headers={"Content-Type": "application/octet-stream"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise RuntimeError(f"uploading {key!r}: status {response.status}, {answer[:200]!r}")
