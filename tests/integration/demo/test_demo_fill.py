from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from orphan_pipeline.demo.data import BUCKET, Case, demo_data
from orphan_pipeline.demo.fill import create_bucket, fill_bucket, fill_database, old_enough_at, upload_young
from orphan_pipeline.demo.judge import judge
from orphan_pipeline.demo.servers import running_seaweedfs


def test_the_bucket_holds_the_truth_through_delete_and_restore(tmp_path: Path) -> None:
    data = demo_data(300)
    done: list[int] = []
    with running_seaweedfs(tmp_path) as store:
        client = store.client()
        create_bucket(store)
        filled_at = fill_bucket(store, data, done.append)
        assert judge(client, BUCKET, data, deleted=False).gone == tuple(sorted(data.keys(Case.YOUNG)))
        upload_young(store, data)
        upload_young(store, data)
        assert judge(client, BUCKET, data, deleted=False, sample=None).ok

        orphans = [{"Key": key, "ETag": data.etag(key)} for key in sorted(data.keys(Case.ORPHAN))]
        answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": orphans})  # type: ignore[typeddict-item]
        assert "Errors" not in answer
        assert judge(client, BUCKET, data, deleted=True).ok

        back = data.keys(Case.ORPHAN, partition="uploads/(rest)")
        markers = [item for item in answer["Deleted"] if item["Key"] in back]
        client.delete_objects(
            Bucket=BUCKET,
            Delete={"Objects": [{"Key": item["Key"], "VersionId": item["DeleteMarkerVersionId"]} for item in markers]},
        )
        assert not judge(client, BUCKET, data, deleted=True).ok
        assert judge(client, BUCKET, data, deleted=True, restored_prefix="uploads/(rest)").ok
    assert sum(done) == 300 - len(data.keys(Case.YOUNG))
    assert filled_at < datetime.now(UTC) < old_enough_at(filled_at, timedelta(minutes=5))


def test_the_tables_hold_the_rows(database_url: str) -> None:
    data = demo_data(300)
    fill_database(database_url, data)
    with psycopg.connect(database_url) as connection:
        live = connection.execute("SELECT count(*), count(data) FROM documents").fetchone()
        past = connection.execute("SELECT count(*), count(data) FROM documents_history").fetchone()
    assert live == (len(data.documents), len(data.documents) - 1)
    assert past == (len(data.history), len(data.history) - 1)
