"""One neighbour: from the first Hello to the last Bye, and what it last said of itself.

Rule 1: everything that decides whether a neighbour may be talked to is in this file.
Rule 2: this file does not know what tasks are.

    ABSENT --found, hello--> GREETING --agreed--> UP --bye--> LEAVING
      ^                        |  ^               | |            | |
      |--------gone------------'  '----silent-----' |            | |
      '-----------------final, gone-----------------'------------' silent: ABSENT

A *session* is one acquaintance, from both sides: each side draws a number for it. Whoever is
greeted anew (the other side started again, or had given us up) answers with a new number and
changes over when the other side uses it: an old Hello that comes late changes nothing.
"""

from random import Random
from typing import Any, Dict, NamedTuple, Optional

from .link import DELAY_WEIGHT, Link
from .messages import Envelope, Greeting, Load

ABSENT, GREETING, UP, LEAVING = STATES = ("absent", "greeting", "up", "leaving")
FOUND, HELLO, AGREED, SILENT, BYE, FINAL, GONE = EVENTS = (
    "found",
    "hello",
    "agreed",
    "silent",
    "bye",
    "final",
    "gone",
)
TRANSITIONS = {
    ABSENT: {
        FOUND: GREETING,
        HELLO: GREETING,
        AGREED: ABSENT,
        SILENT: ABSENT,
        BYE: ABSENT,
        FINAL: ABSENT,
        GONE: ABSENT,
    },
    GREETING: {
        FOUND: GREETING,
        HELLO: GREETING,
        AGREED: UP,
        SILENT: GREETING,
        BYE: GREETING,
        FINAL: ABSENT,
        GONE: ABSENT,
    },
    UP: {
        FOUND: UP,
        HELLO: UP,
        AGREED: UP,  # it has started again
        SILENT: GREETING,
        BYE: LEAVING,
        FINAL: ABSENT,
        GONE: ABSENT,
    },
    LEAVING: {
        FOUND: LEAVING,
        HELLO: LEAVING,
        AGREED: UP,  # it has come back
        SILENT: ABSENT,  # it said that it would go
        BYE: LEAVING,
        FINAL: ABSENT,
        GONE: ABSENT,
    },
}

HEARTBEAT_US = 500_000  # a Load at least so often; it also says how busy we are
SUSPECT_US = 1_500_000  # three missed: nothing is sent there
SILENT_US = 3_000_000  # six missed: it is dead until it greets again
FRESH_US = 2_000_000  # a report older than this says nothing
GREETING_US = 500_000  # between two Hellos: a neighbour that comes back is known within this
GREETING_US_MAX = 2_000_000  # and between those to one that does not answer


class Offer(NamedTuple):
    """An answer to a Hello that is not confirmed yet."""

    their_session: int
    my_session: int
    greeting: Greeting


class Peer:
    """A neighbour as this worker knows it; `worker` is its id.

    `may_offload`: whether tasks may be sent to it at all. `link` is that of the current session.
    `queue_length` is I_m as last reported plus what was sent there since; `delay_us` is Gamma_m;
    `task_limit` its credit and `report` the number of the report. Over all sessions: `sent_count`
    tasks went there, `received_count` were taken from there, `answered_count` items of ours ended
    by its results. `lost_because` is why the last session ended, in a word or two.
    """

    def __init__(self, worker: int, may_offload: bool, rng: Random) -> None:
        self.worker = worker
        self.may_offload = may_offload
        self.state = ABSENT
        self._rng = rng
        self.greeting: Optional[Greeting] = None
        self.stages: frozenset = frozenset()
        self.assigned_number = 0  # of its last Assigned
        self.my_session = 0
        self.their_session = 0
        self._offer: Optional[Offer] = None
        self.control_round_trip_us: Optional[float] = None
        self.report = 0
        self.greeting_us = GREETING_US
        self.sent_count = self.received_count = self.answered_count = 0
        self.lost_because = ""  # the last session
        self._begin_session(self._draw_session(), 0)

    @property
    def is_connected(self) -> bool:
        """Whether messages can be exchanged."""
        return self.state is UP or self.state is LEAVING

    def move(self, event: str) -> None:
        """Change the state by the table."""
        self.state = TRANSITIONS[self.state][event]

    def takes_tasks(self, now_us: int) -> bool:
        """Whether a task may be sent there now: alive, heard lately, with credit and room."""
        return (
            self.state is UP
            and self.may_offload
            and now_us - self.heard_us < SUSPECT_US
            and now_us - self.reported_us < FRESH_US
            and self.link.task_count < self.task_limit
            and self.link.has_room
        )

    def greet_anew(self) -> None:
        """The session is over: from now on Hellos carry a new number."""
        self._offer = None
        self._begin_session(self._draw_session(), 0)

    def answer(self, their_session: int, greeting: Greeting) -> int:
        """A Hello has come: the session number that the Welcome carries.

        While greeting ourselves, or to the session that stands, it is the current one. Otherwise
        it opens a second session, which becomes current when the other side uses it.
        """
        if self.is_connected and their_session == self.their_session:
            return self.my_session
        if not self.is_connected:
            self._offer = Offer(their_session, self.my_session, greeting)
        elif self._offer is None or self._offer.their_session != their_session:
            self._offer = Offer(their_session, self._draw_session(), greeting)
        return self._offer.my_session if self._offer else self.my_session

    def is_current(self, envelope: Envelope) -> bool:
        """Whether a message belongs to the session that stands."""
        return (
            self.is_connected
            and envelope.to_session == self.my_session
            and envelope.from_session == self.their_session
        )

    def agrees(self, envelope: Envelope, greeting: Optional[Greeting]) -> Optional[Greeting]:
        """Whether a message concludes a handshake, either the Welcome to our Hello or the first
        use of a session that we offered: the neighbour's greeting, or None."""
        offer = self._offer
        if greeting is not None and not self.is_connected:
            return greeting if envelope.to_session == self.my_session else None
        if offer is not None and envelope[:2] == (offer.their_session, offer.my_session):
            return offer.greeting
        return None

    def begin(self, envelope: Envelope, greeting: Greeting, now_us: int) -> None:
        """The handshake is concluded: a new session stands."""
        self._begin_session(envelope.to_session, envelope.from_session)
        self._offer = None
        self.greeting = greeting
        self.stages = frozenset(greeting.stages)
        self.assigned_number = 0
        self.greeting_us = GREETING_US
        self.heard_us = self.reported_us = now_us

    def on_report(
        self, report: int, queue_length: int, delay_us: int, task_limit: int, now_us: int
    ) -> bool:
        """Take what a Load or an Ack says of the neighbour's queue, unless it is an old one."""
        if report <= self.report:
            return False
        self.report = report
        self.queue_length = queue_length
        self.delay_us = delay_us
        self.task_limit = task_limit
        self.reported_us = now_us
        return True

    def on_load(self, load: Load, now_us: int) -> None:
        """Take a heartbeat: its echo gives the round trip of small messages."""
        self.echo_us, self.echoed_us = load.sent_us, now_us
        if load.echo_us:
            round_trip_us = now_us - load.echo_us - load.echo_held_us
            if round_trip_us >= 0:
                known = self.control_round_trip_us
                if known is None:
                    self.control_round_trip_us = float(round_trip_us)
                else:
                    self.control_round_trip_us = known + (round_trip_us - known) * DELAY_WEIGHT

    @property
    def link_delay_us(self) -> float:
        """D_nm: how long a task takes there. From acknowledged tasks, less the way of the Ack;
        before the first one, half the round trip of heartbeats; 0 while nothing is known."""
        control_us = self.control_round_trip_us or 0.0
        task_us = self.link.round_trip_us
        return control_us / 2 if task_us is None else max(task_us - control_us / 2, 0.0)

    def describe(self, now_us: int) -> Dict[str, Any]:
        """For people: state, report and counts."""
        return {
            "state": self.state,
            "queue_length": self.queue_length,
            "delay_us": self.delay_us,
            "link_delay_us": self.link_delay_us,
            "round_trip_us": self.control_round_trip_us,
            "unsettled_count": len(self.link.unsettled),
            "sent_count": self.sent_count,
            "received_count": self.received_count,
            "answered_count": self.answered_count,
            "heard_us_ago": now_us - self.heard_us if self.heard_us else None,
            "lost_because": self.lost_because,
            "held": ["{}.{}".format(part, stage) for part, stage in sorted(self.stages)],
        }

    def _draw_session(self) -> int:
        return self._rng.randrange(1, 2**32)

    def _begin_session(self, my_session: int, their_session: int) -> None:
        self.my_session, self.their_session = my_session, their_session
        self.link = Link(self._rng)
        self.promised_count = 0  # the credit that it has from us
        self.heard_us = self.reported_us = 0
        self.report = 0
        self.queue_length = 0
        self.delay_us = 0
        self.task_limit = 0
        self.echo_us = self.echoed_us = 0
        self.control_round_trip_us = None
