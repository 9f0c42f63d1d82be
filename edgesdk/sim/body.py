"""One node: it owns a core worker, tells it what happens and carries out what it asks for.

Features are represented by tokens (item, part, stage): of which item and part, and as the input of
which stage. So it shows at once if the core asks to compute or send what is not there, or forgets
to release. What the exits of an ensemble give is in `sim/gathering.py`.
"""

from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Type

from ..core.events import (
    Admit,
    CancelTimer,
    Classified,
    Classify,
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
from .cores import Coding, new_metrics
from .gathering import classify, features_at
from .lanes import Lane, Parcel, Token
from .loading import Loading
from .network import Direction, Network
from .spec import Node, Workload
from .timers import Timers
from .world import World

HANGING_US = 600_000_000
Run = Tuple[int, RunStage, List[Token]]


class Body:
    """The interpreter of one node.

    `worker` is its core while it is up, None otherwise. `held` are the tokens by the name that the
    core gave them, and part. What is counted here outlives the process: `metrics` as the core
    counts.
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
        self.held: Dict[Tuple[int, int], Token] = {}
        self.on_admit: List[Callable[[Admit], None]] = []  # workloads that the core paces
        self.clock = Clock(self.node.clock_offset_us, self.node.drift_ppm)
        self._timers = Timers(
            world.scheduler, self.clock, self._put_off, lambda item: self._handle(Timer(item))
        )
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
        self._classified: Deque[Classified] = deque()  # to be told next
        self._ends_us = 0
        self._arrived: Optional[Token] = None  # features of the message that is told right now
        self._outlets: Dict[int, Direction] = network.outlets(self.name)
        self._opened: Dict[int, Direction] = {}
        self._model = world.scenario.model
        self._parts, self._features = range(len(self._model.parts)), self._model.features
        self._loading = Loading(self._model, self.node, world.scheduler, self._tell)
        self._coding = Coding(self._model, self.node)
        self._perform = {**self._verbs(), **self._loading.verbs()}
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
        self._loading.begin()
        self._network.bring_up(self.name)
        if self._observer is not None:
            self._observer.on_start(self.name, self.epoch, self._scheduler.now_us)
        for other, may_offload in world.neighbours[self.name]:
            self._handle(PeerFound(self._network.worker_id(other), may_offload))

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
        for table in (self.held, self._timers, self._opened, self._inbox):
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

    def image_of(self, item: int) -> int:
        """`image_index` of an item of this process."""
        return self.image_index((self.worker_id, self.epoch, item))

    def is_right(self, outcome: Outcome) -> bool:
        """Whether an item of this process was given its true class."""
        label, answer = self._world.labels[self.image_of(outcome.item)], outcome.answer
        return answer is not None and answer.scores.class_index == label

    @property
    def hangs(self) -> bool:
        """Whether a stage runs that does not end in our time."""
        return self._ends_us - self._scheduler.now_us > HANGING_US

    @property
    def timers(self) -> List[int]:
        """The timers that the core waits for."""
        return list(self._timers)

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
        if self._put_off(self._admit_item, event):
            return
        for item in event.items:
            item_id = ItemId(self.worker_id, self.epoch, item)
            for part in self._parts:
                self.held[(item, part)] = (item_id, part, 0)
        self._handle(event)
        self._note_queue()

    def _tell(self, event: Event) -> None:
        if self.worker is not None and not self._put_off(self._tell, event):
            self._handle(event)

    def _put_off(self, call: Callable[[Any], None], argument: Any) -> bool:
        """Whether the process is frozen: it sees this when it goes on."""
        if self._is_paused:
            self._inbox.append((call, argument))
        return self._is_paused

    def _receive(self, lane: Lane, parcel: Parcel) -> None:
        if self._is_paused:
            self._inbox.append((self._read, (lane, parcel)))
        else:
            lane.unread_count -= 1
            self._arrived = token = parcel.token
            if token is not None:
                self._coding.decode(*token[1:])
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
        while self._classified:  # before anything else that waits
            self._handle(self._classified.popleft())

    # --- actions ------------------------------------------------------------------------------

    def _verbs(self) -> Dict[Type[Any], Callable[[Any], None]]:
        """What to do for each action; there are no others."""
        timers = self._timers
        return {
            RunStage: self._run_stage,
            Classify: self._classify,
            Deliver: self._deliver,
            Release: self._release,
            Send: self._send,
            Keep: self._keep,
            SetTimer: lambda action: timers.set(*action),
            CancelTimer: lambda action: timers.cancel(action.item),
            OpenLink: self._open_link,
            CloseLink: self._close_link,
            Admit: self._admit,
        }

    def _run_stage(self, action: RunStage) -> None:
        part, stage, items, _ = action
        if self._running is not None:
            raise AssertionError("{}: {} during {}".format(self.name, action, self._running))
        tokens = [self._token(item, part, stage, action) for item in items]
        stage_us = self._loading.stage_us.get((part, stage))
        if stage_us is None:
            raise AssertionError("{} does not hold the stage of {}".format(self.name, action))
        if len(items) > 1:
            stage_us *= 1.0 + self._model.batch_share * (len(items) - 1)
        stage_us += self._coding.settle()
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
        if self._put_off(self._end_stage, run):
            return
        self._running = None
        part, stage, items, evaluate = action
        if self.failing_shares and self._fails():
            self._handle(StageFailed(part, stage, items, "the simulated stage was made to fail"))
            return
        scores = features = None
        if evaluate:
            of_stage = self._world.scores[(part, stage)]
            images = [self.image_index(token[0]) for token in tokens]
            scores = [of_stage[image] for image in images]
            if self._features is not None:
                exit_index = self._model.parts[part].exit_indices[stage]
                features = features_at(self._features, images, part, exit_index)
        held = self.held
        for item, token in zip(items, tokens):
            if held.get((item, part)) is token:  # not released meanwhile
                held[(item, part)] = (token[0], part, stage + 1)
        self._handle(StageDone(part, stage, items, scores, features))

    def _fails(self) -> bool:
        draws = [self._failures.random() < share for share in self.failing_shares]
        return any(draws)

    def _token(self, item: int, part: int, stage: int, action: Any) -> Token:
        """The features named `item`, which must be the input of `stage` of `part`."""
        token = self.held.get((item, part))
        if token is None or token[2] != stage:
            raise AssertionError("{}: {} with features {}".format(self.name, action, token))
        return token

    def _classify(self, action: Classify) -> None:
        assert self._features is not None  # the core asks for it only then
        self._classified.append(classify(self._features, self.image_of(action.item), action))

    def _deliver(self, action: Deliver) -> None:
        outcome = action.outcome
        if outcome.answer is not None:
            self.answered_count += 1
            self.correct_count += self.is_right(outcome)
        self.open_count -= 1
        self._world.close_items(1)

    def _release(self, action: Release) -> None:
        for part in self._parts:
            self.held.pop((action.item, part), None)

    def _keep(self, action: Keep) -> None:
        if self._arrived is None:
            raise AssertionError("{}: {}, but no features have come".format(self.name, action))
        self.held[(action.item, self._arrived[1])] = self._arrived

    def _send(self, action: Send) -> None:
        peer, lane, envelope, item = action
        message = envelope.message
        token, encode_us = None, 0
        if item is not None:
            token = self._token(item, message.part, message.stage, action)
            encode_us = self._coding.encode(*token[1:])
            if token[0] != message.item:
                raise AssertionError("{}: {} with features {}".format(self.name, action, token))
        elif message.__class__ is Task:
            raise AssertionError("{}: {} without features".format(self.name, action))
        outlet = self._opened.get(peer)
        if outlet is None:
            raise AssertionError("{}: {} without a link".format(self.name, action))
        outlet.lanes[lane].send(envelope, token, encode_us)

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
