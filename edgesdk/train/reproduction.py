"""`python -m edgesdk.train reproduce distree|mdi-exit`: a paper's experiments, measured again."""

import argparse

from .. import cli
from .distree import command as distree
from .mdi_exit import command as mdi_exit

DESCRIPTION = "measure a paper's experiments again: tables, pictures, a page"
EXAMPLE = distree.EXAMPLE + "\n  " + mdi_exit.EXAMPLE
EXPERIMENTS = {"distree": distree, "mdi-exit": mdi_exit}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """A command for each paper."""
    papers = command.add_subparsers(metavar="PAPER", required=True)
    for name, module in EXPERIMENTS.items():
        paper = papers.add_parser(
            name,
            help=module.DESCRIPTION,
            description=module.DESCRIPTION,
            epilog="example:\n  " + module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        cli.add_common_options(paper)
        module.add_arguments(paper)
