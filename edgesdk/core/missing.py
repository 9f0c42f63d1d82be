"""Of an ensemble: the stages that nobody holds, and since when. What is missing for long is not
waited for: the other students answer without it."""

from typing import Collection, Dict, Tuple

MISSING_US = 2_000_000  # a worker that starts again needs less, as a rule
StagePlace = Tuple[int, int]  # (part, stage)


class Missing:
    """False while every one of `stages` is held by somebody, as far as it was looked."""

    def __init__(self, stages: Collection[StagePlace]) -> None:
        self._stages = stages
        self._since_us: Dict[StagePlace, int] = {}

    def look(self, held: Collection[StagePlace], now_us: int) -> None:
        """Somebody holds `held` now, and nobody anything else."""
        self._since_us = {
            stage: self._since_us.get(stage, now_us) for stage in self._stages if stage not in held
        }

    def is_given_up(self, stage: StagePlace, now_us: int) -> bool:
        """Whether it has been missing for so long that nobody waits for it."""
        return now_us - self._since_us.get(stage, now_us) >= MISSING_US

    def __bool__(self) -> bool:
        return bool(self._since_us)
