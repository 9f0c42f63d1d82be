"""Exit policies and algorithms compared in the simulator: one fleet, one stream of real answers.

    python examples/08_compare_policies.py [PICTURE.png]       needs matplotlib; default: runs/

What every exit says of every test scan is recorded once; then a source and two helpers answer 55
scans a second under each policy. That boards compute 0.8 G multiply-adds a second is assumed; with
`python -m edgesdk.bench engine --profile FILE` it would be measured.
"""

import os
import sys
import tempfile

import numpy as np

import edgesdk
from edgesdk import cli, digits
from edgesdk.core.offload import LITERAL
from edgesdk.outcomes import outcomes_from_logits, write_outcomes
from edgesdk.profiles import Profile, StageTime, write_profile
from edgesdk.sim.report import link_uses, percent
from edgesdk.sim.runs import run_scenario
from edgesdk.sim.scenario import read_scenario

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    sys.exit('{}; the picture needs matplotlib: pip install ".[demo]"'.format(error))

BUNDLE = os.path.abspath("engines/wrn16_1-digits/1")
SCENARIO = "examples/scenarios/3-node-mesh.toml"
RATE_HZ = 55.0
MULTIPLY_ADDS_PER_US = 800.0
PICTURE = sys.argv[1] if len(sys.argv) > 1 else "runs/policies.png"


def threshold(kind, value):
    """A policy with one threshold for all exits, as scenarios write it."""
    return {"kind": kind, "thresholds": value}


# Name -> policy (a name of the bundle, or a table), and what else differs from the scenario.
COMPARED = {
    "full network": ("final", []),
    "calibrated": ("calibrated", []),
    "probability > 0.5": (threshold("max_probability", 0.5), []),
    "probability > 0.8": (threshold("max_probability", 0.8), []),
    "probability > 0.99": (threshold("max_probability", 0.99), []),
    "entropy < 0.3": (threshold("entropy", 0.3), []),
    "two in agreement": (threshold("patience", 2), []),
    # It raises the threshold as far as the boards have time: here up to the full network.
    "Algorithm 4": (threshold("max_probability", 0.8), [("admission.kind", "threshold")]),
    "full network, paper to the letter": ("final", [("offloading", LITERAL._asdict())]),
    "full network, inputs may travel": ("final", [("offloading.offload_inputs", True)]),
    "calibrated, nobody helps": ("calibrated", [("node[1].count", 0)]),
}


def record(folder):
    """Write what a simulation of the bundle reads: its outcomes and a profile."""
    scans, logits = digits.load_digits_split("test"), []
    with edgesdk.Pipeline.open(BUNDLE) as pipe:
        manifest = pipe.bundle.manifest
    part = manifest.parts[0]
    for index in range(len(part.exits)):
        policy = edgesdk.FixedExit(index)
        with edgesdk.Pipeline.open(BUNDLE, policy=policy, plan="full", logits=True) as pipe:
            logits.append([outcome.logits for outcome in pipe.infer(scans.images)])
    splits = ["test"] * len(scans.labels)
    outcomes = outcomes_from_logits(
        manifest.model_id, "digits", splits, scans.labels, np.array(logits, np.float32)
    )
    write_outcomes(os.path.join(folder, "outcomes.npz"), outcomes)
    stages = []
    for index, (segment, head) in enumerate(zip(part.segments, part.exits)):
        us = [each.multiply_adds / MULTIPLY_ADDS_PER_US for each in (segment, head)]
        stages.append(StageTime(0, "full", index, 1, us[0], us[0], us[1], us[1]))
    profile = Profile(manifest.model_id, "an assumed board", "none", {}, stages)
    write_profile(os.path.join(folder, "profile.json"), profile)


def simulate(folder, policy, changes):
    """The report of one run: the same arrivals, the same answers."""
    files = {"profile": folder + "/profile.json", "outcomes": folder + "/outcomes.npz"}
    model = dict(files, bundle=BUNDLE, plan="full", policy=policy)
    common = [("model", model), ("workload[0].kind", "poisson"), ("workload[0].rate_hz", RATE_HZ)]
    common += [("admission.kind", "none"), ("duration_s", 30)]
    return run_scenario(read_scenario(SCENARIO, common + changes), seed=1)


def draw(found):
    """Accuracy against the time that 95 of 100 answers take; a PNG."""
    figure = Figure(figsize=(9, 4.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for (name, report), mark in zip(found.items(), "sDov^<>PX*hp"):
        place = report.total.p95_us / 1000, 100 * report.total.accuracy
        axes.plot(*place, mark, markersize=9, alpha=0.8, label=name)
    axes.set(xscale="log", xlabel="95 of 100 answers within (ms)", ylabel="accuracy (%)")
    axes.set_xticks([10, 20, 50, 100, 200])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(True, alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.tight_layout()
    os.makedirs(os.path.dirname(PICTURE) or ".", exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


with tempfile.TemporaryDirectory() as folder:
    record(folder)
    found = {name: simulate(folder, *how) for name, how in COMPARED.items()}
rows = []
for name, report in found.items():
    total = report.total
    times = ["{:.1f}".format(us / 1000) for us in (total.p50_us, total.p95_us)]
    messages = sum(link.message_count for link in link_uses(report.run))
    rows.append([name, percent(total.accuracy)] + times + ["{:.1f}".format(total.items_per_s)])
    rows[-1].append("{:.1f}".format(messages / total.result_count))
header = ["policy", "accuracy", "p50 ms", "p95 ms", "answers/s", "messages each"]
print("\n".join(cli.table(header, rows)))
draw(found)
print("picture:", PICTURE)
full, early = found["full network"].total, found["calibrated"].total
print("calibrated: {:.1f} times as fast as the full network".format(full.p50_us / early.p50_us))
assert full.p50_us > 3 * early.p50_us and early.accuracy > full.accuracy - 0.01
