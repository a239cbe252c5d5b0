"""Finds out that a bucket's entry in the settings was given another name: its ledgers and what it restored lie under the old one, and
would be forgotten."""

from urllib.parse import urlsplit

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import latest_manifest
from orphan_pipeline.settings.checks import overlapping
from orphan_pipeline.settings.model import BucketSettings


def refuse_if_renamed(lake: BucketLake, settings: BucketSettings) -> None:
    """Raises Refused when another folder of the lake holds ledgers or restores of this very bucket and prefixes. Two entries of one
    settings file never have the same prefixes, so the folder is of this entry under another name, or of one whose prefixes it took."""
    for folder in sorted(path for path in lake.root.parent.glob("*") if path.is_dir() and path.name != lake.root.name):
        other = BucketLake(folder)
        if not (other.ledgers() or other.restores()):
            continue
        manifest = latest_manifest(other)
        if manifest is not None and _same_objects(manifest.binding, settings):
            raise Refused(
                f"the lake has {folder.name}/ for bucket {settings.bucket} and the same prefixes: was buckets.{folder.name} renamed to "
                f"buckets.{lake.root.name}? Its ledgers and restores would be forgotten: give it its name back, or move {folder} away"
            )


def _same_objects(binding: dict[str, object], settings: BucketSettings) -> bool:
    same_store = _host(binding.get("endpoint")) == _host(settings.endpoint) and binding.get("bucket") == settings.bucket
    before = binding.get("prefixes")
    paths = [prefix["path"] for prefix in before] if isinstance(before, list) else []
    return same_store and any(True for theirs in paths for ours in settings.prefixes for _ in overlapping([theirs, ours.path]))


def _host(endpoint: object) -> str:
    return urlsplit(str(endpoint or "")).netloc
