"""What the curves say beside what the paper says, as sentences made from the numbers.

The paper prints no numbers of its curves, so orders and shapes are compared. Rates within 3 % of
each other, and accuracies within half a point, count as equal.
"""

from typing import Optional

from ..markdown import percent
from .points import Point
from .results import NetworkResults, Row
from .sweeps import Job, Settings
from .tables import media_rows, share
from .topologies import (
    BASELINES,
    CIRCLE_3,
    CODED_5,
    LOCAL,
    MESH_3,
    MESH_5,
    PAPER,
    THRESHOLD,
    TWO,
    Topology,
)

EQUAL_SHARE = 0.03
EQUAL_POINTS = 0.5
FULL = 0.8  # of a channel's rate: with what its users wait for each other, no more goes
AT_BOUND = 0.9
AS_PAPER, OTHERWISE = "As in the paper.", "**Not as in the paper.**"


def statements(network: NetworkResults, settings: Settings) -> list[str]:
    """One paragraph for each thing that the paper says of its curves."""
    found = [
        _more_nodes(network, settings),
        _early_exits(network, settings),
        _circle(network, settings),
        _poisson(network, settings),
        _five_or_three(network, settings),
        _baselines(network, settings),
        _bound(network, settings),
    ]
    return [each for each in found if each]


def _mean(network: NetworkResults, job: Job) -> Point:
    found = network.at(job)
    assert found is not None  # every curve has every point
    return found.mean


def _fixed(
    network: NetworkResults, settings: Settings, topology: Topology, threshold: Optional[float]
) -> Point:
    return _mean(network, Job(topology, settings.wifi_mbit_s, threshold))


def _threshold(settings: Settings) -> float:
    """The one that sentences are about."""
    return min(settings.thresholds, key=lambda each: abs(each - THRESHOLD))


def why_slow(point: Point) -> str:
    """What keeps a fleet from more, as far as its numbers show it."""
    of_bound = point.items_per_s / point.bound_per_s
    begun = point.begun_per_s
    if begun is not None and of_bound >= AT_BOUND and point.bound_per_s >= 0.99 * begun:
        return f"the source begins every image itself, and its stage 0 allows {begun:.0f}/s"
    if point.used is not None and point.used >= FULL:
        return f"the channel is full ({share(point.used)} used)"
    if of_bound >= AT_BOUND:
        return f"its boards are busy ({of_bound:.2f} of the bound)"
    if point.used is None:
        return f"it is at {of_bound:.2f} of its bound"
    return (
        f"it is at {of_bound:.2f} of its bound with {share(point.used)} of the channel used: its "
        "source holds back while queues are long"
    )


def _more_nodes(network: NetworkResults, settings: Settings) -> str:
    threshold = _threshold(settings)
    order = (LOCAL, TWO, MESH_3, MESH_5)
    points = [_fixed(network, settings, each, threshold) for each in order]
    rates = [each.items_per_s for each in points]
    stuck = [
        index
        for index in range(1, len(order))
        if rates[index] < (1 + EQUAL_SHARE) * rates[index - 1]
    ]
    said = ", ".join(
        f"{topology.name} {rate:.1f} ({rate / rates[0]:.2f} x)"
        for topology, rate in zip(order, rates)
    )
    text = f"**More nodes take in more data** (images per second at T_e {threshold:g}): {said}. "
    if not stuck:
        return text + AS_PAPER
    reasons = [
        f"{order[index].name} is {_compared(rates[index] / rates[index - 1])} "
        f"{order[index - 1].name}, for {why_slow(points[index])}"
        for index in stuck
    ]
    return f"{text}{OTHERWISE} {'; '.join(reasons)}."


def _compared(ratio: float) -> str:
    if abs(ratio - 1) <= EQUAL_SHARE:
        return "as fast as"
    return f"{100 * abs(ratio - 1):.0f} % {'faster' if ratio > 1 else 'slower'} than"


def _early_exits(network: NetworkResults, settings: Settings) -> str:
    threshold = _threshold(settings)
    pairs = [
        (each, _fixed(network, settings, each, threshold), _fixed(network, settings, each, None))
        for each in PAPER
    ]
    said = ", ".join(
        f"{each.name} {early.items_per_s / none.items_per_s:.2f} x" for each, early, none in pairs
    )
    _, early, none = pairs[0]
    points = 100 * (early.accuracy - none.accuracy)
    faster = all(
        early.items_per_s > (1 + EQUAL_SHARE) * none.items_per_s for _, early, none in pairs
    )
    text = (
        f"**Early exits trade accuracy for rate** (T_e {threshold:g} against No EE): {said}, "
        f"with {points:+.1f} points of accuracy on one board. "
    )
    if faster:
        return text + AS_PAPER
    slow = [
        f"{each.name}: {why_slow(early)}"
        for each, early, none in pairs
        if early.items_per_s <= (1 + EQUAL_SHARE) * none.items_per_s
    ]
    return f"{text}{OTHERWISE} {'; '.join(slow)}."


def _circle(network: NetworkResults, settings: Settings) -> str:
    ratios = [
        _fixed(network, settings, CIRCLE_3, each).items_per_s
        / _fixed(network, settings, MESH_3, each).items_per_s
        for each in (*settings.thresholds, None)
    ]
    return (
        "**3-Node-Circular against 3-Node-Mesh**, over all thresholds: "
        f"{min(ratios):.2f} to {max(ratios):.2f} of its rate. The paper does not rank them. A ring "
        "of three without a direction would be the mesh; tasks go one way round here, answers "
        "straight back where there is a link."
    )


def _poisson(network: NetworkResults, settings: Settings) -> str:
    rate = max(network.rates_hz)
    points = {each: _mean(network, Job(each, settings.wifi_mbit_s, None, rate)) for each in PAPER}
    said = ", ".join(f"{each.name} {percent(point.accuracy)}" for each, point in points.items())
    worse = [
        each
        for each in PAPER[1:]
        if 100 * (points[each].accuracy - points[LOCAL].accuracy) <= EQUAL_POINTS
    ]
    text = (
        f"**Several nodes keep the accuracy up when more arrives** (Poisson, {rate:g}/s): {said}. "
    )
    if not worse:
        return text + AS_PAPER
    reasons = [f"{each.name}: {why_slow(points[each])}" for each in worse]
    return f"{text}{OTHERWISE} No better than one board are {'; '.join(reasons)}."


def _five_or_three(network: NetworkResults, settings: Settings) -> str:
    """The paper's Fig. 5 against its Fig. 6."""
    without = _behind(network, settings, coded=False)
    text = "**5-Node-Mesh behind 3-Node-Mesh**, as in the paper's Fig. 5, where transmissions are "
    text += f"too much: {without}. "
    if not network.board.code:
        return text + "Features behind the first exit are too small for an auto-encoder here."
    rate = max(network.rates_hz)
    best = max(
        (*PAPER, CODED_5),
        key=lambda each: _mean(network, Job(each, settings.wifi_mbit_s, None, rate)).accuracy,
    )
    top = _mean(network, Job(best, settings.wifi_mbit_s, None, rate)).accuracy
    five = _mean(network, Job(CODED_5, settings.wifi_mbit_s, None, rate)).accuracy
    is_best = 100 * (top - five) <= EQUAL_POINTS
    text += f"With the auto-encoder: {_behind(network, settings, coded=True)}. "
    if is_best:
        return (
            f"{text}With it 5-Node-Mesh is best at {rate:g} arrivals/s, as in Fig. 6 "
            f"({percent(five)})."
        )
    return (
        f"{text}{OTHERWISE} With it 5-Node-Mesh has {percent(five)} at {rate:g} arrivals/s, "
        f"{best.name} {percent(top)}."
    )


def _behind(network: NetworkResults, settings: Settings, coded: bool) -> str:
    """On which channels five are behind three, by rate or by accuracy."""
    rows = [row for row in media_rows(network, settings) if row.job.topology.coded == coded]
    slow, inaccurate, used = [], [], []
    for mbit_s in settings.media_mbit_s:
        three, five = (
            next(r for r in rows if r.job.wifi_mbit_s == mbit_s and _nodes(r) == n) for n in (3, 5)
        )
        if five.found.mean.items_per_s < (1 - EQUAL_SHARE) * three.found.mean.items_per_s:
            slow.append(mbit_s)
            used.append(five.found.mean.used)
        busy = [
            _mean(network, row.job._replace(threshold=None, rate_hz=network.busy_hz))
            for row in (three, five)
        ]
        if 100 * (busy[0].accuracy - busy[1].accuracy) > EQUAL_POINTS:
            inaccurate.append(mbit_s)
            used.append(busy[1].used)
    if not slow + inaccurate:
        return "on no channel, neither by rate nor by accuracy"
    parts = [
        f"by {what} at {', '.join(f'{each:g}' for each in found)} Mbit/s"
        for what, found in (("rate", slow), ("accuracy", inaccurate))
        if found
    ]
    known = [each for each in used if each is not None]
    least, most = share(min(known)), share(max(known))
    channel = least if least == most else f"{least} to {most}"
    return f"{' and '.join(parts)} ({channel} of the channel used)"


def _nodes(row: Row) -> int:
    return row.job.topology.node_count


def _baselines(network: NetworkResults, settings: Settings) -> str:
    threshold = _threshold(settings)
    mesh = _fixed(network, settings, MESH_5, threshold)
    said = [
        f"{each.name} answers {point.items_per_s / mesh.items_per_s:.2f} times as many images as "
        f"5-Node-Mesh ({share(point.used)} of the channel used)"
        for each in BASELINES
        for point in [_fixed(network, settings, each, threshold)]
    ]
    return f"**What the paper does not measure**, at T_e {threshold:g}: {'; '.join(said)}."


def _bound(network: NetworkResults, settings: Settings) -> str:
    """How near the fleets come to what they could do, and why some do not."""
    points = {
        (each, threshold): _fixed(network, settings, each, threshold)
        for each in PAPER
        for threshold in (*settings.thresholds, None)
    }
    shares = [point.items_per_s / point.bound_per_s for point in points.values()]
    far = [
        (each, point)
        for (each, _), point in points.items()
        if point.items_per_s < AT_BOUND * point.bound_per_s
    ]
    text = (
        f"**Of the bound** min(1/t_0, N/m) the paper's topologies reach {min(shares):.2f} to "
        f"{max(shares):.2f}"
    )
    if not far:
        return text + "."
    full = [point for _, point in far if point.used is not None and point.used >= FULL]
    names = ", ".join(dict.fromkeys(each.name for each, _ in far))
    return (
        f"{text}. Below {AT_BOUND:g} are {len(far)} of {len(points)} points, of {names}; at "
        f"{len(full)} of them the channel is full."
    )
