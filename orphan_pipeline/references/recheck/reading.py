"""The keys of a source as the snapshot would find them, for asking again: the one place where the re-check touches how sources are
read."""

from collections.abc import Iterator

import pyarrow as pa

from orphan_pipeline.references.cut import Cut
from orphan_pipeline.references.extract import Reading, prepare
from orphan_pipeline.references.kinds.files import FileReading, OpenFile
from orphan_pipeline.references.read import keys_of
from orphan_pipeline.settings.model import ReferenceSettings


def reading_of(source: ReferenceSettings, place: Cut | OpenFile) -> Reading | FileReading:
    """The whole source. `.globs` are the templates with a `*` that keep more than the keys."""
    return FileReading(opened=place) if isinstance(place, OpenFile) else prepare(source, place)


def reading_of_few(source: ReferenceSettings, cut: Cut) -> Reading:
    """A source that was narrowed to a few rows: an index finds them, so that no ranges of the table are read side by side."""
    return prepare(source, cut, few=True)


def read_keys(reading: Reading | FileReading) -> Iterator[pa.Table]:
    """Tables with a column `key`, derived keys too, in a stream. Raises Refused for the first row that is not as declared."""
    for table in keys_of(reading):
        yield table.select(["key"])
