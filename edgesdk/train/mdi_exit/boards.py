"""A network on a board that is not there: times of its stages, and what travels between them.

The board is declared by one number, how long it takes for one image without early exits. Stages
have their share of that by multiply-adds, or by a profile that was measured.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, Optional

import numpy as np

from ...bundle import Bundle
from ...core.spec import FULL_PLAN
from ...core.tensor import CODE_ITEM_BYTES, LEARNED
from ...errors import ConfigError
from ...outcomes import Outcomes
from ...profiles import Profile
from ...sim.spec import Part

FLOAT_BYTES = 4
CODE_BORDER = 1  # the paper's auto-encoder stands behind the first exit


class Code(NamedTuple):
    """What travels to stage 1 instead of the feature: its bytes, what making and undoing it take,
    and whether the bundle has it or it is only declared. `lost_points`: of accuracy, by the
    bundle's calibration, None where that was not measured."""

    byte_count: int
    encode_us: float
    decode_us: float
    is_trained: bool
    lost_points: Optional[float] = None


class Board(NamedTuple):
    """Times of each stage and of the exit behind it in us; `feature_bytes` of what travels to each
    stage, the image first; `origin` says where the shares of the stages are from, `code` None where
    the feature is not larger than it."""

    stage_us: tuple[float, ...]
    head_us: tuple[float, ...]
    feature_bytes: tuple[int, ...]
    origin: str
    code: Optional[Code]

    @property
    def whole_us(self) -> float:
        """One image without early exits."""
        return sum(self.stage_us) + self.head_us[-1]

    def part(self, with_exits: bool, coded: bool, image_bytes: Optional[int] = None) -> Part:
        """As the simulator takes it; without exits no early head is computed. `image_bytes`: of
        the input, where it travels compressed."""
        last = len(self.stage_us) - 1
        times = tuple(
            max(1, round(stage + (head if with_exits or index == last else 0)))
            for index, (stage, head) in enumerate(zip(self.stage_us, self.head_us))
        )
        sizes = list(self.feature_bytes)
        if image_bytes is not None:
            sizes[0] = image_bytes
        encode_us, decode_us = [0] * (last + 1), [0] * (last + 1)
        if coded and self.code is not None:
            sizes[CODE_BORDER] = self.code.byte_count
            encode_us[CODE_BORDER] = round(self.code.encode_us)
            decode_us[CODE_BORDER] = round(self.code.decode_us)
        exits = tuple(range(last + 1))
        return Part(exits, times, tuple(sizes), tuple(encode_us), tuple(decode_us))

    def most_per_s(self, test: Outcomes, threshold: Optional[float], node_count: float) -> float:
        """min(1/t_0, N/m) with the images of `test`, None: without early exits. It is where
        admission begins, and what a fleet that must not begin its images itself may exceed."""
        part = self.part(threshold is not None, coded=False)
        until_us = np.cumsum(part.stage_us)
        mean_us = until_us[exits_at(test, threshold)].mean()
        return float(min(1e6 / part.stage_us[0], node_count * 1e6 / mean_us))


def exits_at(test: Outcomes, threshold: Optional[float]) -> np.ndarray:
    """int64 [n]: where each image leaves; None: nowhere but at the end."""
    last = test.exit_count - 1
    if threshold is None:
        return np.full(test.image_count, last)
    leaves = test.max_probability > threshold
    leaves[:, last] = True
    return leaves.argmax(axis=1)


def board_of(
    bundle: Bundle, whole_us: float, code_bytes: int, profile: Optional[Profile] = None
) -> Board:
    """`bundle` on a board that takes `whole_us` for an image. `code_bytes`: of the feature behind
    the first exit, when an auto-encoder that the bundle does not have made it small.

    Raises ConfigError for a network of one exit, which nothing can be said about.
    """
    part = bundle.manifest.parts[0]
    if len(part.exits) < 2:
        raise ConfigError(f"{bundle.path}: found one exit, expected at least two")
    if profile is None:
        stages: Sequence[float] = [segment.multiply_adds for segment in part.segments]
        heads: Sequence[float] = [each.multiply_adds for each in part.exits]
        origin = "their multiply-adds"
    else:
        times = profile.stage_times(FULL_PLAN)
        stages, heads = [t.p50_us for t in times], [t.head_p50_us or 0.0 for t in times]
        origin = f"a profile of {profile.device}"
    scale = whole_us / (sum(stages) + heads[-1])
    sizes = tuple(FLOAT_BYTES * prod(segment.input_shape) for segment in part.segments)
    return Board(
        tuple(each * scale for each in stages),
        tuple(each * scale for each in heads),
        sizes,
        origin,
        _code(bundle, whole_us, code_bytes, sizes[CODE_BORDER]),
    )


def _code(bundle: Bundle, whole_us: float, code_bytes: int, feature_bytes: int) -> Optional[Code]:
    part = bundle.manifest.parts[0]
    for each in part.bottlenecks:
        if each.border == CODE_BORDER:
            every = sum(segment.multiply_adds for segment in part.segments)
            us = whole_us / (every + part.exits[-1].multiply_adds)
            encode, decode = each.encoder_multiply_adds, each.decoder_multiply_adds
            byte_count = CODE_ITEM_BYTES * prod(each.code_shape)
            measured = bundle.manifest.document.get("codecs", {}).get(LEARNED, {})
            lost = measured.get("lost_points")
            return Code(byte_count, encode * us, decode * us, True, lost)
    return Code(code_bytes, 0.0, 0.0, False) if code_bytes < feature_bytes else None
