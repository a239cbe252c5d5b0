"""Knows a page that a store gives again under a new token, in the place of another one.

Where keys rise, their order shows it. Elsewhere rows that are written twice show it (repeated.py), but folders, and rows that another
range writes, are in no file. So each page is looked at as the store sent it: a page that comes again, or that begins before the place
where an earlier one ended, holds the name that ended that one.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orphan_pipeline.inventory.columns import VERSIONS
from orphan_pipeline.inventory.listing.page import BrokenPage, Page

RECENT = 65_536
"""As many hashes wait in a set, at some 80 bytes each, until they are sorted in among the others, at 8."""


class PageEnds:
    """The last object and the last folder of each page of one list, as hashes of 64 bits: 8 MB for a billion keys."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._older: NDArray[np.int64] = np.empty(0, np.int64)
        self._border: set[int] = set()

    def check(self, page: Page) -> None:
        """Raises BrokenPage for a page that holds the end of an earlier one. At its beginning it may name the end of the very last page
        once more, unless that was a page of this one name."""
        if not self._recent and not len(self._older):
            return
        objects, folders = _of_objects(page.objects), _of_folders(page.common_prefixes)
        found = self._ends_among([*objects, *folders])
        border = self._border.intersection([*objects[:1], *folders[:1]])
        if len(found) > len(border) or len(border) > 1:
            raise BrokenPage("the page holds what an earlier page ended with")

    def add(self, page: Page) -> None:
        rows, folders = page.objects.num_rows, page.common_prefixes
        ends = {*_of_objects(page.objects.slice(max(0, rows - 1))), *_of_folders(folders[-1:])}
        self._recent |= ends
        self._border = ends if rows + len(folders) > 1 else set()
        if len(self._recent) >= RECENT:
            self._older = np.sort(np.concatenate([self._older, np.fromiter(self._recent, np.int64)]))
            self._recent = set()

    def _ends_among(self, hashes: list[int]) -> list[int]:
        found = [hashed for hashed in hashes if hashed in self._recent]
        if len(self._older):
            asked = np.sort(np.array(hashes, np.int64))  # in order, so that neighbours are looked for in the same place
            places = np.searchsorted(self._older, asked).clip(max=len(self._older) - 1)
            found += asked[self._older[places] == asked].tolist()
        return found


def _of_objects(objects: pa.RecordBatch) -> list[int]:
    """Versions of one key have hashes of their own."""
    names: Iterable[object] = objects["key"].to_pylist()
    if objects.schema.equals(VERSIONS):
        names = zip(names, objects["version_id"].to_pylist(), strict=True)
    return list(map(hash, names))


def _of_folders(folders: Iterable[str]) -> list[int]:
    return [hash(("folder", folder)) for folder in folders]
