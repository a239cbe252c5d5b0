"""`python -m benchmarks [NAME]`: runs the benchmarks, each of which measures us and a peer side by side in one run and prints JSON."""

from importlib import import_module

import click

BENCHMARKS = ("sweep", "listing", "references", "deletion")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(BENCHMARKS))
def main(names: tuple[str, ...]) -> None:
    """Run these benchmarks, or all of them."""
    for name in names or BENCHMARKS:
        click.echo(import_module(f"benchmarks.{name}").measure())


if __name__ == "__main__":
    main()
