"""The policies of DistrEE's Table II."""

from ...core.exits import (
    DISTREE_DIFFERENCE,
    CosineDifference,
    ExitPolicy,
    FinalExit,
    NeighbourSimilarity,
    RandomExit,
)


def paper_policies(exit_count: int) -> dict[str, ExitPolicy]:
    """The rows of the table, by name, that fit so many exits: thresholds are printed for seven."""
    printed: dict[str, ExitPolicy] = {
        "final": FinalExit(),
        "difference": CosineDifference(),
        "random": RandomExit(),
        "similarity": NeighbourSimilarity(),
    }
    fits_all = exit_count == len(DISTREE_DIFFERENCE)
    return {name: policy for name, policy in printed.items() if fits_all or not policy.needs}
