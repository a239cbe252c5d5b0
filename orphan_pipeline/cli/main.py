"""The command `orphan-pipeline`: which commands there are, and how mistakes end. Each command is a module of this package, imported
only when it is asked for (importing Dagster alone takes a second)."""

import sys
from importlib import import_module
from typing import Any

import click

from orphan_pipeline.errors import BadSettings, Refused

REFUSED = 1
BAD_SETTINGS = 2
COMMANDS = ("demo", "init", "check", "sweep", "plan", "approve", "delete", "restore")


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"orphan_pipeline.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """What the user can mend is one line on stderr, never a traceback."""
        try:
            return super().invoke(ctx)
        except BadSettings as error:
            for line in error.lines:
                click.echo(line, err=True)
            sys.exit(BAD_SETTINGS)
        except Refused as error:
            click.echo(f"refused: {error}", err=True)
            sys.exit(REFUSED)
        except OSError as error:
            click.echo(f"failed: {error}", err=True)
            sys.exit(REFUSED)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            sys.exit(REFUSED)


@click.command(cls=Commands)
@click.version_option(package_name="orphan_pipeline")
def main() -> None:
    """Finds the objects in an S3 bucket that no database row points at, deletes them provably, and can take it back."""
