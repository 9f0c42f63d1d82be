"""Every policy on recorded answers: who leaves where, and what it costs. Draws docs/policies.md.

Without arguments: the digits, from the network that ships. With the outcomes of another bundle
(train calibrate --outcomes FILE) nothing is computed anew; policies are tried by the code that
decides in a worker.
"""

import argparse
import os

import numpy as np

import edgesdk
from edgesdk import digits
from edgesdk.bundle import read_bundle
from edgesdk.outcomes import outcomes_from_logits, read_outcomes, replay

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--bundle", default="engines/wrn16_1-digits/1")
parser.add_argument("--outcomes", help="of that bundle; default: the digits, computed here")
parser.add_argument("--out", help="folder for the pictures")
options = parser.parse_args()

# Policy, score that it reads, threshold of the left panel, thresholds from strict to loose.
KINDS = [
    (edgesdk.MaxProbability, "max_probability", 0.8, [1.0, 0.999, 0.995, 0.99, 0.98, 0.96]),
    (edgesdk.Margin, "margin", 0.6, [1.0, 0.999, 0.995, 0.99, 0.98, 0.96]),
    (edgesdk.Entropy, "entropy", 0.6, [0.0, 0.001, 0.005, 0.01, 0.02, 0.05]),
    (edgesdk.Patience, None, 3, [8, 7, 6, 5, 4, 3, 2, 1]),
    (edgesdk.CosineDifference, "difference", 1.5, [np.inf, 100.0, 30.0, 10.0, 6.0, 4.0]),
    (edgesdk.NeighbourSimilarity, "similarity", 0.97, [1.0, 0.999, 0.995, 0.99, 0.98]),
]
LOOSER = {
    "max_probability": np.linspace(0.94, 0.1, 22),
    "margin": np.linspace(0.94, 0.0, 22),
    "entropy": np.linspace(0.1, 2.3, 22),
    "difference": np.linspace(3.0, 1.0, 22),
    "similarity": np.linspace(0.97, 0.6, 16),
}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")  # Okabe and Ito
RANDOM_DRAWS = 10


def record(bundle):
    """What every exit of the bundle says of the test scans."""
    scans = digits.load_digits_split("test")
    logits = []
    for exit_index in range(len(bundle.manifest.parts[0].exits)):
        policy = edgesdk.FixedExit(exit_index)
        with edgesdk.Pipeline.open(options.bundle, policy, logits=True) as pipe:
            logits.append([result.logits for result in pipe.infer(scans.images)])
    split = ["test"] * len(scans.labels)
    model_id = bundle.manifest.model_id
    return outcomes_from_logits(model_id, "digits", split, scans.labels, np.array(logits))


def point(policy, seed=0):
    """Accuracy, million multiply-adds per image and the share that leaves at each exit."""
    tried = replay(outcomes, policy, range(exit_count), seed)
    right = outcomes.correct[np.arange(outcomes.image_count), tried.exit_index].mean()
    cost = np.mean(
        [
            part.multiply_adds_until(last, tuple(np.flatnonzero(evaluated)))
            for last, evaluated in zip(tried.exit_index.tolist(), tried.evaluated)
        ]
    )
    shares = np.bincount(tried.exit_index, minlength=exit_count) / outcomes.image_count
    return right, cost / 1e6, shares


def examples_of(policy):
    """Three images that are answered right, early, in the middle and late; and where they leave."""
    left = replay(outcomes, policy, range(exit_count)).exit_index
    right = np.flatnonzero(outcomes.correct[np.arange(len(left)), left])
    ordered = right[np.argsort(left[right], kind="stable")]
    chosen = ordered[[len(ordered) // 10, len(ordered) // 2, len(ordered) - 1]]
    return [(int(image), int(left[image])) for image in chosen]


def runs_of(image):
    """Patience has no score: how often in a row each exit has predicted the same."""
    runs, predictions = [1], outcomes.prediction[image].tolist()
    for before, now in zip(predictions, predictions[1:]):
        runs.append(runs[-1] + 1 if now == before else 1)
    return runs


def draw_kind(pyplot, kind, score, threshold, swept):
    """Left: what the policy looks at. Right: who leaves where, at each threshold."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.0, 3.6))
    for (image, exit_index), color in zip(examples_of(kind(threshold)), COLORS):
        values = runs_of(image) if score is None else getattr(outcomes, score)[image]
        left.plot(range(exit_count), values, ".-", color=color, alpha=0.7)
        label = "leaves at exit {}".format(exit_index)
        left.plot(exit_index, values[exit_index], "o", color=color, markersize=10, label=label)
    left.axhline(threshold, color="black", linestyle="--", linewidth=1)
    left.set(xlabel="exit", ylabel=score or "exits in a row that agree")
    left.set_title("Three images, and the threshold {:g}".format(threshold), fontsize=10)
    left.legend(fontsize=8)
    shown_max = 3.0 if score == "difference" else np.inf  # it has a long tail
    finite = [(x, found) for x, found in swept if x <= shown_max]
    xs = [x for x, _ in finite]
    shares = 100 * np.array([found[2] for _, found in finite]).T
    blues = pyplot.get_cmap("YlGnBu")(np.linspace(0.15, 0.95, exit_count))
    names = ["leave at {}".format(i) for i in range(exit_count - 1)] + ["go to the end"]
    right.stackplot(xs, shares, colors=blues, labels=names)
    right.plot(xs, [100 * found[0] for _, found in finite], color="red", label="accuracy")
    right.set(xlabel="threshold, one for all exits", ylabel="% of images", ylim=(0, 100))
    right.set_xlim(min(xs), max(xs))
    right.set_title("Who leaves where", fontsize=10)
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_curves(pyplot, found):
    """Accuracy against multiply-adds, of all policies."""
    figure, axis = pyplot.subplots(figsize=(8.0, 5.0))
    for (name, swept), color in zip(found.items(), COLORS):
        dots = [(cost, 100 * right) for _, (right, cost, _) in swept]
        axis.plot(*zip(*dots), marker=".", color=color, label=name)
    fixed = [point(edgesdk.FixedExit(i)) for i in range(exit_count)]
    axis.plot([p[1] for p in fixed], [100 * p[0] for p in fixed], "s", color="0.4", label="fixed")
    for index, (right, cost, _) in enumerate(fixed):
        axis.annotate(str(index), (cost, 100 * right), (0, -13), textcoords="offset points")
    drawn = [point(edgesdk.RandomExit(), seed)[:2] for seed in range(RANDOM_DRAWS)]
    right, cost = np.mean(drawn, axis=0)
    axis.plot(cost, 100 * right, "X", color="black", markersize=9, label="random")
    axis.plot(final[1], 100 * final[0], "D", color="black", label="final")
    axis.set(xlabel="million multiply-adds per image", ylabel="% right", xlim=(0, None))
    axis.set_title("{}: {} test images".format(outcomes.data, outcomes.image_count), fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    return figure


def draw(found):
    """All pictures, into --out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    os.makedirs(options.out, exist_ok=True)
    figures = {"curves": draw_curves(pyplot, found)}
    for kind, score, threshold, _ in KINDS:
        figures[kind.kind] = draw_kind(pyplot, kind, score, threshold, found[kind.kind])
    for name, figure in figures.items():
        path = os.path.join(options.out, name + ".png")
        figure.savefig(path, dpi=100, bbox_inches="tight")
        print("written:", path)


bundle = read_bundle(options.bundle)
part = bundle.manifest.parts[0]
exit_count = len(part.exits)
if options.outcomes:
    outcomes = read_outcomes(options.outcomes, bundle.manifest.model_id).select("test")
else:
    outcomes = record(bundle)
final = point(edgesdk.FinalExit())
print("the full network: {:.2%} right at {:.2f} M multiply-adds".format(*final[:2]))

found = {}
for kind, score, _, thresholds in KINDS:
    every = list(thresholds) + list(LOOSER.get(score, ()))
    found[kind.kind] = [(float(x), point(kind(float(x)))) for x in every]
    half = min(found[kind.kind], key=lambda each: abs(each[1][1] - final[1] / 2))
    print(
        "{}: {:.2%} right at about half of it, {:.2f} M; threshold {:.3g}".format(
            kind.kind, half[1][0], half[1][1], half[0]
        )
    )
if options.out:
    draw(found)
assert all(swept[0][1][0] == final[0] for swept in found.values()), "strict: the full network"
