"""How old the orphans are: a bar for each band of ages, as long as their bytes."""

from collections.abc import Mapping

from orphan_pipeline.orphans.ages import BANDS, YOUNG
from orphan_pipeline.orphans.manifest import AgeBand
from orphan_pipeline.pictures.svg import QUIET, Picture, amount_text

WIDTH, TOP, ROW, LABELS, FIGURES = 760, 46, 26, 130, 230
ORPHANS, TOO_YOUNG = "#c2410c", "#d9a384"


def age_picture(title: str, ages: Mapping[str, AgeBand]) -> Picture:
    """Every band that holds an object, the youngest first; what is younger than the cutoff is paler, since it is held."""
    bands = [(YOUNG, "too young", TOO_YOUNG), *((band.name, band.name, ORPHANS) for band in BANDS)]
    shown = [(label, colour, ages[name]) for name, label, colour in bands if name in ages]
    picture = Picture(WIDTH, TOP + ROW * max(1, len(shown)) + 12, title)
    longest = max((band.orphans.bytes for _, _, band in shown), default=0)
    for n, (label, colour, band) in enumerate(shown):
        y = TOP + n * ROW
        length = (WIDTH - LABELS - FIGURES) * band.orphans.bytes / longest if longest else 0
        share = band.orphans.objects / band.inventory.objects if band.inventory.objects else 0
        told = f"{amount_text(band.orphans.bytes)}, {band.orphans.objects:,} objects ({share:.1%})"
        picture.text(LABELS - 10, y + 15, label, anchor="end")
        picture.box(LABELS, y, max(1.0, length), ROW - 6, colour, hint=f"{label}: {told}")
        picture.text(LABELS + length + 8, y + 15, told, colour=QUIET)
    if not shown:
        picture.text(16, TOP + 15, "no object under a declared prefix", colour=QUIET)
    return picture
