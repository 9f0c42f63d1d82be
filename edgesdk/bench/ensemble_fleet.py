"""The fleets of `bench ensemble`: a worker process for each student, and a source without one here.

Workers take tasks of their own policy only, so every policy has a fleet of its own; those that
nobody asks for anything only greet each other. All workers are paced by one profile.
"""

import os
import signal
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..backends import Backend
from ..bundle import Bundle
from ..choices import choose_plan
from ..cluster import local_cluster_text, read_cluster
from ..errors import Failed
from ..pipeline import Pipeline
from ..profiles import Profile, StageTime, write_profile
from ..results import AnyOutcome
from ..runtime.zeromq_observer import Observer
from . import engine
from .link_process import Child
from .timing import conditions, device_name

SOURCE = "source"
PROFILE_S = 1.0  # for the times of all stages of a plan
JOIN_S = 60.0
LOOK_S = 0.5  # between two looks whether a worker has ended before it was up
ANSWER_S = 10.0


class Students(NamedTuple):
    """What the workers of a fleet have done so far: `exit_counts[student][exit]`, items that left
    there; stages that were paced, and those that took longer than they should."""

    exit_counts: Sequence[Sequence[int]]
    paced_count: int
    overrun_count: int


class Fleet:
    """Students of `bundle`, each in a process paced by the profile in file `pace`, and this one,
    which hands images in. `folder` is for its file. Close it, or use it in a `with` block."""

    def __init__(self, folder: str, bundle: Bundle, policy: str, pace: str) -> None:
        self.policy = policy
        plan = choose_plan(bundle, policy, None).name
        self._exits = [part.plans[plan].exit_indices for part in bundle.manifest.parts]
        self._exit_count = bundle.manifest.exit_count
        self._pace = pace
        self._path = os.path.join(folder, "cluster.toml")
        self._children: Dict[int, Child] = {}
        self._pipe: Optional[Pipeline] = None
        with open(self._path, "w", encoding="utf-8") as file:
            file.write(_cluster_text(bundle, policy))
        try:
            for student in range(len(self._exits)):
                self.start(student)
            self._pipe = Pipeline.open(cluster=self._path, name=SOURCE)
            self._wait_until_up(self._pipe)
        except BaseException:
            self.close()
            raise

    def _wait_until_up(self, pipe: Pipeline) -> None:
        until_s = time.monotonic() + JOIN_S
        children = self._children.values()
        while not pipe.wait_until_up(timeout=LOOK_S):
            if time.monotonic() > until_s or any(child.has_ended for child in children):
                raise Failed(
                    "not every student of {!r} has come up: {}".format(
                        self.policy, "; ".join(child.explain() for child in children)
                    )
                )

    def answer(self, image: Any, deadline_ms: Optional[float] = None) -> AnyOutcome:
        """The outcome of one image; at the deadline with those students that have answered."""
        (outcome,) = self._opened.map([image], deadline_ms, on_deadline="best", in_flight=1)
        return outcome

    def traffic(self) -> Tuple[int, int]:
        """Bytes sent to the students and received from them, headers of messages included."""
        neighbours = self._opened.stats()["neighbours"].values()
        return (
            sum(each["sent_bytes"] for each in neighbours),
            sum(each["received_bytes"] for each in neighbours),
        )

    def students(self) -> Students:
        """Ask the workers. Raises Failed for one that does not answer."""
        names = [_name(student) for student in range(len(self._exits))]
        with Observer(read_cluster(self._path), names) as observer:
            found = observer.ask(ANSWER_S)
        counts, paced, overrun = [], 0, 0
        for student, (name, exits) in enumerate(zip(names, self._exits)):
            stats = found[name]
            if not stats:
                raise Failed("{} of {!r} does not say how it is".format(name, self.policy))
            paced += stats["pace"]["paced_count"]
            overrun += stats["pace"]["overrun_count"]
            own = [each for each in stats["stages"] if each["part"] == student]
            items = [each["item_count"] for each in own] + [0]
            left = [0] * self._exit_count
            for exit_index, here, behind in zip(exits, items, items[1:]):
                left[exit_index] += here - behind
            counts.append(left)
        return Students(counts, paced, overrun)

    def kill(self, student: int) -> None:
        """End the worker of a student at once, as a loss of power does."""
        child = self._children.pop(student)
        os.kill(child.process_id, signal.SIGKILL)
        child.stop()

    def start(self, student: int) -> None:
        """Start the worker of a student that has none."""
        arguments = ["--pace", self._pace]
        options = {"cluster": self._path, "name": _name(student), "arguments": arguments}
        self._children[student] = Child("edgesdk.bench.link_ours:serve", options)

    def close(self) -> None:
        """End the workers and this one."""
        if self._pipe is not None:
            self._pipe.close(drain=False)
        for child in self._children.values():
            child.stop()

    @property
    def _opened(self) -> Pipeline:
        assert self._pipe is not None  # `__init__` has opened it, or raised
        return self._pipe

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def write_pace(
    path: str, bundle: Bundle, policies: Sequence[str], backend: Backend, slower: float
) -> None:
    """Measure every stage of the plans of `policies`, and write the profile of a device that needs
    `slower` times as long."""
    times: List[StageTime] = []
    for plan in sorted({choose_plan(bundle, policy, None).name for policy in policies}):
        times += engine.measure(bundle, plan, backend, PROFILE_S, batches=(1,))
    found = dict(conditions(1), slower=slower)
    device = "{}, made {:g} times slower".format(device_name(found), slower)
    slow = engine.slowed(times, slower)
    write_profile(path, Profile(bundle.manifest.model_id, device, backend.name, found, slow))


def _cluster_text(bundle: Bundle, policy: str) -> str:
    """Without encryption and codecs, for all of it is this machine."""
    workers: Dict[str, Sequence[str]] = {SOURCE: ["stages = []", "max_batch = 1"]}
    for student in range(len(bundle.manifest.parts)):
        about = ["parts = [{}]".format(student), 'neighbours = ["{}"]'.format(SOURCE)]
        workers[_name(student)] = about + ["max_batch = 1"]
    head = ['policy = "{}"'.format(policy), 'codec = "raw"', "[security]", "insecure = true"]
    return local_cluster_text(bundle.path, workers, head)


def _name(student: int) -> str:
    return "student-{}".format(student)
