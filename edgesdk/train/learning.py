"""Which parts of a network learn in a training; the others keep weights and statistics.

    all         everything
    backbone    all segments and the final exit
    exits       every exit but the final one
    last        the last segment and the final exit

The training strategies of the early-exit survey are put together by these (`strategies`); as
`fit --learns` they are there for a network whose weights are there already.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from ..errors import ConfigError
from .models import ExitNetwork, MultiExit
from .recipe import ALL, BACKBONE, EXITS, LAST


class Learning(NamedTuple):
    """Indices of the segments and exits that learn."""

    segments: range
    exits: range

    def weights(self, weights: Sequence[float]) -> tuple[float, ...]:
        """Those of the loss: an exit that does not learn has none."""
        return tuple(w if index in self.exits else 0.0 for index, w in enumerate(weights))


def learning(learns: str, exit_count: int) -> Learning:
    """What `learns`, one of `recipe.LEARNS`, means for a network with so many exits. Raises
    ConfigError for the early exits of a network that has none."""
    last = exit_count - 1
    if learns == EXITS and not last:
        raise ConfigError(
            f"learns: found {EXITS!r}, and a network of one exit; expected a network with early "
            f"exits, or {ALL!r}"
        )
    return {
        ALL: Learning(range(exit_count), range(exit_count)),
        BACKBONE: Learning(range(exit_count), range(last, exit_count)),
        EXITS: Learning(range(0), range(last)),
        LAST: Learning(range(last, exit_count), range(last, exit_count)),
    }[learns]


def freeze_others(network: ExitNetwork, chosen: Learning) -> list[nn.Module]:
    """Let only what is chosen learn; the modules that do not, for evaluation mode.

    Raises ConfigError for a network that is not made of segments and exits.
    """
    if not isinstance(network, MultiExit):
        raise ConfigError(
            f"learns: found a {type(network).__name__}, whose parts learn together; expected a "
            f"network of segments and exits, or {ALL!r}"
        )
    frozen: list[nn.Module] = []
    for modules, indices in ((network.segments, chosen.segments), (network.exits, chosen.exits)):
        for index, module in enumerate(modules):
            if index not in indices:
                frozen.append(module.requires_grad_(False))
    return frozen
