"""The command line: ``scgde demo`` and ``scgde datasets``."""

from __future__ import annotations

import argparse
import sys

from ._version import __version__


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    # Heavy imports only when there is something to do.
    if options.command == "demo":
        from ._demo import run_demo

        run_demo(options.output, seed=options.seed, n_steps=options.steps)
        return
    from .datasets import _command

    try:
        ok = getattr(_command, f"run_{options.action}")(options)
    except (KeyError, OSError, ValueError) as error:
        sys.exit(error.args[0] if isinstance(error, KeyError) else str(error))
    sys.exit(0 if ok else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scgde", description="Population-level single-cell analysis.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="embed, classify and resample 15 patients with COVID-19 (bundled data)"
    )
    demo.add_argument("--output", default="demo_output", help="folder to write to")
    demo.add_argument("--seed", type=int, default=0, help="seed of everything random")
    demo.add_argument("--steps", type=int, default=600, help="training steps")
    datasets = commands.add_parser("datasets", help="what data there is, and getting it")
    actions = datasets.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="all data sets")
    actions.add_parser("check", help="check every entry of the registry and every bundled file")
    for action, text in {"info": "all that is known of a set", "fetch": "download a set"}.items():
        of_one = actions.add_parser(action, help=text)
        of_one.add_argument("name", help="name of the data set")
        of_one.add_argument("--cache-dir", help="folder of downloads (or set SCGDE_DATA_DIR)")
    return parser


if __name__ == "__main__":
    main()
