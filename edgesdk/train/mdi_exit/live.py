"""Some points on real processes, beside the simulator: paced workers over ZeroMQ on loopback.

Loopback is no Wi-Fi, and two cores carry few boards at their own pace. So the boards are slower
here, and the simulation beside them has the same boards, and links that take as long as loopback.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Callable, NamedTuple, Optional

import numpy as np

from ...bench.fleet import PACE, Live, run, write_cluster
from ...bench.images import LabelledImages
from ...bundle import Bundle
from ...bundle_update import update_bundle
from ...core.exits import FinalExit, MaxProbability
from ...core.spec import FULL_PLAN
from ...errors import Failed
from ...files import write_atomically
from ...outcomes import Outcomes
from ...profiles import Profile, StageTime, write_profile
from ...sim.bound import bound_per_s
from ...sim.scenario_files import images_of
from ...sim.spec import Scenario
from .boards import Board
from .points import WARMUP_SHARE, Points, about
from .sweeps import BEGIN_SHARE, Settings
from .topologies import LOCAL, MESH_3, SOURCE, TWO, Topology, at_threshold, scenario_of

TOPOLOGIES = (LOCAL, TWO, MESH_3)
THRESHOLDS: tuple[Optional[float], ...] = (0.5, 0.8, None)
BOARD_TIMES_MIN = 80  # images that one board could answer in a run, or it ends before queues settle
LINK_US = 300  # of loopback, one way, with what the processes do


class LivePoint(NamedTuple):
    """`live_per_s` images per second and their `live_accuracy`, beside what the simulator says of
    the same fleet; `bound_per_s` with the exits that were taken live. `overrun_share`: of the
    source's stages that were too slow for their pace."""

    topology: str
    threshold: Optional[float]
    live_per_s: float
    simulated_per_s: float
    bound_per_s: float
    live_accuracy: float
    simulated_accuracy: float
    answer_count: int
    failed_count: int
    overrun_share: float


class Fleets:
    """Fleets of `bundle` on slow boards. Points are kept in `folder`."""

    def __init__(
        self,
        bundle: Bundle,
        board: Board,
        test: Outcomes,
        images: LabelledImages,
        settings: Settings,
        folder: Path,
    ) -> None:
        self._bundle, self._board, self._test = bundle, board, test
        order = Random(settings.seed).sample(range(len(images.images)), len(images.images))
        self._images = [images.images[index] for index in order]
        self._labels = images.labels[order]
        recorded = images_of([test])
        self._simulated_images = [recorded[index] for index in order]
        self._settings = settings
        self._points = Points(folder / "live-simulated.jsonl")
        self._file = folder / "live.json"

    def measure(self, image_count: int, progress: Callable[[], None]) -> tuple[LivePoint, ...]:
        """At least about `image_count` answers for every point, but for those
        that are kept. Raises Failed if a worker does not come up or nobody answers."""
        kept = self._read(image_count)
        with tempfile.TemporaryDirectory(prefix="edgesdk-live-") as folder:
            with_policies = self._with_policies(folder)
            for topology in TOPOLOGIES:
                for threshold in THRESHOLDS:
                    name = f"{topology.name} {threshold}"
                    if name not in kept:
                        kept[name] = self._point(
                            folder, with_policies, topology, threshold, image_count
                        )
                        self._write(image_count, kept)
                    progress()
        return tuple(kept.values())

    def _with_policies(self, folder: str) -> str:
        """A copy of the bundle that knows every threshold as a policy; and the boards' pace."""
        path = os.path.join(folder, "bundle")
        shutil.copytree(self._bundle.path, path)
        policies = {
            _policy(threshold): {**MaxProbability(threshold).describe(), "plan": FULL_PLAN}
            for threshold in THRESHOLDS
            if threshold is not None
        }
        update_bundle(path, policies, {}, {})
        times = [
            StageTime(0, FULL_PLAN, index, 1, *[stage_us] * 2, *[max(head_us, 0.01)] * 2)
            for index, (stage_us, head_us) in enumerate(
                zip(self._board.stage_us, self._board.head_us)
            )
        ]
        device = f"a board of {self._board.whole_us / 1000:g} ms an image"
        profile = Profile(self._bundle.manifest.model_id, device, "declared", {}, times)
        write_profile(os.path.join(folder, PACE), profile)
        return path

    def _point(
        self,
        folder: str,
        bundle_path: str,
        topology: Topology,
        threshold: Optional[float],
        image_count: int,
    ) -> LivePoint:
        most = self._board.most_per_s(self._test, threshold, topology.boards)
        drive = at_threshold(threshold, BEGIN_SHARE * most)
        least = BOARD_TIMES_MIN * self._board.whole_us / 1e6
        seconds = max(least, image_count / (1 - WARMUP_SHARE) / most)
        scenario = scenario_of(
            topology, self._board, self._simulated_images, drive, seconds, None, 0, LINK_US
        )
        simulated = self._points.point(scenario, about(self._test), self._settings.seed)
        count = topology.node_count
        cluster = write_cluster(folder, bundle_path, count, _policy(threshold), scenario.admission)
        live = run(folder, cluster, count, self._images, seconds)
        rate, right, bound = self._after_warmup(live, scenario)
        paced_count = max(1, live.pace["paced_count"])
        return LivePoint(
            topology.name,
            threshold,
            rate,
            simulated.items_per_s,
            bound,
            float(np.mean(right)),
            simulated.accuracy,
            len(right),
            live.failed_count,
            live.pace["overrun_count"] / paced_count,
        )

    def _after_warmup(self, live: Live, scenario: Scenario) -> tuple[float, Sequence[bool], float]:
        """Answers per second, whether each was right, and the bound with their exits."""
        begin_s = live.seconds * WARMUP_SHARE
        counted = [
            result
            for at_s, result in zip(live.ended_s, live.results)
            if begin_s <= at_s <= live.seconds
        ]
        if not counted:
            raise Failed(
                f"{scenario.name}: found no answer of real processes within {live.seconds:.1f} s, "
                "expected some; this machine is too busy: try again, or a slower --live-board-ms"
            )
        exits = [result.exit_index for result in counted]
        shares = {index: exits.count(index) / len(exits) for index in sorted(set(exits))}
        right = [
            result.class_index == self._labels[result.tag % len(self._labels)] for result in counted
        ]
        bound = bound_per_s(scenario, [SOURCE], [shares]) or 0.0
        return len(counted) / (live.seconds - begin_s), right, bound

    # --- what is kept ---

    def _key(self, image_count: int) -> str:
        return repr((about(self._test), self._board, self._settings.seed, image_count))

    def _read(self, image_count: int) -> dict[str, LivePoint]:
        try:
            found = json.loads(self._file.read_text("utf-8"))
            if found["key"] == self._key(image_count):
                return {name: LivePoint(**each) for name, each in found["points"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return {}

    def _write(self, image_count: int, kept: dict[str, LivePoint]) -> None:
        points = {name: each._asdict() for name, each in kept.items()}
        text = json.dumps({"key": self._key(image_count), "points": points}, indent=1)
        write_atomically(self._file, text.encode())


def _policy(threshold: Optional[float]) -> str:
    return FinalExit.kind if threshold is None else f"threshold-{threshold:g}"
