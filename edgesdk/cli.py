"""What every `python -m edgesdk.NAME` shares: the banner, `--json`, errors without tracebacks."""

import argparse
import json
import os
import platform
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

from . import __version__
from .errors import EdgeError
from .telemetry.status import plain

EXIT_FAILED = 1  # the command ran and found something wrong
EXIT_USAGE = 2  # what argparse uses for wrong arguments


def parser(name: str, description: str, example: str) -> argparse.ArgumentParser:
    """An argument parser with `--json` and `--debug`, and the example at the end of its help."""
    result = argparse.ArgumentParser(
        prog="python -m edgesdk." + name,
        description=description,
        epilog="example:\n  " + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common_options(result)
    return result


def add_common_options(target: argparse.ArgumentParser) -> None:
    """`--json` and `--debug`; commands with subcommands add them to each."""
    target.add_argument(
        "--json", action="store_true", help="print one JSON object on standard output, nothing else"
    )
    target.add_argument("--debug", action="store_true", help="show tracebacks")


def above_0(text: str) -> float:
    """A finite number above 0, as an option of argparse (`type=`) reads it."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("found {}, expected a number above 0".format(text))
    return value


def say(text: str = "", as_json: bool = False) -> None:
    """Print for a person: on standard error when standard output belongs to the JSON object."""
    print(text, file=sys.stderr if as_json else sys.stdout, flush=True)


def versions(packages: Sequence[str] = ()) -> Dict[str, str]:
    """edgesdk, its kernels, Python, and those of `packages` that are already imported."""
    from . import kernels

    found = {
        "edgesdk": __version__,
        "kernels": kernels.implementation,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    for package in ("numpy",) + tuple(packages):
        module = sys.modules.get(package)
        found[package] = getattr(module, "__version__", "not imported")
    return found


def banner(packages: Sequence[str] = (), seed: Optional[int] = None, as_json: bool = False) -> None:
    """One line of versions, kernel implementation and seed, before anything else is printed."""
    words = ["{} {}".format(name, value) for name, value in versions(packages).items()]
    if seed is not None:
        words.append("seed {}".format(seed))
    say("  ".join(words), as_json)


def figure(
    name: str, value: float, unit: str, target: Optional[float] = None, ok: Optional[bool] = None
) -> Dict[str, Any]:
    """One measured number of a bench; `ok` is None where there is no target."""
    return {"name": name, "value": value, "unit": unit, "target": target, "ok": ok}


def print_json(value: Any) -> None:
    """`value` as the one JSON object on standard output. JSON has no NaN: it becomes null."""
    text = json.dumps(plain(value), indent=1)  # whole before the first byte is printed
    sys.stdout.write(text + "\n")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> List[str]:
    """Lines of a plain table: first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [header] + list(rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        first, rest = row[0].ljust(widths[0]), row[1:]
        lines.append(
            "  ".join([first] + [cell.rjust(w) for cell, w in zip(rest, widths[1:])]).rstrip()
        )
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def run(main: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Call `main` and turn what it raises into one line on standard error and an exit status."""
    try:
        return main(arguments)
    except EdgeError as error:
        if arguments.debug:
            raise
        print("{}: {}".format(type(error).__name__, error), file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:  # a full disk, a folder that cannot be read: not a bug of ours
        if arguments.debug:
            raise
        print("OSError: {}".format(error), file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
