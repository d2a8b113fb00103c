"""The command line: ``scgde demo``."""

from __future__ import annotations

import argparse

from ._version import __version__


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("scgde", description="Population-level single-cell analysis.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="embed, classify and resample 15 patients with COVID-19 (bundled data)"
    )
    demo.add_argument("--output", default="demo_output", help="folder to write to")
    demo.add_argument("--seed", type=int, default=0, help="seed of everything random")
    demo.add_argument("--steps", type=int, default=600, help="training steps")
    options = parser.parse_args(arguments)
    from ._demo import run_demo  # heavy imports only when there is something to do

    run_demo(options.output, seed=options.seed, n_steps=options.steps)


if __name__ == "__main__":
    main()
