"""Runs a scenario: builds its world, lets it go, adds it up."""

from typing import Any, Callable, List, Optional

from .body import Body
from .cores import new_worker as new_core
from .faults import Faults, end_us
from .lanes import HIGH_WATER_MARK
from .network import Direction, Network
from .spec import Scenario
from .totals import DirectionTotals, NodeTotals, SourceTotals, Totals
from .trace import Trace
from .workload import new_arrivals
from .world import Observer, World


class Simulator:
    """One run of `scenario` with `seed`; equal arguments give equal runs.

    `observer` is told of every event. Without `trace` it is faster and has no hash. `new_worker`
    makes the cores (`cores.new_worker`).
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        observer: Optional[Observer] = None,
        trace: bool = True,
        new_worker: Callable[..., Any] = new_core,
        high_water_mark: int = HIGH_WATER_MARK,
    ) -> None:
        self._trace = Trace() if trace else None
        self._world = world = World(scenario, seed, new_worker, self._trace, observer)
        self.scenario = scenario
        self.scheduler = world.scheduler
        self.network = Network(world.scheduler, scenario, world.stream, high_water_mark)
        self.bodies = [Body(world, self.network, index) for index in range(len(scenario.nodes))]
        by_name = {body.name: body for body in self.bodies}
        self._arrivals = [
            new_arrivals(world, workload, by_name[workload.source], index)
            for index, workload in enumerate(scenario.workloads)
        ]
        self._settled_us = self._schedule_life()
        Faults(world, self.network, self.bodies)
        for arrivals in self._arrivals:
            arrivals.start()
        self._linger_us = 0

    def run(self, linger_us: int = 0) -> Totals:
        """Simulate until everything that was planned has happened and every item has ended, and
        `linger_us` longer; at most until the grace of the scenario is over."""
        world, scenario = self._world, self._world.scenario
        self._linger_us = linger_us
        world.on_idle = self._on_idle
        self.scheduler.at(self._settled_us, self._check_idle)
        end = max(scenario.duration_us, self._settled_us) + scenario.grace_us
        self.scheduler.stop_at(end + linger_us)
        self.scheduler.run()
        return self.totals()

    def totals(self) -> Totals:
        """What has happened so far."""
        scenario = self._world.scenario
        sources = {workload.source for workload in scenario.workloads}
        return Totals(
            scenario=scenario.name,
            seed=self._world.seed,
            end_us=self.scheduler.now_us,
            event_count=sum(body.event_count for body in self.bodies),
            sources=tuple(_of_source(body) for body in self.bodies if body.name in sources),
            nodes=tuple(_of_node(body) for body in self.bodies),
            directions=tuple(map(_of_direction, self.network.directions.values())),
            trace_hash=self._trace.hexdigest() if self._trace is not None else "",
        )

    def recent_events(self) -> List[str]:
        """The last events, one a line, for whoever must understand a failure."""
        if self._trace is None:
            return []
        return self._trace.recent([body.name for body in self.bodies])

    def _schedule_life(self) -> int:
        """Enter who comes and leaves when; gives the time when nothing more is planned."""
        scenario = self._world.scenario
        planned = [end_us(fault) for fault in scenario.faults] + [scenario.heal_us or 0]
        for body in self.bodies:
            self.scheduler.at(body.node.join_us, body.start)
            planned.append(body.node.join_us)
            if body.node.leave_us is not None:
                self.scheduler.at(body.node.leave_us, body.leave)
                planned.append(body.node.leave_us)
        return max(planned)

    def _check_idle(self, _: None) -> None:
        if not self._world.open_count:
            self._on_idle()

    def _on_idle(self) -> None:
        """No item is open: the end, unless there is more to come."""
        now_us = self.scheduler.now_us
        if now_us >= self._settled_us and all(arrivals.is_over for arrivals in self._arrivals):
            self._world.on_idle = _nothing
            self.scheduler.stop_at(now_us + self._linger_us)


def _nothing() -> None:
    pass


def _of_source(body: Body) -> SourceTotals:
    return SourceTotals(
        name=body.name,
        submitted_count=body.submitted_count,
        missed_count=body.missed_count,
        open_count=body.open_count,
        lost_count=body.lost_count,
        ended=dict(body.metrics.ended),
        exit_counts=tuple(body.metrics.exit_counts),
        latency=body.metrics.latency,
        answered_count=body.answered_count,
        correct_count=body.correct_count,
    )


def _of_node(body: Body) -> NodeTotals:
    return NodeTotals(
        name=body.name,
        event_count=body.event_count,
        stage_run_count=body.stage_run_count,
        busy_us=body.busy_us,
        queue_length_max=body.queue_length_max,
        held_count=len(body.held),
        counters=dict(getattr(body.metrics, "counters", {})),
    )


def _of_direction(direction: Direction) -> DirectionTotals:
    way = direction.way
    return DirectionTotals(
        name=way.name,
        messages={kind.__name__: entry[0] for kind, entry in way.sent.items()},
        bytes={kind.__name__: entry[1] for kind, entry in way.sent.items()},
        lost=dict(way.lost),
    )
