"""An exit policy of your own: leave when two neighbouring exits agree and the second is sure.

A policy folds the scores of the exits an item has passed into a small state. Here the state is the
class that the last exit predicted.
"""

import edgesdk
from edgesdk import digits


class AgreeAndSure(edgesdk.ExitPolicy):
    """Leave when an exit repeats the class of the one before with at least this probability."""

    kind = "agree_and_sure"

    def __init__(self, threshold):
        self.threshold = threshold

    def step(self, exit_index, scores, state):
        agrees = scores.class_index == state
        sure = scores.max_probability > self.threshold
        return agrees and sure, scores.class_index

    def describe(self):
        return {"kind": self.kind, "threshold": self.threshold}


scans = digits.load_digits_split("test")
right, depth = {}, {}
for policy in (AgreeAndSure(0.8), edgesdk.MaxProbability(0.8), edgesdk.FinalExit()):
    with edgesdk.Pipeline.open("engines/wrn16_1-digits/1", policy=policy) as pipe:
        outcomes = pipe.infer(scans.images)
    name = type(policy).__name__
    right[name] = sum(o.class_index == label for o, label in zip(outcomes, scans.labels))
    depth[name] = sum(o.exit_index for o in outcomes) / len(outcomes)
    print(
        "{}: {} of {} right, mean exit {:.2f}".format(
            policy, right[name], len(outcomes), depth[name]
        )
    )

assert depth["MaxProbability"] < depth["AgreeAndSure"] < depth["FinalExit"]
assert right["AgreeAndSure"] >= right["MaxProbability"]
