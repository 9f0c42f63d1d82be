"""The pictures of the experiment, as PNG files."""

from collections.abc import Sequence
from typing import Any, Optional

from matplotlib.figure import Figure

from ..plots import png
from .points import Spread
from .results import NetworkResults
from .sweeps import Job, Settings
from .tables import IN_TIME_MIN
from .topologies import (
    BASELINES,
    CIRCLE_3,
    CODED,
    CODED_3,
    CODED_5,
    DATA_5,
    LOCAL,
    MESH_3,
    MESH_5,
    OFFLOAD,
    PAPER,
    THRESHOLD,
    TWO,
    Topology,
)

GREY = "0.45"
SIZE = (12, 5)
POINTS_MIN = 3.0
STYLES: dict[Topology, tuple[str, str]] = {  # color, and how marks and lines look
    LOCAL: ("C7", "o-"),
    TWO: ("C0", "o-"),
    MESH_3: ("C1", "o-"),
    CIRCLE_3: ("C2", "s--"),
    MESH_5: ("C3", "o-"),
    DATA_5: ("C4", "P:"),
    OFFLOAD: ("C5", "X:"),
    CODED_3: ("C1", "^--"),
    CODED_5: ("C3", "^--"),
}


def fixed(network: NetworkResults, settings: Settings) -> bytes:
    """Figs. 3 and 4: accuracy against the rate that Algorithm 3 finds, a mark for each threshold,
    a star without exits; from each a thin line to the bound."""
    figure, panels = _panels("images answered per second", "accuracy on the test images, %")
    for axes, topologies in zip(panels, _halves(network)):
        for each in topologies:
            _fixed_curve(axes, network, settings, each)
        axes.plot([], [], "*", color=GREY, markersize=11, label="the same, no early exit")
        axes.plot([], [], "-|", color=GREY, linewidth=0.6, markersize=9, label="bound")
        axes.set_xlim(left=0)
        _at_least_points(axes)
        axes.legend(fontsize="small")
    panels[0].set_title("the paper's topologies")
    panels[1].set_title("what they are compared with")
    return png(figure)


def _fixed_curve(
    axes: Any, network: NetworkResults, settings: Settings, topology: Topology
) -> None:
    color, style = STYLES[topology]
    wifi = settings.wifi_mbit_s
    found = _found(network, [Job(topology, wifi, value) for value in settings.thresholds])
    axes.plot(*_rates_and_accuracies(found), style, color=color, label=topology.name)
    none = _found(network, [Job(topology, wifi)])
    axes.plot(*_rates_and_accuracies(none), "*", color=color, markersize=12, zorder=4)
    for each in found + none:
        mean, y = each.mean, 100 * each.mean.accuracy
        axes.plot([mean.items_per_s, mean.bound_per_s], [y, y], color=color, linewidth=0.6)
        axes.plot(mean.bound_per_s, y, "|", color=color, markersize=9)


def _rates_and_accuracies(found: Sequence[Spread]) -> tuple[list[float], list[float]]:
    means = [each.mean for each in found]
    return [each.items_per_s for each in means], [100 * each.accuracy for each in means]


def poisson(network: NetworkResults, settings: Settings) -> bytes:
    """Figs. 5 and 6: accuracy against the rate of Poisson arrivals. Dotted: what so many boards do
    at most without early exits. Hollow: answers came late."""
    figure, panels = _panels("images arriving per second", "accuracy on the test images, %")
    for axes, topologies in zip(panels, _halves(network)):
        for each in topologies:
            _poisson_curve(axes, network, settings, each)
        axes.set_xlim(left=0)
        _at_least_points(axes)
        axes.legend(fontsize="small", loc="lower left")
    for count in sorted({each.node_count for each in PAPER}):
        rate = count * 1e6 / network.board.whole_us
        if rate <= max(network.rates_hz):
            panels[0].axvline(rate, color=GREY, linestyle=":", linewidth=0.8)
            panels[0].annotate(
                f"{count} full, no EE",
                (rate, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-10, -4),
                textcoords="offset points",
                rotation=90,
                va="top",
                fontsize="x-small",
                color=GREY,
            )
    panels[0].set_title("the paper's topologies")
    panels[1].set_title("what they are compared with")
    return png(figure)


def _poisson_curve(
    axes: Any, network: NetworkResults, settings: Settings, topology: Topology
) -> None:
    color, style = STYLES[topology]
    jobs = [Job(topology, settings.wifi_mbit_s, None, rate) for rate in network.rates_hz]
    found = _found(network, jobs)
    values = [100 * each.mean.accuracy for each in found]
    axes.plot(network.rates_hz, values, style, color=color, label=topology.name)
    late = [
        (rate, value)
        for rate, value, each in zip(network.rates_hz, values, found)
        if each.mean.in_time < IN_TIME_MIN
    ]
    for rate, value in late:
        axes.plot(rate, value, style[0], color=color, markerfacecolor="white", zorder=4)


def media(network: NetworkResults, settings: Settings) -> bytes:
    """Three nodes and five on one channel: rate, and accuracy, against what the channel carries."""
    figure, (rates, accuracies) = _panels("rate of the channel, Mbit/s", None)
    for each in (MESH_3, MESH_5, *(CODED if network.board.code else ())):
        color, style = STYLES[each]
        jobs = [Job(each, mbit_s, THRESHOLD) for mbit_s in settings.media_mbit_s]
        fixed_points = _found(network, jobs)
        rate, _ = _rates_and_accuracies(fixed_points)
        rates.plot(settings.media_mbit_s, rate, style, color=color, label=each.name)
        if not each.coded:
            bound = sum(each.mean.bound_per_s for each in fixed_points) / len(fixed_points)
            rates.axhline(bound, color=color, linestyle=":", linewidth=0.9)
        busy = [job._replace(threshold=None, rate_hz=network.busy_hz) for job in jobs]
        _, accuracy = _rates_and_accuracies(_found(network, busy))
        accuracies.plot(settings.media_mbit_s, accuracy, style, color=color, label=each.name)
    rates.plot([], [], ":", color=GREY, label="bound")
    rates.set(ylabel="images answered per second", ylim=(0, None))
    rates.set_title(f"T_e {THRESHOLD:g}, Algorithm 3")
    accuracies.set(ylabel="accuracy on the test images, %")
    _at_least_points(accuracies)
    accuracies.set_title(f"{network.busy_hz:g} arrivals per second, Algorithm 4")
    for axes in (rates, accuracies):
        axes.set_xscale("log")
        axes.set_xticks(settings.media_mbit_s, [f"{each:g}" for each in settings.media_mbit_s])
        axes.minorticks_off()
        axes.legend(fontsize="small")
    return png(figure)


def live(network: NetworkResults) -> bytes:
    """Real processes as marks on simulated lines."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    for topology in (LOCAL, TWO, MESH_3):
        color, _ = STYLES[topology]
        points = [each for each in network.live if each.topology == topology.name]
        rates = [each.simulated_per_s for each in points]
        accuracy = [100 * each.simulated_accuracy for each in points]
        axes.plot(rates, accuracy, "-", color=color, linewidth=1, label=f"{topology.name}, sim.")
        rates = [each.live_per_s for each in points]
        accuracy = [100 * each.live_accuracy for each in points]
        axes.plot(rates, accuracy, "D", color=color, label=f"{topology.name}, live")
        bounds = [each.bound_per_s for each in points]
        axes.plot(bounds, accuracy, "|", color=color, markersize=12)
    axes.plot([], [], "|", color=GREY, markersize=12, label="bound")
    axes.set(xlabel="images answered per second", ylabel="accuracy on the images answered, %")
    axes.set_xlim(left=0)
    _at_least_points(axes)
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small")
    return png(figure)


def _halves(network: NetworkResults) -> tuple[tuple[Topology, ...], tuple[Topology, ...]]:
    coded = CODED if network.board.code else ()
    return PAPER, (MESH_3, MESH_5, *coded, *BASELINES)


def _found(network: NetworkResults, jobs: Sequence[Job]) -> list[Spread]:
    return [found for found in map(network.at, jobs) if found is not None]


def _at_least_points(axes: Any) -> None:
    """So much of an axis of accuracies that chance does not fill it."""
    low, high = axes.get_ylim()
    missing = max(0.0, POINTS_MIN - (high - low)) / 2
    axes.set_ylim(low - missing, high + missing)


def _panels(x: str, y: Optional[str]) -> tuple[Figure, Any]:
    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes in panels:
        axes.set(xlabel=x)
        axes.grid(alpha=0.25)
    if y:
        panels[0].set(ylabel=y)
    return figure, panels
