"""The tables of the page."""

from collections.abc import Sequence
from typing import Callable, Optional

from ..markdown import percent, table
from .points import Spread
from .results import NetworkResults, Row
from .sweeps import Job, Settings
from .topologies import BASELINES, CODED, MESH_3, MESH_5, PAPER, THRESHOLD, Topology

MILLION, KILO = 1e6, 1e3
IN_TIME_MIN = 0.95  # of a run's answers; below it, queues grow all the time
NO_EE = "No EE"

Cell = Callable[[Spread], str]


def exits(network: NetworkResults) -> str:
    """The network on a board, exit by exit."""
    board, until_us, rows = network.board, 0.0, []
    for index, one in enumerate(network.exits):
        until_us += board.stage_us[index]
        rows.append(
            (
                f"E{index + 1}",
                percent(one.accuracy),
                f"{one.multiply_adds / MILLION:.2f}",
                f"{(until_us + board.head_us[index]) / KILO:.2f}",
                f"{board.feature_bytes[index]:,}",
            )
        )
    header = ("exit", "accuracy", "M multiply-adds", "ms on a board", "bytes into its stage")
    return table(header, rows)


def fixed(network: NetworkResults, settings: Settings, cell: Cell) -> str:
    """A row for each topology, a column for each threshold."""
    thresholds = (*settings.thresholds, None)
    wifi = settings.wifi_mbit_s
    rows = [
        (each.name, *_cells(network, [Job(each, wifi, value) for value in thresholds], cell))
        for each in curves(network)
    ]
    names = [NO_EE if value is None else f"{value:g}" for value in thresholds]
    return table(("T_e", *names), rows)


def poisson(network: NetworkResults, settings: Settings, cell: Cell) -> str:
    """A row for each topology, a column for each rate of arrivals."""
    wifi = settings.wifi_mbit_s
    rows = [
        (each.name, *_cells(network, [Job(each, wifi, None, r) for r in network.rates_hz], cell))
        for each in curves(network)
    ]
    return table(("arrivals/s", *(f"{rate:g}" for rate in network.rates_hz)), rows)


def _cells(network: NetworkResults, jobs: Sequence[Job], cell: Cell) -> list[str]:
    found = [network.at(job) for job in jobs]
    return ["" if each is None else cell(each) for each in found]


def curves(network: NetworkResults) -> tuple[Topology, ...]:
    """The topologies that have points."""
    return PAPER + BASELINES + (CODED if network.board.code else ())


def rate_and_bound(found: Spread) -> str:
    """Answers per second / bound."""
    return f"{found.mean.items_per_s:.1f} / {found.mean.bound_per_s:.1f}"


def accuracy(found: Spread) -> str:
    """In percent."""
    return percent(found.mean.accuracy)


def starred_accuracy(found: Spread) -> str:
    """In percent; with a star where answers came late."""
    return accuracy(found) + ("" if found.mean.in_time >= IN_TIME_MIN else " *")


def used(found: Spread) -> str:
    """Share of the channel's rate."""
    return share(found.mean.used)


def share(value: Optional[float]) -> str:
    """Such as "31 %"."""
    return "" if value is None else f"{100 * value:.0f} %"


def media(network: NetworkResults, settings: Settings) -> str:
    """A row for each channel and topology: Algorithm 3, then Poisson arrivals."""
    rows = []
    for row in media_rows(network, settings):
        mean, job = row.found.mean, row.job
        busy = network.at(job._replace(threshold=None, rate_hz=network.busy_hz))
        assert busy is not None  # every channel has both
        rows.append(
            (
                f"{job.wifi_mbit_s:g}",
                job.topology.name,
                rate_and_bound(row.found),
                f"{mean.items_per_s / mean.bound_per_s:.2f}",
                used(row.found),
                starred_accuracy(busy),
                used(busy),
            )
        )
    header = ("Mbit/s", "topology", "images/s / bound", "of it", "used",
              f"accuracy at {network.busy_hz:g}/s", "used")  # fmt: skip
    return table(header, rows)


def media_rows(network: NetworkResults, settings: Settings) -> list[Row]:
    """The points of Algorithm 3 where channels are compared, by channel."""
    return [
        row
        for mbit_s in settings.media_mbit_s
        for row in network.rows
        if row.job.wifi_mbit_s == mbit_s
        and row.job.threshold == THRESHOLD
        and row.job.topology in (MESH_3, MESH_5, *CODED)
    ]


def live(network: NetworkResults) -> str:
    """Real processes beside the simulator."""
    rows = [
        (
            point.topology,
            NO_EE if point.threshold is None else f"{point.threshold:g}",
            f"{point.live_per_s:.1f}",
            f"{point.simulated_per_s:.1f}",
            f"{100 * (point.live_per_s / point.simulated_per_s - 1):+.1f} %",
            f"{point.bound_per_s:.1f}",
            percent(point.live_accuracy),
            percent(point.simulated_accuracy),
            point.answer_count,
            share(point.overrun_share),
        )
        for point in network.live
    ]
    header = ("topology", "T_e", "live/s", "simulated/s", "difference", "bound", "accuracy, live",
              "simulated", "answers", "too slow")  # fmt: skip
    return table(header, rows)
