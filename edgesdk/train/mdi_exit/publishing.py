"""The results as files: a page with its pictures."""

from pathlib import Path

from ..publishing import PAGE, write_files
from . import figures
from .page import page, picture_name
from .results import Results


def write(found: Results, folder: Path, command: str) -> None:
    """The page and its pictures into `folder`, which is made; `command` is said to have made it.

    Raises EdgeError if a file cannot be written.
    """
    contents = {PAGE: page(found, command).encode()}
    for network in found.networks:
        pictures = {
            "fixed": figures.fixed(network, found.settings),
            "poisson": figures.poisson(network, found.settings),
            "channel": figures.media(network, found.settings),
        }
        if network.live:
            pictures["live"] = figures.live(network)
        for kind, content in pictures.items():
            contents[picture_name(kind, network)] = content
    write_files(folder, contents)
