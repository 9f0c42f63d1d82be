"""The latency of an ensemble on devices that are not there: simulated, with the workers' own code.

A source without a student, one worker per student, all on one Wi-Fi channel. Images come one at a
time, each when the one before has long been answered.
"""

from collections.abc import Sequence
from statistics import mean

from ...core.exits import ExitPolicy
from ...features import Features, outcomes_alone
from ...sim.runs import run_scenario
from ...sim.scenario_files import images_of
from ...sim.spec import Link, Medium, Model, Node, Part, Scenario, Workload
from ..calibration.costs import Costs

MULTIPLY_ADDS_PER_US = 5_000.0  # of a small board: 6.9 ms for WideResNet-16-1
WIFI = Medium("wifi", 20e6 / 8)  # bytes a second
LINK_DELAY_US = 2_000
IMAGES = 500
RATE_HZ = 2.0
SOURCE = "camera"


def simulated_ms(
    test: Features, policy: ExitPolicy, costs: Sequence[Costs], image_bytes: int
) -> float:
    """Mean latency of the first `IMAGES` images of `test`; `costs` in multiply-adds, one per
    student, `image_bytes` go to each of them."""
    test = test.take(slice(IMAGES))
    parts = tuple(_part(own, image_bytes) for own in costs)
    model = Model(parts, images_of(outcomes_alone(test)), policy, features=test)
    students = [Node(f"student-{index}", parts=(index,)) for index in range(len(costs))]
    links = [
        Link(SOURCE, student.name, (SOURCE,), LINK_DELAY_US, medium=WIFI.name)
        for student in students
    ]
    count = len(test.label)
    scenario = Scenario(
        "distree",
        model,
        (Node(SOURCE, parts=()), *students),
        tuple(links),
        (Workload(SOURCE, "periodic", RATE_HZ, count),),
        (WIFI,),
        duration_us=int((count + 1) / RATE_HZ * 1e6),
    )
    return mean(run_scenario(scenario, warmup_us=0).total.latencies_us) / 1000


def _part(costs: Costs, image_bytes: int) -> Part:
    """A student whose stages each end with an exit."""
    every = range(len(costs.heads))
    stage_us = [
        max(1, round((costs.spans[j, j] + costs.heads[j]) / MULTIPLY_ADDS_PER_US)) for j in every
    ]
    return Part(tuple(every), tuple(stage_us), (image_bytes,) * len(every))
