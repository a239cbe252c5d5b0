"""Where this host's Dagster instance lies. `python -m orphan_pipeline.resources.home` prints it, for `make ui`. Without
importing Dagster: whoever only asks where it is does not wait for it."""

import os
import sys
from importlib.resources import files
from pathlib import Path

from orphan_pipeline.errors import BadSettings
from orphan_pipeline.settings.load import find_settings


def home_of(beside: Path) -> Path:
    """$DAGSTER_HOME, or `.dagster` beside the settings file."""
    return Path(os.environ.get("DAGSTER_HOME") or beside / ".dagster").absolute()


def dagster_home(beside: Path) -> Path:
    """As `home_of`; initialised before anything runs, since two first-ever runs at once can corrupt a new SQLite home (dagster issue
    27390)."""
    home = home_of(beside)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text((files("orphan_pipeline.resources") / "dagster.yaml").read_text())
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def main() -> None:
    """Of the settings file that the commands would take here."""
    try:
        settings = find_settings()
    except BadSettings as wrong:
        sys.exit(str(wrong))
    print(dagster_home(settings.parent if settings else Path()))


if __name__ == "__main__":
    main()
