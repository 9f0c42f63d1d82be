"""The experiments of MDI-Exit, simulated: fixed thresholds, Poisson arrivals, one Wi-Fi channel.

Without arguments: a short form on the illustrative numbers of examples/scenarios. docs/mdi-exit.md
shows the long one, with the times and answers of a network that was measured.
"""

import argparse
import os

from edgesdk import cli
from edgesdk.core.exits import make_policy
from edgesdk.sim.report import link_uses
from edgesdk.sim.runs import run_scenario
from edgesdk.sim.scenario import read_scenario

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--bundle", default="engines/wrn16_1-cifar10/1")
parser.add_argument("--profile", help="of the bundle: bench engine --profile FILE")
parser.add_argument("--outcomes", help="of the bundle: train calibrate --outcomes FILE")
parser.add_argument("--slowdown", type=float, default=10.0, help="of a board beside the profile's")
parser.add_argument("--seconds", type=float, default=40.0, help="of virtual time for each point")
parser.add_argument("--only", choices=("threshold", "poisson", "wifi"))
parser.add_argument("--out", help="folder for the pictures")
options = parser.parse_args()
measured = options.profile is not None
seconds = options.seconds if measured else 15.0
speed = 1 / options.slowdown if measured else 1.0

WARMUP_US = 8000000 if measured else 3000000  # Algorithm 3 needs it to find its rate
SCENARIOS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scenarios")
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9) if measured else (0.8,)
THRESHOLD_MIN = 0.3
LOADS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if measured else (1.0, 3.0)
WIFI_MBIT_S = (20, 40, 80, 160, 320, 640) if measured else (20, 640)
SLOW_WIFI = 40  # in Mbit/s, where accuracy is shown against arrivals
SEEDS = range(2) if measured else range(1)
JPEG_BYTES = 1833  # a CIFAR-10 image, on average
TOPOLOGIES = ("Local", "2-Node", "3-Node-Mesh", "3-Node-Circular", "5-Node-Mesh")
DATA, FULL = BASELINES = ("Data-distributed, 5", "Full offload")
SMALL = "5-Node-Mesh, bytes / 4"
LOCAL, MESH_3, MESH_5 = TOPOLOGIES[0], TOPOLOGIES[2], TOPOLOGIES[4]
WIFI_TOPOLOGIES = (LOCAL, MESH_3, MESH_5, SMALL) + BASELINES
FILES = {DATA: "data-distributed", FULL: "full-offload", SMALL: "5-node-mesh"}
COLORS = {name: "C{}".format(i) for i, name in enumerate(TOPOLOGIES + BASELINES + (SMALL,))}


def load(name, changes=()):
    """The scenario of a topology, with boards as fast as asked for."""
    path = os.path.join(SCENARIOS, FILES.get(name, name.lower()) + ".toml")
    boards = [("node.speed", speed), ("duration_s", seconds)]
    if name == FULL:
        boards.append(("node[1].speed", 10 * speed))
    return read_scenario(path, boards + list(changes))


files = {key: os.path.abspath(getattr(options, key) or "") for key in ("profile", "outcomes")}
files = dict(files, bundle=os.path.abspath(options.bundle), plan="full", policy="final")
network = load(LOCAL, [("model", files)] if measured else []).model
(part,) = network.parts  # an ensemble has several
total_us = sum(part.stage_us) / speed
local_hz = 1e6 / total_us  # what one board can do without exits


def simulate(name, changes, threshold, wifi_mbit_s=None, seed=0):
    """The report of one run. `threshold` None: no early exit. Links of 1 Gbit/s, or one channel."""
    policy = {"kind": "max_probability", "thresholds": threshold}
    sizes = part.feature_bytes
    if name == FULL:
        sizes = (JPEG_BYTES,) + sizes[1:]
    if name == SMALL:
        sizes = tuple(size // 4 for size in sizes)
    model = network._replace(
        parts=(part._replace(feature_bytes=sizes),),
        policy=make_policy(policy if threshold is not None else {"kind": "final"}),
    )
    if name != LOCAL:
        changes = changes + links(name, wifi_mbit_s)
    scenario = load(name, changes)._replace(model=model)
    return run_scenario(scenario, seed, WARMUP_US)


def links(name, wifi_mbit_s):
    """Changes of a file that set its links."""
    media, values = [], {"rate_mbit_s": 1000, "delay_ms": 0.2, "jitter_ms": 0.05}
    if wifi_mbit_s is not None:
        media = [("medium", [{"name": "wifi", "rate_mbit_s": wifi_mbit_s}])]
        values = {"medium": "wifi", "delay_ms": 1, "jitter_ms": 0.5}
    if name in BASELINES:
        values["offload"] = "forward"
    if name == FULL:
        return media + [("link", [dict(values, between=["camera", "server"])])]
    return media + [("link_defaults", values)]


def paced():
    """Algorithm 3 says when items arrive; it begins at the rate of one board without exits."""
    return [("admission.interarrival_ms", total_us / 1000)]


def arriving(rate_hz, adapt):
    """Poisson arrivals, and Algorithm 4 if `adapt`."""
    kind = "threshold" if adapt else "none"
    changes = [("workload[0].kind", "poisson"), ("workload[0].rate_hz", rate_hz)]
    return changes + [("admission.kind", kind), ("admission.threshold_min", THRESHOLD_MIN)]


def most_hz(name, threshold):
    """What the boards of a topology can do at most when items leave at `threshold`."""
    spent_us = 0.0
    for image in network.images:
        for exit_index, stage_us in zip(part.exit_indices, part.stage_us):
            spent_us += stage_us
            if image.scores[0][exit_index].max_probability > threshold:
                break
    nodes = {LOCAL: 1, "2-Node": 2, MESH_3: 3, "3-Node-Circular": 3, FULL: 10}.get(name, 5)
    most = nodes * speed * 1e6 * len(network.images) / spent_us
    return most if name in BASELINES else min(most, 1e6 * speed / part.stage_us[0])


def percent(share):
    """For tables."""
    return "{:.1f} %".format(100 * share)


def show(title, header, rows):
    """Print a table."""
    print("\n".join(["", title, ""] + cli.table(header, rows)))


# --- 1: fixed thresholds --------------------------------------------------------------------------


def fixed_thresholds():
    """{(topology, threshold): report}, paced by Algorithm 3 on fast links."""
    found = {}
    for name in TOPOLOGIES:
        for threshold in THRESHOLDS + (None,):
            found[name, threshold] = simulate(name, paced(), threshold)
    for name in BASELINES:
        found[name, 0.8] = simulate(name, paced(), 0.8)
    rows = []
    for (name, threshold), report in found.items():
        total = report.total
        share = total.items_per_s / total.bound_per_s
        answers = "{:.1f}".format(total.items_per_s), "{:.1f}".format(total.bound_per_s)
        spread = "{:.0f} to {:.0f}".format(*spread_of(report))
        row = (name, "No EE" if threshold is None else threshold) + answers
        row += ("{:.2f}".format(share), spread, percent(total.accuracy))
        rows.append(row + ("{:.0f}".format(total.p50_us / 1000),))
        assert share >= 0.85, row
        assert total.open_count == 0, row
    header = ["topology", "threshold", "items/s", "bound", "of it", "in half seconds"]
    show("Algorithm 3 paces arrivals, fast links", header + ["accuracy", "p50 ms"], rows)
    for name in TOPOLOGIES:
        least = found[name, None].total.items_per_s
        assert all(found[name, t].total.items_per_s > least for t in THRESHOLDS), name
    return found


def rates_of(report, width_us=500000):
    """(seconds, answers per second) in windows of half a second."""
    counts = [0] * (report.run.scenario.duration_us // width_us)
    for ended in report.run.ended:
        if ended.at_us // width_us < len(counts):
            counts[ended.at_us // width_us] += 1
    times = [i * width_us / 1e6 for i in range(len(counts))]
    return times, [count * 1e6 / width_us for count in counts]


def spread_of(report):
    """The least and the most answers per second after the warm-up."""
    after = [rate for at, rate in zip(*rates_of(report)) if at * 1e6 >= report.warmup_us]
    return min(after), max(after)


def draw_fixed_thresholds(found):
    """Accuracy against rate; how Algorithm 3 gets there."""
    figure, (left, right) = pictures()
    for name in TOPOLOGIES:
        points = [found[name, t].total for t in THRESHOLDS]
        rates, accuracy = [p.items_per_s for p in points], [100 * p.accuracy for p in points]
        left.plot(rates, accuracy, MARKS.get(name, "o-"), color=COLORS[name], label=name)
        none = found[name, None].total
        place = none.items_per_s, 100 * none.accuracy
        left.plot(*place, "*", color=COLORS[name], markersize=11)
    for name, mark in zip(BASELINES, "PX"):
        total = found[name, 0.8].total
        place = total.items_per_s, 100 * total.accuracy
        left.plot(*place, mark, color=COLORS[name], markersize=8, label=name + " (T 0.8)")
    left.plot([], [], "*", color="0.4", markersize=11, label="the same, no early exit")
    left.set(xlabel="answers per second", ylabel="accuracy (%)", xlim=(0, None))
    left.set_title("thresholds {:g} to {:g}".format(THRESHOLDS[0], THRESHOLDS[-1]))
    report = found[MESH_5, 0.8]
    right.plot(*rates_of(report), color="C0")
    right.axhline(report.total.bound_per_s, color="0.4", linestyle="--")
    right.text(0, report.total.bound_per_s, "bound", color="0.3", va="bottom")
    right.set(xlabel="virtual time (s)", ylim=(0, None))
    right.set_ylabel("answers per second", color="C0")
    queue = right.twinx()
    samples = report.run.queue_samples
    samples = [(at, lengths) for at, lengths in samples if at <= report.run.scenario.duration_us]
    lengths = [lengths[0] for _, lengths in samples]
    queue.plot([at / 1e6 for at, _ in samples], lengths, color="C1", linewidth=1)
    queue.set_ylabel("tasks waiting at the source", color="C1")
    queue.set_ylim(0, 2.5 * max(lengths))
    right.set_title("{} at threshold 0.8: no hold band".format(MESH_5))
    save(figure, "fixed-threshold.png")


# --- 2: Poisson arrivals --------------------------------------------------------------------------


def poisson_arrivals():
    """{(topology, rate): report}, threshold by Algorithm 4, fast links, as far as boards can."""
    found, rows = {}, []
    for name in TOPOLOGIES + BASELINES:
        for rate_hz in (load * local_hz for load in LOADS):
            if rate_hz > 0.9 * most_hz(name, THRESHOLD_MIN):
                continue
            report = found[name, rate_hz] = simulate(name, arriving(rate_hz, True), 0.8)
            total = report.total
            times = ["{:.0f}".format(us / 1000) for us in (total.p50_us, total.p99_us)]
            row = [name, "{:.0f}".format(rate_hz), total.admitted_count, total.result_count]
            rows.append(row + [percent(total.accuracy)] + times)
            assert total.admitted_count == total.result_count, rows[-1]
    header = ["topology", "arrivals/s", "admitted", "answered", "accuracy", "p50 ms", "p99 ms"]
    show("Poisson arrivals, Algorithm 4 adapts the threshold, fast links", header, rows)
    for name in TOPOLOGIES:
        accuracy = [report.total.accuracy for (other, _), report in found.items() if other == name]
        assert all(b < a + 0.02 for a, b in zip(accuracy, accuracy[1:])), (name, accuracy)
    for rate_hz in [rate for name, rate in found if name == LOCAL]:
        more, one = (found[name, rate_hz].total.accuracy for name in (MESH_5, LOCAL))
        assert more > one - 0.02, rate_hz
    return found


def draw_poisson(found):
    """Accuracy and latency against arrivals."""
    figure, (left, right) = pictures()
    for name in TOPOLOGIES + BASELINES:
        rates = [rate for other, rate in found if other == name]
        totals = [found[name, rate].total for rate in rates]
        style = {"color": COLORS[name], "label": name}
        left.plot(rates, [100 * t.accuracy for t in totals], MARKS.get(name, "o-"), **style)
        right.plot(rates, [t.p99_us / 1000 for t in totals], MARKS.get(name, "o-"), **style)
    left.set(ylabel="accuracy (%)")
    right.set(ylabel="99 of 100 answers within (ms)", yscale="log")
    right.yaxis.set_major_formatter("{x:g}")
    for axes in (left, right):
        axes.set(xlabel="arrivals per second (Poisson)", xlim=(0, None))
    save(figure, "poisson.png")


# --- 3: one Wi-Fi channel -------------------------------------------------------------------------


def wifi():
    """Reports over the rate of the channel (Algorithm 3), and over arrivals (Algorithm 4)."""
    paced_at, rows = {}, []
    for name in WIFI_TOPOLOGIES:
        for rate in WIFI_MBIT_S if name != LOCAL else (None,):
            report = paced_at[name, rate] = simulate(name, paced(), 0.8, rate)
            used = "-" if rate is None else percent(link_uses(report.run)[-1].utilisation)
            rows.append([name, rate or "-", "{:.1f}".format(report.total.items_per_s)])
            rows[-1] += ["{:.1f}".format(report.total.bound_per_s), used, "-"]
            if name not in BASELINES:
                flooded = simulate(name, arriving(4 * local_hz, False), 0.8, rate)
                rows[-1][-1] = "{:.1f}".format(flooded.total.items_per_s)
            assert report.total.open_count == 0, rows[-1]
    flood = "of {:.0f}/s".format(4 * local_hz)
    header = ["topology", "Mbit/s", "items/s", "bound", "used", flood]
    show("One Wi-Fi channel for all, threshold 0.8, Algorithm 3", header, rows)
    arrivals, rows = {}, []
    for load in LOADS:
        for name in WIFI_TOPOLOGIES:
            if load * local_hz > 0.9 * most_hz(LOCAL, THRESHOLD_MIN):
                continue
            change = arriving(load * local_hz, True)
            runs = [simulate(name, change, 0.8, SLOW_WIFI, seed).total for seed in SEEDS]
            accuracy = [run.accuracy for run in runs]
            arrivals[name, load] = sum(accuracy) / len(accuracy)
            row = [name, "{:.0f}".format(load * local_hz), percent(arrivals[name, load])]
            rows.append(row + [percent(min(accuracy)), percent(max(accuracy))])
            assert sum(run.open_count for run in runs) == 0, rows[-1]
    header = ["topology", "arrivals/s", "accuracy", "least", "most"]
    text = "One Wi-Fi channel of {} Mbit/s, Poisson arrivals, Algorithm 4, {} seeds"
    show(text.format(SLOW_WIFI, len(SEEDS)), header, rows)
    slow, fast = WIFI_MBIT_S[0], WIFI_MBIT_S[-1]
    answers = {key: report.total.items_per_s for key, report in paced_at.items()}
    assert answers[MESH_5, fast] > 1.3 * answers[MESH_3, fast], "fast: more boards do more"
    assert answers[MESH_5, slow] < 1.1 * answers[MESH_3, slow], "slow: more boards gain nothing"
    assert answers[SMALL, slow] > answers[MESH_5, slow], "slow: smaller features help"
    assert answers[FULL, slow] > answers[MESH_5, slow], "slow: a JPEG is smaller than a feature"
    return paced_at, arrivals


def draw_wifi(paced_at, arrivals):
    """Throughput against the channel; accuracy against arrivals on a slow one."""
    figure, (left, right) = pictures()
    for name in WIFI_TOPOLOGIES[1:]:
        answers = [paced_at[name, rate].total.items_per_s for rate in WIFI_MBIT_S]
        left.plot(WIFI_MBIT_S, answers, "o-", color=COLORS[name], label=name)
    one = paced_at[LOCAL, None].total.items_per_s
    left.axhline(one, color=COLORS[LOCAL], linestyle="--", label=LOCAL)
    left.set(xscale="log", yscale="log", xlabel="rate of the channel (Mbit/s)")
    left.set(ylabel="answers per second", title="Algorithm 3, threshold 0.8")
    left.set_xticks(WIFI_MBIT_S)
    left.minorticks_off()
    ticks = [value for value in (100, 200, 500, 1000, 2000) if value > one / 2]
    left.set_yticks(ticks)
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter("{x:g}")
    for name in WIFI_TOPOLOGIES:
        loads = [load for other, load in arrivals if other == name]
        accuracy = [100 * arrivals[name, load] for load in loads]
        rates = [load * local_hz for load in loads]
        style = "o--" if name == LOCAL else "o-"
        right.plot(rates, accuracy, style, color=COLORS[name], label=name)
    right.set(xlabel="arrivals per second (Poisson)", ylabel="accuracy (%)", xlim=(0, None))
    right.set_title("Algorithm 4, a channel of {} Mbit/s".format(SLOW_WIFI))
    save(figure, "wifi.png")


# --- pictures -------------------------------------------------------------------------------------

MARKS = {"3-Node-Circular": "s--", DATA: "P:", FULL: "X:"}


def pictures():
    """A figure of two."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, 2)


def save(figure, name):
    """Write a PNG with one legend below both."""
    for axes in figure.axes[:2]:
        axes.grid(True, alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    os.makedirs(options.out, exist_ok=True)
    figure.savefig(os.path.join(options.out, name), dpi=110)


print(
    "{:g} s for each point; one board takes {:.3f} ms an item without exits ({:.1f}/s), "
    "stage 0 {:.2f} ms".format(seconds, total_us / 1000, local_hz, part.stage_us[0] / speed / 1000)
)
done = []
if options.only in (None, "threshold"):
    done.append(fixed_thresholds())
    if options.out:
        draw_fixed_thresholds(done[-1])
if options.only in (None, "poisson"):
    done.append(poisson_arrivals())
    if options.out:
        draw_poisson(done[-1])
if options.only in (None, "wifi"):
    done.append(wifi())
    if options.out:
        draw_wifi(*done[-1])
assert all(done), "every experiment gives something"
