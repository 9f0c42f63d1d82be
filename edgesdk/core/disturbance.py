"""Places where a core may do something unlikely but allowed, if a simulation wants it to.

Rare paths (a refused task, an acknowledgement just too late, a lease that ends early) must be right
too, and chance seldom leads there. Outside of simulations nothing is disturbed.
"""

from random import Random
from typing import Callable, Dict

Disturb = Callable[[str], bool]  # the name of the place -> whether to do the unlikely thing now

REFUSE_TASK = "refuse task"
ACKNOWLEDGE_LATE = "acknowledge late"
GIVE_NO_CREDIT = "give no credit"
END_LEASE_EARLY = "end lease early"
PLACES = (REFUSE_TASK, ACKNOWLEDGE_LATE, GIVE_NO_CREDIT, END_LEASE_EARLY)

PLACE_SHARE = 0.25  # of the places are active in one run
TIME_SHARE = 0.1  # how often an active place does it


def undisturbed(place: str) -> bool:
    """Never."""
    return False


class Disturbance:
    """Some of the places, drawn once, now and then."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._active: Dict[str, bool] = {place: rng.random() < PLACE_SHARE for place in PLACES}

    def __call__(self, place: str) -> bool:
        """See `Disturb`."""
        return self._active[place] and self._rng.random() < TIME_SHARE
