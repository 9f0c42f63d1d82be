"""When stages should move to other workers: the best placement for what is seen now, against the
best one that the stages allow where they are.

The decision is made from what a worker hears of its neighbours anyway: how long a task takes there
(Gamma) and on the way (D), which stages it holds, whether it is there at all. How fast a worker
would be at other stages follows from their multiply-adds.

Hysteresis: a move must promise a gain for several looks in a row; after it nothing moves for a
while; and no stage goes back to a worker that it left for longer still. Only a stage that nobody
holds any more does not wait for that.
"""

from typing import Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import ConfigError
from .placement import OBJECTIVES, THROUGHPUT, Link, Pair, Problem, Site, Stage, stages_of
from .placement_search import Found, search
from .spec import Plan

REST_ROUNDS = 6  # looks from the start, and from a move, to the next one
RETURN_ROUNDS = 60  # and before a stage goes back
ANSWERS_MIN = 20  # before it is known who goes on to the next stage
STEPS_MAX = 500  # of a search: it runs where heartbeats do
CELLS_MAX = 512  # stages times workers squared, for the same reason: milliseconds
RESULT_BYTES = 101.0  # of a result without a feature


class Work(NamedTuple):
    """What a stage takes: the bytes that travel to it, and its multiply-adds with its exit."""

    input_bytes: float
    multiply_adds: float


class Seat(NamedTuple):
    """A worker of the fleet: its id and name, the stages that it may hold at all, and the ids of
    those that it may send tasks to."""

    worker: int
    name: str
    may_hold: Tuple[int, ...]
    targets: Tuple[int, ...]


class Replanning(NamedTuple):
    """`coordinator`: the id of the worker that decides, which is the one that images come to. It
    looks every `period_us`; a placement must be better by the share `gain`, in `rounds` looks in a
    row. `work` and `seats`, by stage and by worker, only the coordinator has."""

    coordinator: int
    period_us: int = 5_000_000
    gain: float = 0.15
    rounds: int = 3
    objective: str = THROUGHPUT
    work: Tuple[Work, ...] = ()
    seats: Tuple[Seat, ...] = ()


def check_replanning(options: Replanning) -> Replanning:
    """`options` itself. Raises ConfigError for constants that mean nothing, and for a fleet too
    large to be looked at beside the work."""
    energy_free = [each for each in OBJECTIVES if each != "energy"]
    for name, is_right, expected in (
        ("period_us", options.period_us > 0, "above 0"),
        ("gain", 0 < options.gain < 1, "a share between 0 and 1"),
        ("rounds", options.rounds >= 1, "at least 1"),
        ("objective", options.objective in energy_free, " or ".join(energy_free)),
    ):
        if not is_right:
            raise ConfigError(
                "replanning.{}: found {}, expected {}".format(
                    name, getattr(options, name), expected
                )
            )
    cell_count = len(options.work) * len(options.seats) ** 2
    if cell_count > CELLS_MAX:
        raise ConfigError(
            "replanning: found {} stages and {} workers, expected at most {} of stages times "
            "workers squared; choose a plan of fewer stages".format(
                len(options.work), len(options.seats), CELLS_MAX
            )
        )
    return options


class Seen(NamedTuple):
    """A live worker, as the coordinator sees it. `stages`: those it holds. `delay_us`: Gamma, of a
    task, 0 while it has computed none. `small_us`: how long a small message takes there, `task_us`
    a task, None while none went."""

    worker: int
    stages: FrozenSet[int]
    delay_us: float = 0.0
    small_us: float = 0.0
    task_us: Optional[float] = None


class Move(NamedTuple):
    """Another placement: the stages of each live worker, by id, as they are `before` and shall be
    `after`. `gain`: the share that it saves, None where no image could be answered before."""

    before: Dict[int, Tuple[int, ...]]
    after: Dict[int, Tuple[int, ...]]
    gain: Optional[float]


class _Known(NamedTuple):
    """What was learnt of a worker, and from what: it is learnt anew when that changes."""

    seen: Seen  # at the last look
    speed: Optional[float] = None  # multiply-adds per us
    delay_us: float = 0.0  # from which that is known
    bytes_per_s: Optional[float] = None
    task_us: Optional[float] = None  # from which that is known


def reach_of(plan: Plan, exit_counts: Sequence[int]) -> Tuple[float, ...]:
    """The share of images that come to each stage of `plan`, from how many left at each trained
    exit; all of them to every stage, while nothing is known."""
    total = sum(exit_counts[index] for index in plan.exit_indices)
    going, found = total, []
    for stage in plan.stages:
        found.append(going / total if total else 1.0)
        if stage.exit_index is not None:
            going -= exit_counts[stage.exit_index]
    return tuple(found)


class Replanner:
    """Looks at the fleet, and says when stages should move, and where to."""

    def __init__(self, options: Replanning) -> None:
        self.options = check_replanning(options)
        self._known: Dict[int, _Known] = {}
        self._better_count = 0  # looks in a row
        self._rest_us: Optional[int] = None  # until when nothing moves; as of the first look
        self._party: FrozenSet[int] = frozenset()  # the workers that the last move gave stages
        self._left: Dict[Tuple[int, int], int] = {}  # (worker, stage); until when not again
        self._excluded: Dict[int, FrozenSet[int]] = {}  # stages that a worker could not take

    def exclude(self, worker: int, stages: FrozenSet[int]) -> None:
        """`worker` was asked to hold `stages`, and does not: do not ask again while it is there."""
        self._excluded[worker] = self._excluded.get(worker, frozenset()) | stages

    def look(
        self, seen: Sequence[Seen], reach: Sequence[float], answer_count: int, now_us: int
    ) -> Optional[Move]:
        """What should move now, if anything. `seen`: the live workers, the coordinator first.
        `reach`: the share of images that come to each stage, known from `answer_count`."""
        self._learn(seen, reach)
        if self._rest_us is None:  # the others may still be starting
            self._rest_us = now_us + REST_ROUNDS * self.options.period_us
        problem = self._problem(seen, reach, ())
        current = _best(_as_held(problem, seen), self.options.objective)
        if current is None:
            may_move = not self.is_resting(now_us) or not self._party <= set(self._known)
        else:
            may_move = self._may_gain(seen, current, answer_count, now_us)
            left = [place for place, until_us in self._left.items() if now_us < until_us]
            problem = self._problem(seen, reach, left)
        best = _best(problem, self.options.objective) if may_move else None
        gain = None if current is None or best is None else self._gain(current, best)
        if best is None or (gain is not None and gain < self.options.gain):
            self._better_count = 0
            return None
        self._better_count += 1
        if self._better_count < self.options.rounds:
            return None
        return self._move(seen, best, gain, now_us)

    def is_resting(self, now_us: int) -> bool:
        """Whether it is too early for another move."""
        return self._rest_us is not None and now_us < self._rest_us

    def _move(self, seen: Sequence[Seen], best: Found, gain: Optional[float], now_us: int) -> Move:
        self._better_count = 0
        self._rest_us = now_us + REST_ROUNDS * self.options.period_us
        self._party = frozenset(seen[site].worker for site in best.placement)
        before = {each.worker: tuple(sorted(each.stages)) for each in seen}
        to = stages_of(best.placement, len(seen))
        after = {each.worker: stages for each, stages in zip(seen, to)}
        for worker, stages in before.items():
            for stage in set(stages) - set(after[worker]):
                until_us = now_us + RETURN_ROUNDS * self.options.period_us
                self._left[worker, stage] = until_us
        return Move(before, after, gain)

    def _gain(self, current: Found, best: Found) -> float:
        before = current.expected.cost(self.options.objective)
        return 1.0 - best.expected.cost(self.options.objective) / before if before else 0.0

    def _may_gain(
        self,
        seen: Sequence[Seen],
        current: Found,
        answer_count: int,
        now_us: int,
    ) -> bool:
        """Whether enough is known to move where everything works, and it is time."""
        used = {seen[site].worker for site in current.placement}
        return (
            answer_count >= ANSWERS_MIN
            and not self.is_resting(now_us)
            and all(self._known[worker].speed is not None for worker in used)
        )

    # --- what is known ------------------------------------------------------------------------

    def _learn(self, seen: Sequence[Seen], reach: Sequence[float]) -> None:
        """What a worker says of itself is of the stages that it has held since the look before."""
        known, self._known = self._known, {}
        here = {each.worker for each in seen}
        self._excluded = {who: what for who, what in self._excluded.items() if who in here}
        for each in seen:
            before = known.get(each.worker)
            if before is None or not each.delay_us:
                before = _Known(each)
            elif before.seen.stages == each.stages:
                before = self._learnt(before, each, reach)
            self._known[each.worker] = before._replace(seen=each)

    def _learnt(self, before: _Known, now: Seen, reach: Sequence[float]) -> _Known:
        shares = {stage: reach[stage] for stage in now.stages if reach[stage] > 0}
        total = sum(shares.values())
        if total and now.delay_us != before.delay_us:
            work = sum(share * self.options.work[s].multiply_adds for s, share in shares.items())
            before = before._replace(speed=work / total / now.delay_us, delay_us=now.delay_us)
        task_us = now.task_us
        if task_us is not None and task_us != before.task_us and task_us > now.small_us:
            size = self._mean_bytes(now.stages, reach)
            rate = size * 1e6 / (task_us - now.small_us)
            before = before._replace(bytes_per_s=rate, task_us=task_us)
        return before

    def _mean_bytes(self, stages: FrozenSet[int], reach: Sequence[float]) -> float:
        """Of the tasks that are sent to who holds `stages`: those that it does not come to by
        itself."""
        entered = [stage for stage in stages if stage - 1 not in stages and reach[stage] > 0]
        shares = [(reach[stage], self.options.work[stage].input_bytes) for stage in entered]
        shares = shares or [(1.0, work.input_bytes) for work in self.options.work]
        return sum(share * size for share, size in shares) / sum(share for share, _ in shares)

    # --- what is to be placed -----------------------------------------------------------------

    def _problem(
        self, seen: Sequence[Seen], reach: Sequence[float], left: Sequence[Tuple[int, int]]
    ) -> Problem:
        """Of all placements but those that have a stage on a worker that it has `left`."""
        options = self.options
        speeds = [each.speed for each in self._known.values() if each.speed is not None]
        mean = sum(speeds) / len(speeds) if speeds else 1.0
        seats = {seat.worker: seat for seat in options.seats}
        sites = []
        for each in seen:
            speed = self._known[each.worker].speed or mean
            may_hold = set(seats[each.worker].may_hold)
            may_hold -= self._excluded.get(each.worker, frozenset())
            may_hold -= {stage for worker, stage in left if worker == each.worker}
            may_hold |= each.stages
            times = tuple(
                work.multiply_adds / speed if stage in may_hold else None
                for stage, work in enumerate(options.work)
            )
            sites.append(Site(seats[each.worker].name, times))
        stages = tuple(Stage(share, work.input_bytes) for share, work in zip(reach, options.work))
        return Problem(stages, tuple(sites), self._links(seen, seats), 0, RESULT_BYTES)

    def _links(self, seen: Sequence[Seen], seats: Dict[int, Seat]) -> Dict[Pair, Link]:
        """The ways of tasks, and of results against them. Between two others they are as slow as
        the slower one of ours to them."""
        rates = [each.bytes_per_s for each in self._known.values() if each.bytes_per_s]
        slowest = min(rates) if rates else None
        links: Dict[Pair, Link] = {}
        for here, one in enumerate(seen):
            for there, other in enumerate(seen):
                takes_tasks = other.worker in seats[one.worker].targets
                if here == there or not (takes_tasks or one.worker in seats[other.worker].targets):
                    continue
                ends = [each for each in (one, other) if each is not seen[0]]
                known = [self._known[each.worker].bytes_per_s or slowest for each in ends]
                links[here, there] = Link(
                    max(each.small_us for each in ends),
                    min((rate for rate in known if rate), default=None),
                    takes_tasks=takes_tasks,
                )
        return links


def _as_held(problem: Problem, seen: Sequence[Seen]) -> Problem:
    """The same where every stage stays with those that hold it."""
    sites: List[Site] = []
    for site, each in zip(problem.sites, seen):
        times = [us if stage in each.stages else None for stage, us in enumerate(site.stage_us)]
        sites.append(site._replace(stage_us=tuple(times)))
    return problem._replace(sites=tuple(sites))


def _best(problem: Problem, objective: str) -> Optional[Found]:
    """The best placement, or None if a stage has no place."""
    try:
        return search(problem, objective, STEPS_MAX)
    except ConfigError:
        return None
