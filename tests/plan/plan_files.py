"""The files that a plan is made of, for the tiny network: three stages, exits behind each."""

import json

import numpy as np
import tiny

from edgesdk.cluster import local_cluster_text
from edgesdk.outcomes import outcomes_from_logits, write_outcomes
from edgesdk.profiles import Profile, StageTime, write_profile

STAGE_US = (1000.0, 3000.0, 2000.0)
HEAD_US = 100.0
INSECURE = ["[security]", "insecure = true"]


def profile(model_id, factor=1.0, energy_mj=None, plan="full", count=3):
    """Times of the stages, those of a device that is `factor` times as slow."""
    stages = [
        StageTime(
            part=0,
            plan=plan,
            stage=index,
            batch=1,
            p50_us=factor * us,
            p95_us=2 * factor * us,
            head_p50_us=factor * HEAD_US,
            head_p95_us=factor * HEAD_US,
            energy_mj=energy_mj,
        )
        for index, us in enumerate(STAGE_US[:count])
    ]
    return Profile(model_id, "a board", "onnxruntime", {}, stages)


class Files:
    """A folder with a cluster file of these workers, `slow.json` and `fast.json`, `who.npz`."""

    def __init__(self, folder, bundle, workers=None, head=()):
        self.folder, self.bundle = folder, bundle
        self.cluster = str(folder / "robots.toml")
        self.describe(workers or {"robot": [], "nano-1": [], "nano-2": []}, head)
        self.slow = self.write("slow.json", 1.0, 4.0)
        self.fast = self.write("fast.json", 0.1, 9.0)
        self.outcomes = str(folder / "who.npz")
        write_outcomes(self.outcomes, outcomes(bundle.manifest.model_id))

    def describe(self, workers, head=()):
        """Write the cluster file; `workers`: lines of TOML by name."""
        text = local_cluster_text(self.bundle.path, workers, list(head) + INSECURE)
        (self.folder / "robots.toml").write_text(text)

    def write(self, name, *arguments, **options):
        """A profile as a file; its path."""
        path = str(self.folder / name)
        write_profile(path, profile(self.bundle.manifest.model_id, *arguments, **options))
        return path

    def write_stats(self, name, document):
        """Stats as a file; its path."""
        (self.folder / name).write_text(json.dumps(document))
        return str(self.folder / name)

    def arguments(self, *more):
        """For the command: the bundle, the cluster, who goes on, and one slow profile for all."""
        given = [self.bundle.path, "--cluster", self.cluster, "--outcomes", self.outcomes]
        return given + ["--profile", self.slow] + list(more)


def outcomes(model_id):
    """Of ten images of each split: by the bundle's policy five leave at exit 0, three at 1, two at
    2. Exit 0 is right for half of them, exit 1 for four fifths, exit 2 always."""
    sure, unsure = 3.0, 0.1
    logits = np.zeros((3, 20, 2), np.float32)
    for image in range(20):
        depth = 0 if image // 2 < 5 else 1 if image // 2 < 8 else 2
        for index in range(3):
            logits[index, image, 0] = sure if index >= depth else unsure
            if index < depth:
                logits[index, image] = logits[index, image, ::-1]  # wrong
    labels = np.zeros(20, np.int32)
    assert tiny.EXIT_COUNT == 3
    return outcomes_from_logits(model_id, "made", ["calibration", "test"] * 10, labels, logits)
