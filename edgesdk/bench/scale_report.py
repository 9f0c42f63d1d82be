"""The tables and the picture of `bench scale`."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from .. import cli
from ..figures import png, side_by_side
from ..sim.report import Report, link_uses, percent
from ..sim.spec import Scenario

SIZE_INCHES = (15.0, 4.4)
KINDS = (  # of messages, as columns
    ("tasks", ("Task",)),
    ("results", ("ResultMessage",)),
    ("acks", ("Ack",)),
    ("load reports", ("Load",)),
    ("heartbeats", ("heartbeat",)),
    ("progress", ("Progress",)),
    ("greetings", ("Hello", "Welcome", "Bye", "Reject")),
)
RINGS_SHOWN = 9
LEAST = 10  # workers: one in ten of them is one


class World(NamedTuple):
    """A scenario as a row of a table: `sources`, `links` and `churn` say what it is."""

    scenario: Scenario
    sources: str
    links: str
    churn: str


class Found(NamedTuple):
    """What one simulation came to.

    `messages`: handed over, by kind, "heartbeat" being those Loads that come without a reason.
    `hops`: how many tasks were sent as their first, second, ... hop. `busy`: share of the time that
    nodes computed, by their distance from the nearest source in links. `cpu_s`: processor time of
    the simulation; `memory_mb`: the most that this process has had so far.
    """

    world: World
    report: Report
    messages: Dict[str, int]
    counters: Dict[str, int]
    hops: Dict[int, int]
    busy: Dict[int, Tuple[int, float]]
    cpu_s: float
    memory_mb: float


Steps = Sequence[Tuple[str, Found]]


def _name(found: Found) -> Tuple[str, ...]:
    world = found.world
    return (str(len(world.scenario.nodes)), world.sources, world.links, world.churn)


NAME = ("workers", "sources", "links", "churn")
SIZES = ("items/s", "bound", "x alone", "accuracy", "p50 ms", "p95 ms", "busy", "busiest link")


def progress_line(found: Found) -> str:
    """One run, as soon as it is over."""
    return "{}: {:.0f} items/s, {:.0f} s of processor time".format(
        ", ".join(_name(found)), found.report.total.items_per_s, found.cpu_s
    )


def tables(found: Sequence[Found]) -> str:
    """Every table of the sizes."""
    sections = (sizes(found), messages(found), rings(found), costs(found))
    return "\n".join("\n".join(section) + "\n" for section in sections)


def _sizes(found: Found) -> Tuple[str, ...]:
    total, run = found.report.total, found.report.run
    bound = total.bound_per_s or 0.0
    busy = sum(node.busy_us for node in run.totals.nodes) / run.totals.end_us
    uses = [use.utilisation for use in link_uses(run) if use.utilisation is not None]
    alone = bound_alone(found)
    return (
        "{:.0f}".format(total.items_per_s),
        "{:.0f}".format(bound),
        "{:.1f}".format(total.items_per_s / alone) if alone else "-",
        percent(total.accuracy),
        "{:.0f}".format((total.p50_us or 0) / 1000),
        "{:.0f}".format((total.p95_us or 0) / 1000),
        percent(busy / len(run.totals.nodes)),
        percent(max(uses, default=None)),
    )


def bound_alone(found: Found) -> float:
    """Items per second that the sources would answer, if each had only itself."""
    run = found.report.run
    mean_us, until_us = 0.0, 0
    part = run.scenario.model.parts[0]
    for exit_index, stage_us in zip(part.exit_indices, part.stage_us):
        until_us += stage_us
        mean_us += until_us * found.report.total.exit_shares.get(exit_index, 0.0)
    return len(run.totals.sources) * 1e6 / mean_us if mean_us else 0.0


def sizes(found: Sequence[Found]) -> List[str]:
    """What fleets of each size do."""
    return cli.table(NAME + SIZES, [_name(each) + _sizes(each) for each in found])


def messages(found: Sequence[Found]) -> List[str]:
    """Messages per answered item, by kind; how far tasks travel."""
    header = NAME + ("neighbours",) + tuple(kind for kind, _ in KINDS) + ("all", "most hops")
    return ["messages per item", ""] + cli.table(
        header, [_name(each) + (_degree(each),) + _messages(each) for each in found]
    )


def _degree(found: Found) -> str:
    scenario = found.world.scenario
    return "{:.1f}".format(2 * len(scenario.links) / len(scenario.nodes))


def _messages(found: Found) -> Tuple[str, ...]:
    shares = [per_item(found, kinds) for _, kinds in KINDS]
    everything = per_item(found, tuple(found.messages))
    texts = tuple("{:.2f}".format(share) for share in shares + [everything])
    return texts + (str(max(found.hops, default=0)),)


def per_item(found: Found, kinds: Sequence[str]) -> float:
    """Messages of these kinds, for each item that was answered."""
    return sum(found.messages.get(kind, 0) for kind in kinds) / max(
        1, found.report.total.result_count
    )


def rings(found: Sequence[Found]) -> List[str]:
    """How busy workers are, by their distance from the nearest source."""
    rows = []
    for each in found:
        cells = [
            "{} of {}".format(percent(each.busy[far][1]), each.busy[far][0])
            if far in each.busy
            else "-"
            for far in range(RINGS_SHOWN)
        ]
        rows.append(_name(each) + tuple(cells))
    header = NAME + tuple("{} links".format(far) for far in range(RINGS_SHOWN))
    return ["busy, by distance from the nearest source"] + [""] + cli.table(header, rows)


def costs(found: Sequence[Found]) -> List[str]:
    """What the simulation itself takes."""
    rows = []
    for each in found:
        run = each.report.run
        count = max(1, each.report.total.result_count)
        rows.append(
            _name(each)
            + (
                "{:.0f}".format(each.cpu_s),
                "{:.0f}".format(run.totals.event_count / each.cpu_s),
                "{:.2f}".format(1000 * each.cpu_s / count),
                "{:.0f}".format(each.memory_mb),
            )
        )
    header = NAME + ("processor s", "events/s", "ms per item", "MB so far")
    return ["the simulation itself", ""] + cli.table(header, rows)


def steps(what: str, rows: Steps) -> str:
    """One value changed, everything else as in the file of a hundred."""
    header = (
        (what,) + SIZES + ("reports per item", "messages per item", "leases expired", "repeated")
    )
    table = []
    for change, found in rows:
        counts = [found.counters.get(name, 0) for name in ("leases_expired", "retransmissions")]
        table.append(
            (change,)
            + _sizes(found)
            + (
                "{:.1f}".format(per_item(found, ("Load",))),
                "{:.1f}".format(per_item(found, tuple(found.messages))),
            )
            + tuple(map(str, counts))
        )
    return "\n".join(cli.table(header, table)) + "\n"


def picture(found: Sequence[Found]) -> bytes:
    """A PNG: throughput beside its bound, messages per item, how far the work spreads."""
    figure, axes = side_by_side(SIZE_INCHES, 3)
    _throughput(axes[0], found)
    _per_item(axes[1], found)
    _spread(axes[2], found)
    for each in axes:
        each.grid(True, alpha=0.3)
        each.set_axisbelow(True)
    figure.tight_layout()
    return png(figure)


def _kinds(found: Sequence[Found]) -> List[Tuple[str, List[Found]]]:
    """The runs that differ in size only, by what they are."""
    groups: List[Tuple[str, List[Found]]] = []
    several = {id(each) for each in found if len(each.world.scenario.workloads) > 1}
    for links, churn in (("own", "no"), ("shared", "no"), ("shared", "yes")):
        runs = [e for e in found if (e.world.links, e.world.churn) == (links, churn)]
        about = links + " links" + (", churn" if churn == "yes" else "")
        sizes_of_several = {_name(each)[0] for each in runs if id(each) in several}
        alone = [each for each in runs if id(each) not in several]
        least = [each for each in alone if len(each.world.scenario.nodes) <= LEAST]
        if alone != least or not sizes_of_several:
            groups.append(("one source, " + about, alone))
        if sizes_of_several:
            more = least + [each for each in runs if id(each) in several]
            groups.append(("one in ten asks, " + about, more))
    return [(name, runs) for name, runs in groups if runs]


def _throughput(axes: Any, found: Sequence[Found]) -> None:
    for number, (name, runs) in enumerate(_kinds(found)):
        counts = [len(each.world.scenario.nodes) for each in runs]
        rates = [each.report.total.items_per_s for each in runs]
        axes.plot(counts, rates, "o-", color="C{}".format(number), label=name)
        if runs[0].world.churn == "no" and runs[0].world.links == "own":
            bounds = [each.report.total.bound_per_s for each in runs]
            axes.plot(counts, bounds, "--", color="C{}".format(number), label="its bound")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="answers per second")
    axes.legend(fontsize="x-small")


def _per_item(axes: Any, found: Sequence[Found]) -> None:
    names = ["\n".join(_name(each)[:1] + _short(each)) for each in found]
    bottom = [0.0] * len(found)
    for number, (kind, kinds) in enumerate(KINDS):
        heights = [per_item(each, kinds) for each in found]
        axes.bar(range(len(found)), heights, bottom=bottom, color="C{}".format(number), label=kind)
        bottom = [low + high for low, high in zip(bottom, heights)]
    axes.set_xticks(range(len(found)))
    axes.set_xticklabels(names, fontsize="xx-small")
    axes.set(ylabel="messages per item")
    axes.legend(fontsize="x-small")


def _short(found: Found) -> Tuple[str, ...]:
    world = found.world
    return (world.sources.split()[0] + " src", world.links) + (("churn",) * (world.churn == "yes"))


def _spread(axes: Any, found: Sequence[Found]) -> None:
    for each in found:
        if len(each.world.scenario.workloads) == 1 and each.world.churn == "no":
            shares = [100 * share for _, share in each.busy.values()]
            label = "{} workers, {} links".format(*_name(each)[::2])
            style = "o-" if each.world.links == "own" else "s--"
            axes.plot(list(each.busy), shares, style, markersize=4, label=label)
    axes.set(xlabel="distance from the one source (links)", ylabel="busy (%)")
    axes.legend(fontsize="x-small")
