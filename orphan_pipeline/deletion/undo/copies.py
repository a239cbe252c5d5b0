"""Brings objects back from their copies in quarantine, never over another object. The copy stays: it goes with the purge, after somebody
released what was restored."""

from orphan_pipeline.deletion.quarantine.copying import Copier, Head, NotCopied, SourceChanged, TargetTaken, etag_of
from orphan_pipeline.deletion.quarantine.place import Place
from orphan_pipeline.deletion.undo.outcomes import Line, Result


def copied_back(copier: Copier, bucket: str, line: Line) -> Result:
    """Whoever is killed here and runs again finds the object back, or the copy still there."""
    copy, target = Place.of(line["copy"], line["copy_version"]), Place(bucket, line["key"])
    standing = copier.head(target)
    if standing is not None:
        return _what_stands(copier, copy, target, line, standing)
    made = copier.head(copy)
    if made is None:
        return Result("lost", "NoCopy")
    try:
        back = copier.copy(copy, target, etag=etag_of(made), only_if_free=True)
    except SourceChanged:
        return Result("lost", "NoCopy")
    except TargetTaken:
        standing = copier.head(target)
        return Result("deleted_again") if standing is None else _what_stands(copier, copy, target, line, standing)
    except NotCopied as failed:
        return Result("refused", failed.code)
    return Result("restored", etag=back.etag)


def _what_stands(copier: Copier, copy: Place, target: Place, line: Line, standing: Head) -> Result:
    """What an earlier restore brought back has another ETag where the store makes them up (KMS): then the two are compared."""
    if etag_of(standing) == line["etag"]:
        return Result("restored")
    same = copier.same(copy, target) if standing["ContentLength"] == line["size"] else None
    return Result("newer") if same is None else Result("restored", etag=same.etag)
