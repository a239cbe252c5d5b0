"""Reference schemas of real applications, from their public documentation, expressed in settings alone. The same snippets stand in
docs/references.md: they are read from there."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

import orphan_pipeline
from orphan_pipeline.errors import Refused
from orphan_pipeline.settings.model import ReferenceSettings
from references.conftest import Database, Take

DOCUMENT = Path(orphan_pipeline.__file__).parents[1] / "docs" / "references.md"


def documented(application: str) -> list[ReferenceSettings]:
    """The settings below the application's heading."""
    section = DOCUMENT.read_text(encoding="utf-8").partition(f"\n### {application}")[2].partition("\n### ")[0]
    snippet: Any = yaml.safe_load(dedent(section.partition("```yaml\n")[2].partition("```")[0]))
    return [ReferenceSettings.model_validate(source) for source in snippet["references"]]


def keys_and_globs(take: Take, application: str) -> tuple[dict[str, list[str]], dict[str, tuple[str, ...]]]:
    snapshot = take(*documented(application))
    keys: dict[str, list[str]] = {source.name: [] for source in snapshot.figures.sources}
    for key, source, _, _ in snapshot.rows:
        keys[source].append(key)
    return {name: sorted(found) for name, found in keys.items()}, {s.name: s.globs for s in snapshot.figures.sources}


def test_rails_active_storage(app: Database, take: Take) -> None:
    """Variants are blobs of their own since Rails 6; before, they lay under variants/ and were in no table."""
    app.run(
        """CREATE TABLE active_storage_blobs (id bigserial PRIMARY KEY, key varchar NOT NULL UNIQUE, filename varchar NOT NULL,
           content_type varchar, metadata text, service_name varchar NOT NULL, byte_size bigint NOT NULL, checksum varchar,
           created_at timestamp NOT NULL DEFAULT now())""",
        """CREATE TABLE active_storage_attachments (id bigserial PRIMARY KEY, name varchar NOT NULL, record_type varchar NOT NULL,
           record_id bigint NOT NULL, blob_id bigint NOT NULL REFERENCES active_storage_blobs)""",
        """CREATE TABLE active_storage_variant_records (id bigserial PRIMARY KEY, variation_digest varchar NOT NULL,
           blob_id bigint NOT NULL REFERENCES active_storage_blobs)""",
        """INSERT INTO active_storage_blobs (key, filename, service_name, byte_size) VALUES
           ('xtapjjcjiudrlk3tmwyjgpuobabd', 'a.jpg', 'amazon', 1), ('2c6u1x0r3o1zgrcz6vhkb5btr0ak', 'a.jpg', 'amazon', 1),
           ('onthedisk', 'b.jpg', 'local', 1)""",
        "INSERT INTO active_storage_variant_records (variation_digest, blob_id) VALUES ('d', 1)",
        """INSERT INTO active_storage_attachments (name, record_type, record_id, blob_id) VALUES
           ('avatar', 'User', 1, 1), ('image', 'ActiveStorage::VariantRecord', 1, 2)""",
    )
    keys, globs = keys_and_globs(take, "Rails Active Storage")
    assert keys == {"blobs": ["2c6u1x0r3o1zgrcz6vhkb5btr0ak", "xtapjjcjiudrlk3tmwyjgpuobabd"]}
    assert globs == {"blobs": ("variants/{key}/**",)}


def test_discourse_uploads(app: Database, take: Take) -> None:
    app.run(
        """CREATE TABLE uploads (id serial PRIMARY KEY, user_id int NOT NULL, original_filename varchar NOT NULL, filesize bigint NOT NULL,
           url varchar NOT NULL, sha1 varchar(40), extension varchar(10))""",
        """CREATE TABLE optimized_images (id serial PRIMARY KEY, sha1 varchar(40) NOT NULL, extension varchar(10) NOT NULL,
           upload_id int NOT NULL, url varchar NOT NULL)""",
        "CREATE TABLE posts (id serial PRIMARY KEY, cooked text NOT NULL)",
        """INSERT INTO uploads (user_id, original_filename, filesize, url, sha1) VALUES
           (1, 'a.png', 1, '//acme-forum.s3.dualstack.eu-west-1.amazonaws.com/original/1X/aa.png', 'aa'),
           (-1, 'emoji.png', 1, '/images/emoji.png', NULL)""",
        """INSERT INTO optimized_images (sha1, extension, upload_id, url) VALUES
           ('bb', '.png', 1, '//acme-forum.s3.dualstack.eu-west-1.amazonaws.com/optimized/1X/aa_2_10x10.png')""",
        """INSERT INTO posts (cooked) VALUES ('<p>no picture</p>'),
           ('<p><img src="https://cdn.example.com/original/1X/cc.png" srcset="https://cdn.example.com/optimized/1X/cc_2_690x1.png, '
            || 'https://cdn.example.com/optimized/1X/cc_2_1035x1.png 1.5x"> <a href="https://example.org/x.png">x</a> '
            || '<a class="attachment" href="//acme-forum.s3.dualstack.eu-west-1.amazonaws.com/original/1X/dd.pdf?dl=1">d</a></p>')""",
    )
    keys, _ = keys_and_globs(take, "Discourse")
    assert keys == {
        "uploads": ["original/1X/aa.png"],
        "optimized": ["optimized/1X/aa_2_10x10.png"],
        "posts": ["optimized/1X/cc_2_1035x1.png", "optimized/1X/cc_2_690x1.png", "original/1X/cc.png", "original/1X/dd.pdf"],
    }


def test_mastodon_media_attachments(app: Database, take: Take) -> None:
    app.run(
        """CREATE TABLE media_attachments (id bigint PRIMARY KEY, status_id bigint, file_file_name varchar, remote_url varchar NOT NULL
           DEFAULT '', thumbnail_file_name varchar)""",
        """INSERT INTO media_attachments VALUES (109501634125803141, 1, 'cat.jpg', '', NULL), (7, NULL, 'clip.mp4', '', 'frame.png'),
           (109501634125803142, 2, NULL, 'https://other.example/x.jpg', NULL),
           (109501634125803143, 3, 'dog.png', 'https://o.example/d', NULL)""",
    )
    keys, globs = keys_and_globs(take, "Mastodon")
    files = "media_attachments/files"
    assert keys == {
        "media": [
            f"cache/{files}/109/501/634/125/803/143/original/dog.png",
            f"{files}/000/000/007/original/clip.mp4",
            f"{files}/109/501/634/125/803/141/original/cat.jpg",
        ],
        "media_thumbnails": ["media_attachments/thumbnails/000/000/007/original/frame.png"],
    }
    assert globs["media"] == ("{up}small/{stem}.*",)


def test_django_file_and_json_fields(app: Database, take: Take) -> None:
    app.run(
        """CREATE TABLE shop_invoice (id bigserial PRIMARY KEY, pdf varchar(100) NOT NULL, photo varchar(100), extra jsonb NOT NULL)""",
        """INSERT INTO shop_invoice (pdf, photo, extra) VALUES
           ('invoices/2026/a_Xy7.pdf', NULL, '{"files": [{"name": "exports/a.csv"}, {"name": "exports/b c.csv"}]}'),
           ('', 'photos/p.jpg', '{}'), ('invoices/b.pdf', '', '{"files": []}')""",
    )
    keys, globs = keys_and_globs(take, "Django")
    assert keys == {
        "invoice_pdf": ["media/invoices/2026/a_Xy7.pdf", "media/invoices/b.pdf"],
        "invoice_photo": ["media/photos/p.jpg"],
        "invoice_extra": ["media/exports/a.csv", "media/exports/b c.csv"],
    }
    assert globs["invoice_photo"] == ("media/CACHE/images/photos/{stem}/**",)


PROSEMIRROR = """{"type": "doc", "content": [
  {"type": "paragraph", "content": [{"type": "text", "text": "see"}]},
  {"type": "image", "attrs": {"src": "https://cdn.example.com/docs/a%20b.png", "alt": null}},
  {"type": "bulletList", "content": [{"type": "listItem", "content": [
     {"type": "image", "attrs": {"src": "/docs/deep \\"quoted\\".png"}},
     {"type": "blockquote", "content": [{"type": "attachment", "attrs": {"src": "docs/deeper.pdf", "name": "x"}}]}]}]}]}"""


def test_a_tree_of_nodes_like_prosemirrors(app: Database, take: Take) -> None:
    app.run("CREATE TABLE pages (id bigserial PRIMARY KEY, body jsonb)")
    app.admin.execute('INSERT INTO pages (body) VALUES (%s::jsonb), (NULL), (\'{"type": "doc"}\')', [PROSEMIRROR])
    keys, _ = keys_and_globs(take, "ProseMirror")
    assert keys == {"pages": ["docs/a b.png", 'docs/deep "quoted".png', "docs/deeper.pdf"]}


def test_a_node_whose_source_is_no_text_fails_the_sweep(app: Database, take: Take) -> None:
    app.run("CREATE TABLE pages (id bigserial PRIMARY KEY, body jsonb)")
    for source in ("7", '""', '{"url": "x"}'):
        app.run("TRUNCATE pages")
        app.admin.execute("INSERT INTO pages (body) VALUES (%s::jsonb)", ['{"content": [{"attrs": {"src": ' + source + "}}]}"])
        with pytest.raises(Refused):
            take(*documented("ProseMirror"))
