"""Which module may know what: Dagster, the S3 SDK, SQL; and that importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import orphan_pipeline

PACKAGE = Path(orphan_pipeline.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    path: ".".join(("orphan_pipeline", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__") for path in FILES
}

WITH_DAGSTER = ("definitions.py", "automation.py", "partitions.py", "assets/", "resources/")
# Submits runs, as the command line does; the rest of the demo is servers, data and comparison.
MAY_LOAD_DAGSTER = (*WITH_DAGSTER, "demo/run.py")
WITH_S3 = ("resources/", "inventory/", "deletion/", "demo/", "hooks.py")
WITH_POSTGRES = ("references/", "demo/fill.py", "demo/servers.py")
WITH_DUCKDB = ("duck.py", "inventory/", "references/", "orphans/", "deletion/")


def _within(path: Path, places: tuple[str, ...]) -> bool:
    return path.relative_to(PACKAGE).as_posix().startswith(places)


def _imported(path: Path, *, at_import_only: bool = False) -> set[str]:
    """Top-level names of what a file imports, TYPE_CHECKING blocks left out; on wish without what functions import."""

    def below(node: ast.AST) -> list[ast.AST]:
        skipped = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        skipped = skipped or (at_import_only and isinstance(node, ast.FunctionDef))
        return [] if skipped else [node, *(found for child in ast.iter_child_nodes(node) for found in below(child))]

    names: set[str] = set()
    for node in below(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def _importers(*names: str) -> list[Path]:
    return [path for path in FILES if _imported(path) & set(names)]


def test_dagster_is_imported_in_its_own_places_only() -> None:
    found = [path for path in FILES if any(name.startswith("dagster") for name in _imported(path))]
    assert found
    assert [str(path) for path in found if not _within(path, WITH_DAGSTER)] == []


def test_pure_modules_do_not_load_dagster_even_through_others() -> None:
    pure = [module for path, module in MODULES.items() if not _within(path, MAY_LOAD_DAGSTER)]
    assert len(pure) > 50
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert not any(m.partition('.')[0].startswith('dagster') for m in sys.modules), name\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *pure], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("libraries", "places"),
    [
        (("boto3", "botocore"), WITH_S3),
        (("psycopg",), WITH_POSTGRES),
        (("duckdb",), WITH_DUCKDB),
    ],
    ids=["s3", "postgres", "duckdb"],
)
def test_each_store_is_spoken_to_in_its_own_places_only(libraries: tuple[str, ...], places: tuple[str, ...]) -> None:
    found = _importers(*libraries)
    assert found
    assert [str(path) for path in found if not _within(path, places)] == []


def test_sql_stands_where_its_database_is_spoken_to() -> None:
    statements = ("SELECT ", "INSERT INTO ", "CREATE TABLE ", "COPY (", "ATTACH ")
    found = [
        path
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.lstrip().startswith(statements)
    ]
    assert found
    assert [str(path) for path in found if not _within(path, (*WITH_DUCKDB, *WITH_POSTGRES))] == []


def test_the_command_line_imports_nothing_slow_before_a_command_is_asked_for() -> None:
    program = "import sys, orphan_pipeline.cli.main; print({'dagster', 'duckdb', 'boto3', 'pyarrow', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_package_file_is_empty() -> None:
    assert [str(path) for path in PACKAGE.rglob("__init__.py") if path.read_bytes()] == []


def test_every_module_says_what_belongs_there() -> None:
    without = [str(path) for path in FILES if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))]
    assert without == []


def test_nothing_connects_writes_or_starts_at_import(tmp_path: Path) -> None:
    """Under an audit hook, in an empty folder, without a settings file: imports open no socket, start no process, write no file."""
    program = (
        "import importlib, os, sys\n"
        "bad = []\n"
        "def hook(event, args):\n"
        "    writes = event == 'open' and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)\n"
        "    if writes or event in ('socket.connect', 'socket.bind', 'subprocess.Popen', 'os.mkdir', 'os.rename'):\n"
        "        bad.append((event, str(args[:2])))\n"
        "import dagster, dagster_aws.s3, boto3, psycopg, duckdb, pyarrow.parquet, pydantic, yaml, rich, click\n"
        "sys.dont_write_bytecode = True\n"
        "sys.addaudithook(hook)\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "assert not [b for b in bad if '/dev/null' not in b[1]], bad\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *MODULES.values()], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_no_document_has_a_place_that_was_never_filled_in() -> None:
    for document in [*PACKAGE.parent.glob("*.md"), *(PACKAGE.parent / "docs").glob("*.md")]:
        assert "@@" not in document.read_text(encoding="utf-8"), document.name
