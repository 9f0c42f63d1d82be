"""The traces of one run: which files they are, and what to call the processes that wrote them."""

import os
import re
from typing import Dict, List, Sequence, Tuple

from ..errors import ConfigError

TRACE_NAME = re.compile(r".+\.trace(\.\d+)?")  # a process that starts again adds a number


def find_traces(paths: Sequence[str]) -> List[str]:
    """The files that `paths` name; of a folder its traces, by name; each once. Raises ConfigError
    for what is missing, and for a folder without any."""
    found: List[str] = []
    for path in paths:
        if os.path.isdir(path):
            found += _traces_in(path)
        elif os.path.isfile(path):
            found.append(path)
        else:
            raise ConfigError("{}: no such file, expected a trace".format(path))
    places = {os.path.realpath(path): path for path in found}
    return list(places.values())


def _traces_in(folder: str) -> List[str]:
    names = sorted(name for name in os.listdir(folder) if TRACE_NAME.fullmatch(name))
    if not names:
        raise ConfigError(
            "{}: found no *.trace in this folder, expected those that workers write with "
            "--trace FILE, and Pipeline.open with trace=FILE".format(folder)
        )
    return [os.path.join(folder, name) for name in names]


def process_names(begun: Sequence[Tuple[str, float]]) -> List[str]:
    """What to call each process, given its worker's name and when it began, on one clock: that
    name, from the worker's second process on with a number."""
    counts: Dict[str, int] = {}
    names = [""] * len(begun)
    for place in sorted(range(len(begun)), key=lambda place: begun[place][1]):
        worker = begun[place][0]
        counts[worker] = counts.get(worker, 0) + 1
        names[place] = worker
        if counts[worker] > 1:
            names[place] = "{} ({})".format(worker, counts[worker])
    return names
