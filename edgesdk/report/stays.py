"""Where every item was, from moment to moment, as one worker saw it.

The times at which something happened to an item cut its life into stays: it waits here, is computed
here, or is away. Stays of an item do not overlap and leave no gap, so their lengths add up to its
latency.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from ..telemetry.spans import OPEN, REFUSED
from .recording import Recording

WAITING, COMPUTING, AWAY, ENDED = range(4)
BACK = (OPEN, REFUSED)  # verdicts on a transfer after which the task is here again

# What happens at one time is in the order of the rows; an item begins before and ends after it.
_FIRST, _LAST = -1, np.iinfo(np.int64).max


class Stays(NamedTuple):
    """One row for each stay, all int64 [n]. `state`: WAITING, COMPUTING or AWAY. `batch`: the row
    in the recording's batches of what is computed, or was waited for; -1 where that is nothing."""

    key: np.ndarray
    state: np.ndarray
    begin_us: np.ndarray
    length_us: np.ndarray
    batch: np.ndarray


def stays_of(recording: Recording) -> Stays:
    """All stays at this worker: of its own items from their beginning to their end, of others
    while they are here."""
    key, at, order, state, batch = _happenings(recording)
    rows = np.lexsort((order, at, key))
    key, at, state, batch = key[rows], at[rows], state[rows], batch[rows]
    same = key[:-1] == key[1:]
    length_us = (at[1:] - at[:-1])[same]
    begin_us, until_batch = at[:-1][same], batch[1:][same]
    found, came = state[:-1][same], state[1:][same]
    # Whatever arrives was away before, also where a worker that computed it has passed it on.
    found = np.where((came == _ARRIVED) & (found != AWAY), AWAY, found)
    found = np.where(found == _ARRIVED, WAITING, found)
    of_batch = np.where(found == COMPUTING, batch[:-1][same], -1)
    waited_for = (found == WAITING) & (came == COMPUTING)
    of_batch = np.where(waited_for, until_batch, of_batch)
    # Not to wait for a stage is a wait, too; nothing else that took no time is anything.
    lived = (found != ENDED) & ((length_us > 0) | waited_for)
    return Stays(
        key[:-1][same][lived],
        found[lived],
        begin_us[lived],
        length_us[lived],
        of_batch[lived],
    )


_ARRIVED = 4  # as WAITING, and away before


def _happenings(recording: Recording) -> Tuple[np.ndarray, ...]:
    """(key, time, order among those of one time, state from then on, batch) of whatever happened
    to items, as long as they lived. That a task was accepted changes nothing: it was away."""
    items, batches = recording.items.arrays(), recording.batches.arrays()
    members, transfers = recording.members.arrays(), recording.transfers.arrays()
    arrivals = recording.arrivals.arrays()
    batch = members["batch"]
    begin, end = batches["begin"][batch], batches["end"][batch]
    ran = end > begin
    is_back = np.array([word in BACK for word in recording.verdicts.words] + [False])
    back = is_back[transfers["verdict"]]
    groups: List[Tuple[np.ndarray, np.ndarray, int, int, Any]] = [
        (items["key"], items["begin"], _FIRST, WAITING, -1),
        (arrivals["key"], arrivals["at"], 0, _ARRIVED, -1),
        (transfers["key"][back], transfers["end"][back], 1, WAITING, -1),
        (members["key"][ran], end[ran], 2, WAITING, -1),
        (transfers["key"], transfers["begin"], 3, AWAY, -1),
        (members["key"][ran], begin[ran], 4, COMPUTING, batch[ran]),
        (items["key"], items["end"], _LAST, ENDED, -1),
    ]
    columns = []
    for key, at, order, state, of_batch in groups:
        columns.append(
            [key, at] + [np.broadcast_to(x, key.shape) for x in (order, state, of_batch)]
        )
    found = tuple(np.concatenate(each).astype(np.int64) for each in zip(*columns))
    lived = found[1] <= _end_of(found[0], items["key"], items["end"])
    return tuple(each[lived] for each in found)


def _end_of(keys: np.ndarray, items: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """When each of `keys` ended; of items of others, never."""
    if not len(items):
        return np.full(keys.shape, _LAST)
    rows = np.argsort(items)
    places = rows[np.minimum(np.searchsorted(items[rows], keys), len(items) - 1)]
    return np.where(items[places] == keys, ends[places], _LAST)


def total_us(stays: Stays, chosen: np.ndarray) -> Dict[int, int]:
    """How long each item stayed in all, by its key, over the rows that are `chosen` (bool [n])."""
    keys, places = np.unique(stays.key[chosen], return_inverse=True)
    sums = np.zeros(len(keys), dtype=np.int64)
    np.add.at(sums, places, stays.length_us[chosen])
    return dict(zip(keys.tolist(), sums.tolist()))
