"""What a bundle contains, as plain values: segments, exits, stages, plans, parts.

A *segment* is the layers between two neighbouring trained exits; exit i follows segment i, so a
part has as many exits as segments and its last exit is the final one. A *plan* groups segments
into *stages*, the units that are executed, placed and sent.
"""

from typing import Dict, NamedTuple, Optional, Tuple

from ..errors import BundleError
from .tensor import AXES_MAX, AXIS_MAX

FULL_PLAN = "full"  # one stage per segment; every part has it


class Segment(NamedTuple):
    """Shapes are per sample, without the batch axis."""

    input_shape: Tuple[int, ...]
    output_shape: Tuple[int, ...]
    multiply_adds: int


class Exit(NamedTuple):
    """What stands behind a segment. `kind` is "fused" (a classifier: an .npz for
    `kernels.exit_head`), "graph" (one in an ONNX file, from the segment's output to logits) or
    "feature" (an ensemble's: an .npz for `kernels.exit_feature`)."""

    kind: str
    file: str
    multiply_adds: int


class Stage(NamedTuple):
    """Segments `first_segment`..`last_segment` as one executable file; `exit_index` is the trained
    exit evaluated behind it, or None."""

    first_segment: int
    last_segment: int
    exit_index: Optional[int]
    file: str


class Plan(NamedTuple):
    """Stages that cover every segment of a part once, in order."""

    name: str
    stages: Tuple[Stage, ...]

    @property
    def exit_indices(self) -> Tuple[int, ...]:
        """The trained exits that this plan evaluates, the final one last."""
        return tuple(stage.exit_index for stage in self.stages if stage.exit_index is not None)


class Classifier(NamedTuple):
    """What makes one answer of an ensemble's features (DistrEE, Fig. 1): `file` is an .npz with
    weight [N, P D], bias [N] and missing [P, D], which stands in for a part that is not there.
    `feature_size` is D."""

    file: str
    feature_size: int
    multiply_adds: int


class Bottleneck(NamedTuple):
    """A trained way to make features small where they travel (MDI-Exit, section V): `encoder` and
    `decoder` are files, from what segment `border` takes to a code of `code_shape`, and back."""

    border: int
    encoder: str
    decoder: str
    code_shape: Tuple[int, ...]
    encoder_multiply_adds: int
    decoder_multiply_adds: int


class Part(NamedTuple):
    """One cascade: a plain network has one part, an ensemble one per student."""

    name: str
    segments: Tuple[Segment, ...]
    exits: Tuple[Exit, ...]
    plans: Dict[str, Plan]
    bottlenecks: Tuple[Bottleneck, ...] = ()

    def bottleneck_before(self, stage: Stage) -> Optional[Bottleneck]:
        """The one that what `stage` takes may travel through; None where there is none."""
        found = [each for each in self.bottlenecks if each.border == stage.first_segment]
        return found[0] if found else None

    def multiply_adds_until(self, exit_index: int, evaluated: Tuple[int, ...]) -> int:
        """Multiply-adds of an item that leaves at `exit_index`, heads in `evaluated` included."""
        backbone = sum(segment.multiply_adds for segment in self.segments[: exit_index + 1])
        heads = sum(self.exits[i].multiply_adds for i in evaluated if i <= exit_index)
        return backbone + heads


def check_part(part: Part, where: str) -> None:
    """Raise BundleError, naming the manifest path, unless `part` can be run.

    Neighbouring segments must agree on their shapes, and each plan must cover every segment once,
    in order, and end with the final exit.
    """
    if len(part.exits) != len(part.segments) or not part.segments:
        raise BundleError(
            "{}: found {} segments and {} exits; expected at least one segment and one exit behind "
            "each".format(where, len(part.segments), len(part.exits))
        )
    for index in range(1, len(part.segments)):
        found, expected = part.segments[index].input_shape, part.segments[index - 1].output_shape
        if found != expected:
            raise BundleError(
                "{}.segments[{}].input_shape: found {}, expected {}, the output of the segment "
                "before".format(where, index, list(found), list(expected))
            )
    _check_borders(part, where)
    if FULL_PLAN not in part.plans:
        raise BundleError('{}.plans: expected a plan named "{}"'.format(where, FULL_PLAN))
    for name in part.plans:
        _check_plan(part.plans[name], len(part.segments), "{}.plans.{}".format(where, name))
    found = part.plans[FULL_PLAN].exit_indices
    if found != tuple(range(len(part.segments))):
        raise BundleError(
            "{}.plans.{}: found the exits {}, expected one stage and exit per segment".format(
                where, FULL_PLAN, list(found)
            )
        )


def _check_borders(part: Part, where: str) -> None:
    borders = [each.border for each in part.bottlenecks]
    if len(set(borders)) < len(borders) or not all(0 < b < len(part.segments) for b in borders):
        raise BundleError(
            "{}.bottlenecks: found the borders {}, expected different ones from 1 to {}, a segment "
            "that takes features".format(where, borders, len(part.segments) - 1)
        )
    for index, each in enumerate(part.bottlenecks):
        code, features = each.code_shape, part.segments[each.border].input_shape
        if len(code) > AXES_MAX or max(code) > AXIS_MAX or _size(code) >= _size(features):
            raise BundleError(
                "{}.bottlenecks[{}].code_shape: found {}, expected fewer values than the {} of the "
                "features {}, in at most {} axes".format(
                    where, index, list(code), _size(features), list(features), AXES_MAX
                )
            )


def _size(shape: Tuple[int, ...]) -> int:
    count = 1
    for axis in shape:
        count *= axis
    return count


def _check_plan(plan: Plan, segment_count: int, where: str) -> None:
    next_segment = 0
    for index, stage in enumerate(plan.stages):
        here = "{}.stages[{}]".format(where, index)
        if stage.first_segment != next_segment or stage.last_segment < stage.first_segment:
            raise BundleError(
                "{}: covers segments {}..{}, expected it to begin at segment {}".format(
                    here, stage.first_segment, stage.last_segment, next_segment
                )
            )
        if stage.exit_index not in (None, stage.last_segment):
            raise BundleError(
                "{}.exit: found {}, expected {} (the exit behind its last segment) or null".format(
                    here, stage.exit_index, stage.last_segment
                )
            )
        next_segment = stage.last_segment + 1
    if next_segment != segment_count or plan.stages[-1].exit_index is None:
        raise BundleError(
            "{}: ends after segment {}, expected all {} segments and the final exit".format(
                where, next_segment - 1, segment_count
            )
        )


class Preprocessing(NamedTuple):
    """How a uint8 camera frame becomes the model's float32 [C,H,W] input.

    `color` is "gray" (C = 1), "rgb" or "bgr" (C = 3). `resize` is "refuse", "area" or "bilinear";
    `crop` is "none" or "center" (cut to the input's aspect ratio before resizing). `mean` and
    `std` hold one value per channel, for pixels scaled to 0..1.
    """

    color: str
    height: int
    width: int
    resize: str
    crop: str
    mean: Tuple[float, ...]
    std: Tuple[float, ...]

    @property
    def shape(self) -> Tuple[int, int, int]:
        """(C, H, W) of the model input."""
        return (1 if self.color == "gray" else 3, self.height, self.width)
