"""`python -m edgesdk.worker`: compute for the neighbours of a cluster, until told to leave."""

import argparse
import gc
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, Dict, List, Optional

from . import cli
from .cluster import read_cluster
from .errors import ConfigError
from .pipeline import Pipeline
from .telemetry.journal import JsonLines

LOOK_S = 0.5  # between two looks at the neighbours


def main(arguments: argparse.Namespace) -> int:
    """Join, say what happens, leave at SIGTERM or SIGINT, say what was done."""
    _log(arguments.log_level, arguments.log_format)
    entry = read_cluster(arguments.cluster).worker(arguments.name)
    if entry.cpus is not None:
        _pin(entry.name, entry.cpus)
    leave = _on_signals()
    with Pipeline.open(
        arguments.bundle,
        backend=arguments.backend,
        cluster=arguments.cluster,
        name=arguments.name,
        admission="none",  # it owns no data
        pace=arguments.pace,
        trace=arguments.trace,
        timeline=arguments.timeline,
        insecure_network=arguments.insecure_network,
        metrics_port=arguments.metrics_port,
        metrics_host=arguments.metrics_host,
    ) as pipe:
        cli.banner((pipe.backend.name,), as_json=arguments.json)
        held = range(len(pipe.plan.stages)) if entry.stages is None else entry.stages
        cli.say(
            "{} listens at {}; plan {}, policy {}, stages {}".format(
                entry.name,
                entry.bind_address,
                pipe.plan.name,
                pipe.policy,
                ", ".join(str(stage) for stage in held) or "none",
            ),
            arguments.json,
        )
        if pipe.metrics_port is not None:
            place = "{}:{}".format(arguments.metrics_host, pipe.metrics_port)
            cli.say("metrics at http://{}/metrics".format(place), arguments.json)
        _freeze()
        watch = Watch(pipe, leave, arguments.json)
        pipe.serve(watch)
        cli.say("leaving; the tasks that are here are ended first", arguments.json)
        pipe.close(drain=True, timeout=arguments.drain)
        stats = pipe.stats()
        # Who has left in order knows no neighbours any more; people want to see the last of them.
        in_order = not stats["neighbours"]
        _report(dict(stats, neighbours=watch.neighbours, left_in_order=in_order), arguments.json)
    return 0


class Watch:
    """Whether it is time to leave; on the way, says what has changed among the neighbours."""

    def __init__(self, pipe: Pipeline, leave: threading.Event, as_json: bool) -> None:
        self._pipe = pipe
        self._leave = leave
        self._as_json = as_json
        self.neighbours: Dict[str, Dict[str, Any]] = {}  # as last seen
        self._look_s = 0.0

    def __call__(self) -> bool:
        now_s, is_time = time.monotonic(), self._leave.is_set()
        if is_time or now_s >= self._look_s:
            self._look_s = now_s + LOOK_S
            self._look()
        return is_time

    def _look(self) -> None:
        before, self.neighbours = self.neighbours, self._pipe.stats()["neighbours"]
        for name, known in self.neighbours.items():
            if before.get(name, {}).get("state", "greeting") != known["state"]:
                cli.say("{}: {}".format(name, known["state"]), self._as_json)


def _log(level: str, form: str) -> None:
    """What happens, and why, goes to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _freeze() -> None:
    """What has been loaded stays: a collection that looks through all of it takes 0.1 s."""
    gc.collect()
    if hasattr(gc, "freeze"):  # since Python 3.7
        gc.freeze()  # novm


def _pin(name: str, cpus: Any) -> None:
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise ConfigError(
            "worker {}: cpus: found {}, which this machine refuses ({}); it has {}".format(
                name, list(cpus), error.strerror, sorted(os.sched_getaffinity(0))
            )
        ) from None


def _on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; the second one of them ends the process at once."""
    leave = threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        if leave.is_set():
            os._exit(128 + number)
        leave.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return leave


def _report(stats: Dict[str, Any], as_json: bool) -> None:
    if as_json:
        cli.print_json(stats)
        return
    counters: Dict[str, int] = dict(stats["counters"])
    counters.update(stats["transport"])
    for name in sorted(counters):
        cli.say("{:>8}  {}".format(counters[name], name.replace("_", " ")))


def _arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    parser = cli.parser(
        "worker", __doc__.strip(), "python -m edgesdk.worker --cluster robots.toml --name nano-2"
    )
    parser.add_argument("--cluster", required=True, metavar="FILE", help="docs/cluster.md")
    parser.add_argument("--name", required=True, help="this worker's name in the cluster file")
    parser.add_argument("--bundle", metavar="DIR", help="instead of the one the file names")
    parser.add_argument("--backend", help="tensorrt, onnxruntime or torch; default: the best")
    parser.add_argument(
        "--pace", metavar="PROFILE", help="take as long as the device of that profile"
    )
    parser.add_argument("--trace", metavar="FILE", help="write down what the core is told")
    parser.add_argument("--timeline", metavar="FILE", help="draw what happens, for Perfetto")
    parser.add_argument(
        "--drain",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds for ending what is here when told to leave; default: %(default)s",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="N",
        help="let Prometheus ask there (docs/metrics.md), 0: at a free port",
    )
    parser.add_argument(
        "--metrics-host",
        default="127.0.0.1",
        metavar="H",
        help="at which address of this machine; nobody is asked who they are; default: %(default)s",
    )
    parser.add_argument(
        "--insecure-network",
        action="store_true",
        help="accept links without encryption and authentication beyond this machine",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="of what is said on standard error; info says why of everything; default: %(default)s",
    )
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: one object a line"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(cli.run(main, arguments))
