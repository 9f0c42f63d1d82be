"""All neighbours of a worker: greeting, heartbeats, acknowledgements, repetition, credit.

What a Task or a Result means is decided in `core/fleet.py`; here they are payloads that must not be
lost. Every duty that has its time is in the worker's agenda.
"""

from random import Random
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from .agenda import Agenda
from .disturbance import ACKNOWLEDGE_LATE, Disturb, undisturbed
from .events import Action, CloseLink, MessageReceived, OpenLink, Send
from .link import ACK_EVERY_COUNT, ACK_WITHIN_US, Settled
from .messages import (
    CONTROL,
    DATA,
    PROTOCOL_VERSION,
    Ack,
    Bye,
    Envelope,
    Greeting,
    Hello,
    Load,
    Reject,
    Task,
    Welcome,
    clipped,
)
from .metrics import Metrics
from .peer import (
    AGREED,
    BYE,
    FINAL,
    FOUND,
    GONE,
    GREETING,
    GREETING_US_MAX,
    HEARTBEAT_US,
    HELLO,
    SILENT,
    SILENT_US,
    UP,
    Peer,
)
from .reports import Reported, Reporter

LEFT = "left"
GREET, ACK, REPEAT, HEARTBEAT, REPORT = "greet", "ack", "repeat", "heartbeat", "report"


class Identity(NamedTuple):
    """Who this worker is, for its greeting; see `core.messages.Greeting`."""

    worker: int
    epoch: int
    model_id: bytes
    plan_id: bytes
    stages: Tuple[Tuple[int, int], ...]
    codecs: Tuple[str, ...] = ("raw",)


class Host(Reported):
    """What the neighbours need from the worker that they are neighbours of."""

    def on_settled(self, settled: Settled, now_us: int, actions: List[Action]) -> None:
        """Verdicts on payloads that were sent."""
        raise NotImplementedError

    def on_lost(
        self, peer: Peer, payloads: List[Any], has_left: bool, now_us: int, actions: List[Action]
    ) -> None:
        """`peer` is gone without a verdict on `payloads`, oldest first. `has_left`: it said so, and
        ended the tasks that it had accepted."""
        raise NotImplementedError


class Neighbours:
    """The table of peers. `targets` are those that tasks may be sent to, `shared_stages` the
    (part, stage) pairs that one of them holds."""

    def __init__(
        self,
        identity: Identity,
        host: Host,
        agenda: Agenda,
        metrics: Metrics,
        rng: Random,
        disturb: Disturb = undisturbed,
    ) -> None:
        self.identity = identity
        self.peers: Dict[int, Peer] = {}
        self.targets: List[Peer] = []
        self.shared_stages: Set[Tuple[int, int]] = set()
        self.is_leaving = self._has_parted = False
        self._host = host
        self._agenda = agenda
        self._metrics = metrics
        self._rng = rng
        self._disturb = disturb
        self._reporter = Reporter(host, self.peers, disturb)
        self._receivers: Dict[type, Callable[..., None]] = {
            Hello: self._on_hello,
            Reject: self._on_reject,
            Bye: self._on_bye,
            Load: self._on_load,
            Ack: self._on_ack,
        }

    def connected(self, worker: int) -> Optional[Peer]:
        """The peer `worker`, if messages can be exchanged with it."""
        peer = self.peers.get(worker)
        return peer if peer is not None and peer.is_connected else None

    def found(self, worker: int, may_offload: bool, now_us: int, actions: List[Action]) -> None:
        """Greet a neighbour."""
        peer = self._peer(worker, now_us, actions)
        peer.may_offload = may_offload
        peer.move(FOUND)
        self.refresh()
        if peer.state is GREETING:
            self._agenda.put((GREET, worker), now_us)

    def gone(self, worker: int, now_us: int, actions: List[Action]) -> None:
        """Forget a neighbour."""
        peer = self.peers.pop(worker, None)
        if peer is not None:
            peer.move(GONE)
            self._lose(peer, "removed", now_us, actions)
            actions.append(CloseLink(worker))

    def lost(self, worker: int, now_us: int, actions: List[Action]) -> None:
        """The connection to a neighbour is gone: no need to wait until it has been silent."""
        peer = self.connected(worker)
        if peer is not None:
            self._lose(peer, "disconnected", now_us, actions)

    def receive(self, event: MessageReceived, now_us: int, actions: List[Action]) -> Optional[Peer]:
        """Take a message. The peer it is from if it means something to the worker; those about the
        link itself, and what is not from the current session, end here."""
        envelope = event.envelope
        message = envelope.message
        peer = self.peers.get(event.peer)
        if peer is None:
            if message.__class__ is not Hello or self._has_parted:
                self._metrics.add("stale_messages")
                return None
            peer = self._peer(event.peer, now_us, actions)
        if message.__class__ is Hello or message.__class__ is Reject:
            self._receivers[message.__class__](peer, envelope, now_us, actions)
            return None
        if not peer.is_current(envelope):
            given = message.greeting if message.__class__ is Welcome else None
            greeting = peer.agrees(envelope, given)
            if greeting is None or self._incompatibility(greeting):
                self._metrics.add("stale_messages")
                return None
            self._agree(peer, envelope, greeting, now_us, actions)
        peer.heard_us = now_us
        if message.__class__ is Welcome:
            return None
        receiver = self._receivers.get(message.__class__)
        if receiver is None:
            return peer
        receiver(peer, message, now_us, actions)
        return None

    def send(self, peer: Peer, message: Any, actions: List[Action]) -> None:
        """Send a message that is not settled."""
        envelope = Envelope(peer.my_session, peer.their_session, message)
        actions.append(Send(peer.worker, CONTROL, envelope))

    def send_settled(
        self,
        peer: Peer,
        message: Any,
        payload: Any,
        now_us: int,
        actions: List[Action],
        item: Optional[int] = None,
    ) -> int:
        """Send a Task (whose features are those of `item`) or a Result; its number. `payload` comes
        back to the host."""
        numbered = peer.link.send(message, payload, item, now_us)
        self._emit(peer, numbered, item, actions)
        due_us = peer.link.unsettled[numbered.seq].due_us
        self._agenda.put_earlier((REPEAT, peer.worker), due_us)
        if message.__class__ is Task:
            peer.queue_length += 1  # until it reports anew
        return int(numbered.seq)

    def acknowledge(self, peer: Peer, now_us: int, actions: List[Action]) -> None:
        """A settled message came: acknowledge it, together with its neighbours in time."""
        if peer.link.unacknowledged_count >= ACK_EVERY_COUNT:
            self._send_ack(peer, now_us, actions)
        else:
            within_us = SILENT_US if self._disturb(ACKNOWLEDGE_LATE) else ACK_WITHIN_US
            self._agenda.put_earlier((ACK, peer.worker), now_us + within_us)

    def queue_changed(self, length: int, now_us: int) -> None:
        """I_n has changed: tell everybody soon, if it is far from what they know."""
        at_us = self._reporter.next_report_us(length, now_us) if self.peers else None
        if at_us is not None:
            self._agenda.put_earlier((REPORT, 0), at_us)

    def leave(self, actions: List[Action]) -> None:
        """Tell everybody that no more tasks are taken."""
        self.is_leaving = True
        for peer in self.peers.values():
            if peer.is_connected:
                self.send(peer, Bye(False), actions)

    def part(self, actions: List[Action]) -> None:
        """The last word to everybody."""
        self._has_parted = True
        for peer in self.peers.values():
            if peer.is_connected:
                self.send(peer, Bye(True), actions)
        self.peers.clear()  # their links close when the last word is out
        self.refresh()

    @property
    def unsettled_count(self) -> int:
        """Settled messages that wait for a verdict, at all neighbours."""
        return sum(len(peer.link.unsettled) for peer in self.peers.values())

    def on_duty(self, what: str, worker: int, now_us: int, actions: List[Action]) -> None:
        """Do what the agenda says."""
        if what is HEARTBEAT:
            self._heartbeat(now_us, actions)
        elif what is REPORT:
            self._report_to_all(now_us, actions)
        else:
            peer = self.peers.get(worker)
            if peer is not None:
                {GREET: self._greet, ACK: self._send_ack, REPEAT: self._repeat}[what](
                    peer, now_us, actions
                )

    def _peer(self, worker: int, now_us: int, actions: List[Action]) -> Peer:
        peer = self.peers.get(worker)
        if peer is None:
            peer = self.peers[worker] = Peer(worker, False, self._rng)
            actions.append(OpenLink(worker))
            self._agenda.put_earlier((HEARTBEAT, 0), now_us + HEARTBEAT_US)
        return peer

    def refresh(self) -> None:
        """`targets` and `shared_stages` follow from the peers."""
        self.targets = [p for p in self.peers.values() if p.state is UP and p.may_offload]
        self.shared_stages = {stage for peer in self.targets for stage in peer.stages}

    # --- greeting ---

    def _greeting(self) -> Greeting:
        return Greeting(**self.identity._asdict())

    def _greet(self, peer: Peer, now_us: int, actions: List[Action]) -> None:
        if peer.state is GREETING:
            envelope = Envelope(peer.my_session, 0, Hello(self._greeting()))
            actions.append(Send(peer.worker, CONTROL, envelope))
            self._agenda.put((GREET, peer.worker), now_us + peer.greeting_us)
            peer.greeting_us = min(2 * peer.greeting_us, GREETING_US_MAX)

    def _on_hello(self, peer: Peer, envelope: Envelope, now_us: int, actions: List[Action]) -> None:
        assert isinstance(envelope.message, Hello)
        greeting = envelope.message.greeting
        reason = self._incompatibility(greeting)
        if reason:
            self._metrics.incident("greetings_rejected", peer.worker, None, reason)
            answer = Envelope(peer.my_session, envelope.from_session, Reject(clipped(reason)))
            actions.append(Send(peer.worker, CONTROL, answer))
            return
        was_absent = peer.state is not GREETING and not peer.is_connected
        peer.move(HELLO)
        session = peer.answer(envelope.from_session, greeting)
        answer = Envelope(session, envelope.from_session, Welcome(self._greeting()))
        actions.append(Send(peer.worker, CONTROL, answer))
        if was_absent:
            self._agenda.put((GREET, peer.worker), now_us)

    def _incompatibility(self, greeting: Greeting) -> str:
        """Why we cannot work together; empty if we can."""
        own = self.identity
        for name, found, expected, how in (
            ("protocol version", greeting.version, PROTOCOL_VERSION, "with the same edgesdk"),
            ("model", greeting.model_id.hex(), own.model_id.hex(), "with the same bundle"),
            ("plan", greeting.plan_id.hex(), own.plan_id.hex(), "with the same plan and policy"),
        ):
            if found != expected:
                return "{}: found {}, expected {}; start both {}".format(name, found, expected, how)
        return ""

    def _agree(
        self,
        peer: Peer,
        envelope: Envelope,
        greeting: Greeting,
        now_us: int,
        actions: List[Action],
    ) -> None:
        if peer.is_connected:
            self._lose(peer, "started again", now_us, actions)
            peer.move(HELLO)  # or a neighbour that was leaving would stay absent
        peer.move(AGREED)
        if not peer.is_connected:
            return
        peer.begin(envelope, greeting, now_us)
        self._metrics.incident("sessions_begun", peer.worker)
        self.refresh()
        self._send_load(peer, now_us, actions)  # the other side waits for the first use
        if self.is_leaving:
            self.send(peer, Bye(False), actions)

    def _on_reject(
        self, peer: Peer, envelope: Envelope, now_us: int, actions: List[Action]
    ) -> None:
        if envelope.to_session == peer.my_session:
            assert isinstance(envelope.message, Reject)
            reason = envelope.message.reason
            self._metrics.incident("greetings_declined", peer.worker, None, reason)

    # --- heartbeats and reports ---

    def _heartbeat(self, now_us: int, actions: List[Action]) -> None:
        for peer in list(self.peers.values()):
            if peer.is_connected and now_us - peer.heard_us >= SILENT_US:
                self._lose(peer, "silent", now_us, actions)
        self._report_to_all(now_us, actions)
        if self.peers:
            self._agenda.put((HEARTBEAT, 0), now_us + HEARTBEAT_US)

    def _report_to_all(self, now_us: int, actions: List[Action]) -> None:
        for peer in self.peers.values():
            if peer.is_connected:
                self._send_load(peer, now_us, actions)
        self._reporter.told_all(now_us)

    def _send_load(self, peer: Peer, now_us: int, actions: List[Action]) -> None:
        self.send(peer, self._reporter.load(peer, self.is_leaving, now_us), actions)

    def _on_load(self, peer: Peer, load: Load, now_us: int, actions: List[Action]) -> None:
        peer.on_load(load, now_us)
        peer.on_report(load.report, load.queue_length, load.delay_us, load.task_limit, now_us)
        if load.is_leaving:
            self._on_bye(peer, Bye(False), now_us, actions)

    def _on_bye(self, peer: Peer, bye: Bye, now_us: int, actions: List[Action]) -> None:
        if bye.final:
            peer.move(FINAL)
            self._lose(peer, LEFT, now_us, actions)
        else:
            peer.move(BYE)
            self.refresh()

    # --- settling ---

    def _send_ack(self, peer: Peer, now_us: int, actions: List[Action]) -> None:
        self._agenda.drop((ACK, peer.worker))
        if peer.is_connected:
            self.send(peer, self._reporter.ack(peer, self.is_leaving, now_us), actions)

    def _on_ack(self, peer: Peer, ack: Ack, now_us: int, actions: List[Action]) -> None:
        peer.on_report(ack.report, ack.queue_length, ack.delay_us, ack.task_limit, now_us)
        settled = peer.link.on_ack(ack, now_us)
        if settled.accepted or settled.refused:
            self._host.on_settled(settled, now_us, actions)

    def _repeat(self, peer: Peer, now_us: int, actions: List[Action]) -> None:
        due = peer.link.due(now_us)
        if due is None:
            self._lose(peer, "not answering", now_us, actions)
            return
        for sent in due:
            self._metrics.incident("retransmissions", peer.worker, sent.item, "no verdict yet")
            self._emit(peer, sent.message, sent.item, actions)
        next_us = peer.link.next_due_us()
        if next_us is not None:
            self._agenda.put((REPEAT, peer.worker), next_us)

    def _emit(self, peer: Peer, message: Any, item: Optional[int], actions: List[Action]) -> None:
        lane = DATA if message.__class__ is Task else CONTROL
        envelope = Envelope(peer.my_session, peer.their_session, message)
        actions.append(Send(peer.worker, lane, envelope, item))

    def _lose(self, peer: Peer, reason: str, now_us: int, actions: List[Action]) -> None:
        """The session is over: what is unsettled goes back to the worker."""
        peer.lost_because = reason
        self._metrics.incident("sessions_lost." + reason.replace(" ", "_"), peer.worker)
        payloads = [sent.payload for sent in peer.link.unsettled.values()]
        peer.greet_anew()
        if peer.is_connected:
            peer.move(SILENT)
        self._agenda.drop((ACK, peer.worker))
        self._agenda.drop((REPEAT, peer.worker))
        self.refresh()
        actions += [CloseLink(peer.worker), OpenLink(peer.worker)]  # what waits there is void
        if peer.state is GREETING:
            self._agenda.put((GREET, peer.worker), now_us)
        self._host.on_lost(peer, payloads, reason == LEFT, now_us, actions)
