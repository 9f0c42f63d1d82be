"""A scenario from its beginning to its end, as a report."""

from typing import Callable, Optional

from .recorder import Recorder
from .report import Report, Run, summarise
from .simulator import Simulator
from .spec import Scenario

SAMPLES = 500  # of the queues, and calls of `on_sample`, in one run


def run_scenario(
    scenario: Scenario,
    seed: int = 0,
    warmup_us: Optional[int] = None,
    on_sample: Callable[[int], None] = lambda now_us: None,
    trace: bool = False,
) -> Report:
    """Simulate `scenario`; `seed` is that of all chance.

    `warmup_us` is left out of rates and latencies, by default a fifth of the duration.
    `on_sample(now_us)` is told of virtual time now and then. With `trace` the totals have the hash
    of every event.
    """
    recorder = Recorder(max(1, scenario.duration_us // SAMPLES), on_sample)
    simulator = Simulator(scenario, seed, observer=recorder, trace=trace)
    recorder.watch(simulator)
    totals = simulator.run()
    return summarise(Run(scenario, totals, recorder.ended, recorder.queue_samples), warmup_us)
