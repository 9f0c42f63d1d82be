"""One node: it owns a core worker, tells it what happens and carries out what it asks for.

Features are represented by tokens (item, stage): of which item, and as the input of which stage.
So it shows at once if the core asks to compute or send what is not there, or forgets to release.
"""

from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Type

from ..core.events import (
    Admit,
    CancelTimer,
    CloseLink,
    Deliver,
    Event,
    Keep,
    Leave,
    MessageReceived,
    OpenLink,
    Outcome,
    PeerFound,
    PeerLost,
    Release,
    RunStage,
    Send,
    SetTimer,
    StageDone,
    StageFailed,
    Submit,
    Timer,
)
from ..core.messages import ItemId, Task
from .clock import Clock
from .cores import new_metrics, stage_times
from .lanes import Lane, Parcel, Token
from .network import Direction, Network
from .spec import Node, Workload
from .world import World

HANGING_US = 600_000_000
Run = Tuple[int, RunStage, List[Token]]


class Body:
    """The interpreter of one node.

    `worker` is its core while it is up, None otherwise. `held` are the tokens by the name that the
    core gave them. What is counted here outlives the process: `metrics` as the core counts.
    """

    def __init__(self, world: World, network: Network, index: int) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._network = network
        self.node: Node = world.scenario.nodes[index]
        self.name = self.node.name
        self.index = index
        self.worker_id = index + 1
        self.worker: Any = None
        self.epoch = 0
        self.metrics = new_metrics(world.scenario.model)
        self.held: Dict[int, Token] = {}
        self.on_admit: List[Callable[[Admit], None]] = []  # workloads that the core paces
        self.clock = Clock(self.node.clock_offset_us, self.node.drift_ppm)
        self._drifts, self._offset_us = self.clock.drifts, self.clock.offset_us
        self._trace, self._observer = world.trace, world.observer
        self.next_item = 0
        self.open_count = 0  # items that the application has handed over and not got back
        self.event_count = self.stage_run_count = self.busy_us = self.queue_length_max = 0
        self.submitted_count = self.answered_count = self.correct_count = 0
        self.lost_count = self.missed_count = 0  # with the process; while there was none
        self.slow_factors: List[float] = []  # of the faults in effect
        self.failing_shares: List[float] = []
        self._failures = world.stream("fail:" + self.name)
        self._start_count = 0
        self._generation = 0  # what was begun in an earlier one is void
        self._is_paused, self._pause_count = False, 0
        self._inbox: Deque[Tuple[Callable[[Any], None], Any]] = deque()
        self._running: Optional[Run] = None
        self._ends_us = 0
        self._wanted: Dict[int, int] = {}  # timers: local time by id
        self._armed: Dict[int, int] = {}  # the first entry in the scheduler that counts, true time
        self._arrived: Optional[Token] = None  # features of the message that is told right now
        self._outlets: Dict[int, Direction] = network.outlets(self.name)
        self._opened: Dict[int, Direction] = {}
        self._stage_us = stage_times(world.scenario.model, self.node)
        self._perform = self._verbs()
        network.connect(self.name, self._receive, lambda peer: self._tell(PeerLost(peer)))
        network.take_down(self.name)

    # --- life ---------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self.worker is not None

    def start(self, _: None = None) -> None:
        """A process starts, unless there is one. It knows its neighbours at once."""
        if self.worker is not None:
            return
        self._start_count += 1
        self._generation += 1
        purpose = "{}:{}".format(self.name, self._start_count)
        world = self._world
        self.epoch = world.stream("epoch:" + purpose).randrange(1, 1 << 32)
        rng = world.stream("worker:" + purpose)
        self.worker = world.new_worker(world.scenario, self.node, self.epoch, rng, self.metrics)
        self._network.bring_up(self.name)
        if self._observer is not None:
            self._observer.on_start(self.name, self.epoch, self._scheduler.now_us)
        for link in world.scenario.links:
            if self.name in (link.first, link.second):
                other = link.second if link.first == self.name else link.first
                self._handle(PeerFound(self._network.worker_id(other), self.name in link.offload))

    def crash(self) -> bool:
        """The process dies: whatever it held, waited for or computed is lost. False if there was
        none."""
        if self.worker is None:
            return False
        self._generation += 1
        self.worker = None
        self.next_item = 0
        self._is_paused, self._pause_count = False, 0
        if self._running is not None:
            self.busy_us -= max(0, self._ends_us - self._scheduler.now_us)
            self._running = None
        for table in (self.held, self._wanted, self._armed, self._opened, self._inbox):
            table.clear()
        self._network.take_down(self.name)
        if self._observer is not None:
            self._observer.on_crash(self.name, self._scheduler.now_us)
        lost_count, self.open_count = self.open_count, 0
        self.lost_count += lost_count
        self._world.close_items(lost_count)
        return True

    def pause(self) -> int:
        """The process freezes. Gives what `resume` asks for."""
        if self.worker is not None:
            self._pause_count += 1
            self._is_paused = True
        return self._generation

    def resume(self, generation: int) -> None:
        """The process goes on, if it is still the one that was frozen, and sees what happened."""
        if generation != self._generation or not self._is_paused:
            return
        self._pause_count -= 1
        if self._pause_count:
            return
        self._is_paused = False
        while self._inbox:
            call, argument = self._inbox.popleft()
            call(argument)

    def image_index(self, item: Tuple[int, int, int]) -> int:
        """The recorded image that an item (source, epoch, number) stands for: one after the other,
        but not the same ones again after a restart."""
        return (item[1] + item[2]) % len(self._world.labels)

    def is_right(self, outcome: Outcome) -> bool:
        """Whether an item of this process was given its true class."""
        index = self.image_index((self.worker_id, self.epoch, outcome.item))
        answer = outcome.answer
        return answer is not None and answer.scores.class_index == self._world.labels[index]

    @property
    def hangs(self) -> bool:
        """Whether a stage runs that does not end in our time."""
        return self._ends_us - self._scheduler.now_us > HANGING_US

    @property
    def timers(self) -> List[int]:
        """The timers that the core waits for."""
        return list(self._wanted)

    # --- events -------------------------------------------------------------------------------

    def submit(self, workload: Workload) -> None:
        """The application hands over its next item; it is part of the process."""
        if self.worker is None:
            self.missed_count += 1
            return
        local_us = self.clock.local_us(self._scheduler.now_us)
        deadline_us = None if workload.deadline_us is None else local_us + workload.deadline_us
        item = self.next_item
        self.next_item += 1
        self.submitted_count += 1
        self.open_count += 1
        self._world.open_count += 1
        self._admit_item(
            Submit(
                (item,), (None,), local_us, deadline_us, workload.best_at_deadline, workload.latest
            )
        )

    def leave(self, _: None = None) -> None:
        """The process is asked to leave gracefully."""
        self._tell(Leave())

    def _admit_item(self, event: Submit) -> None:
        if self._is_paused:
            self._inbox.append((self._admit_item, event))
            return
        for item in event.items:
            self.held[item] = (ItemId(self.worker_id, self.epoch, item), 0)
        self._handle(event)
        self._note_queue()

    def _tell(self, event: Event) -> None:
        if self._is_paused:
            self._inbox.append((self._tell, event))
        elif self.worker is not None:
            self._handle(event)

    def _receive(self, lane: Lane, parcel: Parcel) -> None:
        if self._is_paused:
            self._inbox.append((self._read, (lane, parcel)))
        else:
            lane.unread_count -= 1
            self._arrived = parcel.token
            self._handle(MessageReceived(lane.sender, parcel.envelope))
            self._arrived = None
            self._note_queue()

    def _read(self, arrival: Tuple[Lane, Parcel]) -> None:
        self._receive(*arrival)

    def _note_queue(self) -> None:
        length: int = self.worker.queue_length
        if length > self.queue_length_max:
            self.queue_length_max = length

    def _handle(self, event: Event) -> None:
        """Tell the core, and do what it asks for."""
        now_us = self._scheduler.now_us
        self.event_count += 1
        if self._trace is not None:
            self._trace.add(now_us, self.index, event)
        local_us = self.clock.local_us(now_us) if self._drifts else now_us + self._offset_us
        actions = self.worker.handle(event, local_us)
        perform = self._perform
        for action in actions:
            perform[action.__class__](action)
        if self._observer is not None:
            self._observer.on_event(self.name, event, actions, now_us)

    # --- actions ------------------------------------------------------------------------------

    def _verbs(self) -> Dict[Type[Any], Callable[[Any], None]]:
        """What to do for each action; there are no others."""
        return {
            RunStage: self._run_stage,
            Deliver: self._deliver,
            Release: self._release,
            Send: self._send,
            Keep: self._keep,
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
            OpenLink: self._open_link,
            CloseLink: self._close_link,
            Admit: self._admit,
        }

    def _run_stage(self, action: RunStage) -> None:
        part, stage, items, _ = action
        if self._running is not None or part:
            raise AssertionError("{}: {} during {}".format(self.name, action, self._running))
        tokens = [self._token(item, stage, action) for item in items]
        stage_us = self._stage_us[stage]
        if stage_us is None:
            raise AssertionError("{} does not hold the stage of {}".format(self.name, action))
        if len(items) > 1:
            stage_us *= 1.0 + self._world.scenario.model.batch_share * (len(items) - 1)
        for factor in self.slow_factors:
            stage_us *= factor
        took_us = int(stage_us + 0.5)
        self.stage_run_count += 1
        self.busy_us += took_us
        self._running = run = (self._generation, action, tokens)
        self._ends_us = ends_us = self._scheduler.now_us + took_us
        self._scheduler.at(ends_us, self._end_stage, run)

    def _end_stage(self, run: Run) -> None:
        generation, action, tokens = run
        if generation != self._generation:
            return
        if self._is_paused:
            self._inbox.append((self._end_stage, run))
            return
        self._running = None
        part, stage, items, evaluate = action
        if self.failing_shares and self._fails():
            self._handle(StageFailed(part, stage, items, "the simulated stage was made to fail"))
            return
        scores = None
        if evaluate:
            of_stage = self._world.scores[stage]
            scores = [of_stage[self.image_index(token[0])] for token in tokens]
        held = self.held
        for item, token in zip(items, tokens):
            if held.get(item) is token:  # not released meanwhile
                held[item] = (token[0], stage + 1)
        self._handle(StageDone(part, stage, items, scores))

    def _fails(self) -> bool:
        draws = [self._failures.random() < share for share in self.failing_shares]
        return any(draws)

    def _token(self, item: int, stage: int, action: Any) -> Token:
        """The features named `item`, which must be the input of `stage`."""
        token = self.held.get(item)
        if token is None or token[1] != stage:
            raise AssertionError("{}: {} with features {}".format(self.name, action, token))
        return token

    def _deliver(self, action: Deliver) -> None:
        outcome = action.outcome
        if outcome.answer is not None:
            self.answered_count += 1
            self.correct_count += self.is_right(outcome)
        self.open_count -= 1
        self._world.close_items(1)

    def _release(self, action: Release) -> None:
        self.held.pop(action.item, None)

    def _keep(self, action: Keep) -> None:
        if self._arrived is None:
            raise AssertionError("{}: {}, but no features have come".format(self.name, action))
        self.held[action.item] = self._arrived

    def _send(self, action: Send) -> None:
        peer, lane, envelope, item = action
        message = envelope.message
        token = None
        if item is not None:
            token = self._token(item, message.stage, action)
            if token[0] != message.item:
                raise AssertionError("{}: {} with features {}".format(self.name, action, token))
        elif message.__class__ is Task:
            raise AssertionError("{}: {} without features".format(self.name, action))
        outlet = self._opened.get(peer)
        if outlet is None:
            raise AssertionError("{}: {} without a link".format(self.name, action))
        outlet.lanes[lane].send(envelope, token)

    def _open_link(self, action: OpenLink) -> None:
        outlet = self._outlets.get(action.peer)
        if outlet is None:
            raise AssertionError("{}: {}, which is no neighbour".format(self.name, action))
        self._opened[action.peer] = outlet

    def _close_link(self, action: CloseLink) -> None:
        outlet = self._opened.pop(action.peer, None)
        if outlet is not None:
            outlet.close()

    def _admit(self, action: Admit) -> None:
        for listener in self.on_admit:
            listener(action)

    # --- timers -------------------------------------------------------------------------------

    def _set_timer(self, action: SetTimer) -> None:
        """One live timer per id: the latest wish counts. An entry in the scheduler that comes too
        early is entered again when it is due, so that wishes that move on cost nothing."""
        item, local_us = action
        self._wanted[item] = local_us
        self._arm(item, local_us)

    def _cancel_timer(self, action: CancelTimer) -> None:
        self._wanted.pop(action.item, None)

    def _arm(self, item: int, local_us: int) -> None:
        at_us = max(self.clock.true_us(local_us), self._scheduler.now_us)
        armed_us = self._armed.get(item)
        if armed_us is None or at_us < armed_us:
            self._armed[item] = at_us
            self._scheduler.at(at_us, self._ring, (self._generation, item, at_us))

    def _ring(self, entry: Tuple[int, int, int]) -> None:
        generation, item, at_us = entry
        if generation != self._generation or self._armed.get(item) != at_us:
            return
        if self._is_paused:
            self._inbox.append((self._ring, entry))
            return
        del self._armed[item]
        wanted_us = self._wanted.get(item)
        if wanted_us is None:
            return
        if wanted_us > self.clock.local_us(self._scheduler.now_us):
            self._arm(item, wanted_us)
        else:
            del self._wanted[item]
            self._handle(Timer(item))
