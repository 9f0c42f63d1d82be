"""A scenario from its beginning to its end, as a report."""

from typing import Optional

from .recorder import Recorder
from .report import Report, Run, summarise
from .simulator import Simulator
from .spec import Scenario

SAMPLES = 500  # of the queues in one run


def run_scenario(scenario: Scenario, seed: int = 0, warmup_us: Optional[int] = None) -> Report:
    """Simulate `scenario`; `seed` is that of all chance.

    `warmup_us` of virtual time are left out of rates and latencies, by default a fifth of the
    duration.
    """
    recorder = Recorder(max(1, scenario.duration_us // SAMPLES))
    simulator = Simulator(scenario, seed, observer=recorder, trace=False)
    recorder.watch(simulator)
    totals = simulator.run()
    return summarise(Run(scenario, totals, recorder.ended, recorder.queue_samples), warmup_us)
