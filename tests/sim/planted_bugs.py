"""Mistakes that protocols like ours are known for, each put into the core by a patch.

Whoever checks the core must find every one of them: a check that cannot fail checks nothing.
"""

from edgesdk.core import (
    exchange,
    fleet,
    gather,
    leases,
    link,
    neighbours,
    offload,
    output_queue,
    peer,
)
from edgesdk.core.events import CancelTimer, Submit
from edgesdk.core.source import Source


def no_dedup_at_source(patch):
    """A second result of an item is an outcome too."""
    original = exchange.Exchange._take_result

    def take(self, message, now_us, actions):
        item = message.item.number
        if not self._source.is_open(item) and message.answer is not None:
            self._source.admit(Submit((item,), (None,), now_us), actions)
            self._source.start(item)
            self._source.leave(item, message.part, message.answer, "again", now_us, actions)
        else:
            original(self, message, now_us, actions)

    patch.setattr(exchange.Exchange, "_take_result", take)


def dedup_forgets(patch):
    """A receiver forgets a verdict as soon as it has given the next ones."""
    original = link.Link.judge

    def judge(self, seq, accepted):
        original(self, seq, accepted)
        while len(self._verdicts) > 2:
            del self._verdicts[min(self._verdicts)]

    patch.setattr(link.Link, "judge", judge)


def accepted_before_it_is_queued(patch):
    """A task is acknowledged, and sometimes never enters the queue."""
    original = fleet.FleetWorker.place

    def place(self, task):
        if task.guest is None or task.guest.item.number % 13:
            original(self, task)

    patch.setattr(fleet.FleetWorker, "place", place)


def retry_under_a_new_number(patch):
    """What is repeated looks like something new."""
    original = link.Link.due

    def due(self, now_us):
        found = original(self, now_us)
        for sent in found or ():
            seq, self._next_seq = self._next_seq, self._next_seq + 1
            self.unsettled[seq] = self.unsettled.pop(sent.message.seq)
            sent.message = sent.message._replace(seq=seq)
        return found

    patch.setattr(link.Link, "due", due)


def epoch_ignored(patch):
    """A result for an item of the process before counts for the item of that number now."""
    original = exchange.Exchange._on_result

    def on_result(self, from_peer, message, now_us, actions):
        if message.item.source == self._identity.worker:
            item = message.item._replace(epoch=self._identity.epoch)
            message = message._replace(item=item)
        original(self, from_peer, message, now_us, actions)

    patch.setattr(exchange.Exchange, "_on_result", on_result)


def lease_not_renewed(patch):
    """Slow is taken for dead, again and again."""
    patch.setattr(leases.Leases, "renew", lambda self, keys, now_us: None)


def lease_renewed_for_ever(patch):
    """A stage that hangs is believed in for ever."""
    patch.setattr(leases, "RENEWED_US_MAX", 10**15)


def credit_leaks(patch):
    """What was promised to a neighbour that died stays promised."""
    original = peer.Peer.greet_anew

    def greet_anew(self):
        promised_count = self.promised_count
        original(self)
        self.promised_count = promised_count

    patch.setattr(peer.Peer, "greet_anew", greet_anew)


def results_kept_for_ever(patch):
    """A result whose acknowledgement was lost is neither repeated nor given up."""
    original = link.Link.send

    def send(self, message, payload, item, now_us):
        numbered = original(self, message, payload, item, now_us)
        if item is None:
            self.unsettled[numbered.seq].due_us = now_us + 10**12
        return numbered

    patch.setattr(link.Link, "send", send)


def samples_of_repeated_messages(patch):
    """The round trip of a message that was sent twice (Karn)."""
    original = link.Link.on_ack

    def on_ack(self, ack, now_us):
        newest = self.unsettled.get(ack.newest)
        if newest is None:
            return original(self, ack, now_us)
        tries, newest.tries = newest.tries, 1
        settled = original(self, ack, now_us)
        newest.tries = tries
        return settled

    patch.setattr(link.Link, "on_ack", on_ack)


def timer_not_cancelled(patch):
    """The deadline of an item outlives it."""
    original = Source._forget

    def forget(self, entry, actions):
        original(self, entry, actions)
        actions[:] = [action for action in actions if not isinstance(action, CancelTimer)]

    patch.setattr(Source, "_forget", forget)


def handed_back_and_started_again(patch):
    """A task that came back is also started again by its lease."""
    original = exchange.Exchange._take_back

    def take_back(self, task, now_us, actions):
        pop, self.leases.pop = self.leases.pop, lambda key: None
        try:
            original(self, task, now_us, actions)
        finally:
            self.leases.pop = pop

    patch.setattr(exchange.Exchange, "_take_back", take_back)


def goodbye_taken_for_death(patch):
    """What a neighbour that leaves has accepted is started again, though it ends it."""
    bye = neighbours.Neighbours._on_bye

    def on_bye(self, from_peer, message, now_us, actions):
        bye(self, from_peer, message, now_us, actions)
        if not message.final:
            for key in self._host.leases.accepted_by(from_peer.worker):
                self._host.start_again(key, now_us, actions)

    patch.setattr(neighbours.Neighbours, "_on_bye", on_bye)


def sixteen_bit_numbers(patch):
    """Numbers of messages wrap at 2^16. (They begin just below, for runs are short.)"""
    begin, send = link.Link.__init__, link.Link.send

    def init(self, rng):
        begin(self, rng)
        self._next_seq = 65_530

    def wrapped(self, message, payload, item, now_us):
        self._next_seq %= 1 << 16
        return send(self, message, payload, item, now_us)

    patch.setattr(link.Link, "__init__", init)
    patch.setattr(link.Link, "send", wrapped)


def literal_algorithms(patch):
    """Algorithm 1 and 2 without what goes beyond the paper: tasks are stranded in O_n."""
    original = output_queue.OutputQueue.__init__

    def init(self, options, held, rng):
        original(self, offload.LITERAL, held, rng)

    patch.setattr(output_queue.OutputQueue, "__init__", init)


def part_given_up_in_silence(patch):
    """A student that nobody can compute is waited for, for ever."""
    patch.setattr(fleet.FleetWorker, "_give_up_parts", lambda self, now_us, actions: None)


def item_answered_by_its_first_part(patch):
    """An ensemble's item does not wait for the students that are away."""
    patch.setattr(gather.Gather, "_if_complete", lambda self: self._gathered(self._reason))


PLANTED = [
    part_given_up_in_silence,
    item_answered_by_its_first_part,
    no_dedup_at_source,
    dedup_forgets,
    accepted_before_it_is_queued,
    retry_under_a_new_number,
    epoch_ignored,
    lease_not_renewed,
    lease_renewed_for_ever,
    credit_leaks,
    results_kept_for_ever,
    samples_of_repeated_messages,
    timer_not_cancelled,
    handed_back_and_started_again,
    goodbye_taken_for_death,
    sixteen_bit_numbers,
    literal_algorithms,
]
