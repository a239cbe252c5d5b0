"""The peer of the sweep benchmark: the script that everybody has, boto3's paginator, a cursor and two sets. Reads the settings file of
the demo from the environment and prints how many orphans it finds under the declared prefixes. It knows nothing of ages, holds,
gates, confirmation or proof."""

import os
from pathlib import Path
from urllib.parse import unquote

import boto3
import psycopg
import yaml

PREFIXES = ("uploads/", "avatars/")


def main() -> None:
    with Path(os.environ["ORPHAN_PIPELINE_SETTINGS"]).open(encoding="utf-8") as file:
        settings = yaml.safe_load(file)["buckets"]["media"]
    client = boto3.client(
        "s3",
        endpoint_url=settings["endpoint"],
        region_name=settings["region"],
        aws_access_key_id=os.environ["DEMO_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["DEMO_SECRET_ACCESS_KEY"],
    )
    [base] = settings["references"][1]["key"]["strip"]
    in_bucket = {
        item["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings["bucket"])
        for item in page.get("Contents", ())
        if item["Key"].startswith(PREFIXES)
    }
    in_use = set()
    with psycopg.connect(os.environ["DEMO_DATABASE_URL"]) as connection, connection.cursor() as cursor:
        for (data,) in cursor.execute("SELECT data FROM documents WHERE data IS NOT NULL"):
            for attachment in data.get("attachments", ()):
                if isinstance(attachment, str):
                    in_use.add(attachment)
                elif "key" in attachment:
                    in_use.add(attachment["key"])
        for (data,) in cursor.execute("SELECT data FROM documents_history WHERE data IS NOT NULL"):
            for attachment in data.get("attachments", ()):
                in_use.add(unquote(attachment["url"].removeprefix(base).split("?")[0]))
    print(len(in_bucket - in_use))


if __name__ == "__main__":
    main()
