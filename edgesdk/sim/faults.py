"""What goes wrong, and when it is over."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ..errors import ConfigError
from .body import Body
from .network import Direction, Network
from .spec import Fault
from .world import World


class Kind(NamedTuple):
    """`begin(target, factor)` gives what `end(target, factor, given)` needs."""

    begin: Callable[[Any, float], Any]
    end: Callable[[Any, float, Any], Any]


def _end_crash(body: Body, _: float, died: bool) -> None:
    if died:
        body.start()


def _leave(body: Body, _: float) -> Optional[int]:
    """The epoch of the process that leaves, None if there was none."""
    body.leave()
    return body.epoch if body.is_up else None


def _come_back(body: Body, _: float, epoch: Optional[int]) -> None:
    """The process that has left, or still is about to, makes way for a new one."""
    if body.is_up and body.epoch == epoch:
        body.crash()
        body.start()


NODE_FAULTS: Dict[str, Kind] = {
    "crash": Kind(lambda body, _: body.crash(), _end_crash),
    "leave": Kind(_leave, _come_back),
    "pause": Kind(lambda body, _: body.pause(), lambda body, _, given: body.resume(given)),
    "slow": Kind(
        lambda body, factor: body.slow_factors.append(factor),
        lambda body, factor, _: body.slow_factors.remove(factor),
    ),
    "fail": Kind(
        lambda body, share: body.failing_shares.append(share),
        lambda body, share, _: body.failing_shares.remove(share),
    ),
}
LINK_FAULTS: Dict[str, Kind] = {
    "cut": Kind(lambda way, _: way.cut(), lambda way, _, __: way.heal()),
    "reset": Kind(lambda way, _: way.reset(), lambda way, _, __: None),
    "loss": Kind(lambda way, share: way.add_loss(share), lambda way, share, _: way.end_loss(share)),
    "rate": Kind(
        lambda way, divisor: way.divide_rate(divisor),
        lambda way, divisor, _: way.end_divide_rate(divisor),
    ),
}


class Faults:
    """All faults of a scenario, entered into its schedule."""

    def __init__(self, world: World, network: Network, bodies: Sequence[Body]) -> None:
        self._scheduler = world.scheduler
        self._network = network
        self._bodies = {body.name: body for body in bodies}
        for fault in world.scenario.faults:
            kind, targets = self._resolve(fault)
            self._scheduler.at(fault.at_us, self._begin, (fault, kind, targets))

    def _begin(self, entry: Any) -> None:
        fault, kind, targets = entry
        given = [kind.begin(target, fault.factor) for target in targets]
        if fault.duration_us is not None:
            end = (fault, kind, targets, given)
            self._scheduler.at(self._scheduler.now_us + fault.duration_us, self._end, end)

    def _end(self, entry: Any) -> None:
        fault, kind, targets, given = entry
        for target, value in zip(targets, given):
            kind.end(target, fault.factor, value)

    def _resolve(self, fault: Fault) -> Any:
        if fault.kind in NODE_FAULTS:
            if fault.where not in self._bodies:
                raise ConfigError("fault {}: there is no node {!r}".format(*fault[:2]))
            return NODE_FAULTS[fault.kind], [self._bodies[fault.where]]
        if fault.kind in LINK_FAULTS:
            return LINK_FAULTS[fault.kind], self._directions(fault)
        kinds = ", ".join(sorted(NODE_FAULTS) + sorted(LINK_FAULTS))
        raise ConfigError("fault: found kind {!r}, expected one of {}".format(fault.kind, kinds))

    def _directions(self, fault: Fault) -> List[Direction]:
        """ "a->b" is one direction, "a-b" both; names may contain a "-"."""
        known = self._network.directions
        for origin, target in known:
            if fault.where == "{}->{}".format(origin, target):
                return [known[(origin, target)]]
            if fault.where == "{}-{}".format(origin, target):
                return [known[(origin, target)], known[(target, origin)]]
        raise ConfigError("fault {}: there is no link {!r}".format(*fault[:2]))


def end_us(fault: Fault) -> int:
    """When `fault` is over; when it began, if it stays."""
    return fault.at_us + (fault.duration_us or 0)
