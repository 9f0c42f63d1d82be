"""The table [model] of a scenario: a network from its files, or from a few numbers."""

import math
from random import Random
from typing import List, Sequence, Tuple

from ..core.events import NAN, Scores
from ..errors import ConfigError
from ..schema import Field
from .scenario_files import batch_share, inline_policy, model_from_files
from .spec import Image, Model, Part

FROM_NUMBERS = (
    "exit_indices",
    "stage_us",
    "feature_bytes",
    "encode_us",
    "decode_us",
    "policy",
    "exit_shares",
    "shares_threshold",
    "exit_accuracy",
    "image_count",
    "batch_share",
)

# Synthetic images. The policies that can read them; the seed and number of the images; the least
# max probability that ten classes allow; the share of images whose easiness decides both how sure
# exits are and whether they are right (for the others the two have nothing to do with each other).
SYNTHETIC_POLICIES = ("final", "fixed", "random", "max_probability")
SEED = 0
IMAGE_COUNT = 2000
SHARES_THRESHOLD = 0.8
CLASS_COUNT = 10
SURE_MEANS_RIGHT = 0.9


def read_model(field: Field, folder: str) -> Model:
    """The network that the table describes. File names are relative to `folder`.

    Raises ConfigError or BundleError.
    """
    if field.optional("bundle") is not None:
        return model_from_files(field, folder)
    return _from_numbers(field.only(FROM_NUMBERS))


# --- from numbers ---------------------------------------------------------------------------------


def _from_numbers(field: Field) -> Model:
    stage_us = tuple(max(1, round(item.number(above=0))) for item in field.get("stage_us").items(1))
    stage_count = len(stage_us)
    feature_bytes = tuple(item.whole() for item in _list(field, "feature_bytes", stage_count))
    indices = field.optional("exit_indices")
    exit_indices = tuple(range(stage_count))
    if indices is not None:
        _list(field, "exit_indices", stage_count)
        exit_indices = indices.rising()
    policy_field = field.get("policy")
    policy = inline_policy(policy_field)
    if policy.kind not in SYNTHETIC_POLICIES:
        raise policy_field.get("kind").fail(
            "one of {}; images made of exit_shares have no other scores: name a bundle, a profile "
            "and outcomes instead".format(", ".join(SYNTHETIC_POLICIES))
        )
    try:
        policy.check(exit_indices[-1] + 1, exit_indices)
    except ConfigError as error:
        raise ConfigError("{}.{}".format(field.path, error)) from None
    share = batch_share(field)
    return Model(
        (Part(exit_indices, stage_us, feature_bytes, *_coding_us(field, stage_count)),),
        _images(field, exit_indices),
        policy,
        1.0 if share is None else share,
    )


def _list(field: Field, key: str, count: int) -> List[Field]:
    items = field.get(key).items()
    if len(items) != count:
        raise field.get(key).fail("{} values, one per entry of stage_us".format(count))
    return items


def _coding_us(field: Field, count: int) -> List[Tuple[int, ...]]:
    """encode_us and decode_us, which may be left out."""
    return [
        ()
        if field.optional(key) is None
        else tuple(round(item.number(minimum=0)) for item in _list(field, key, count))
        for key in ("encode_us", "decode_us")
    ]


def _images(field: Field, exit_indices: Sequence[int]) -> Tuple[Image, ...]:
    count = len(exit_indices)
    shares = [item.number(0, 1) for item in _list(field, "exit_shares", count)]
    if abs(sum(shares) - 1) > 1e-6:
        raise field.get("exit_shares").fail("shares that add up to 1, not {:g}".format(sum(shares)))
    accuracy = [item.number(0, 1) for item in _list(field, "exit_accuracy", count)]
    threshold, image_count = field.optional("shares_threshold"), field.optional("image_count")
    value = SHARES_THRESHOLD if threshold is None else threshold.number()
    if threshold is not None and not 1 / CLASS_COUNT < value < 1:
        raise threshold.fail("a number above {} and below 1".format(1 / CLASS_COUNT))
    return synthetic_images(
        exit_indices,
        shares,
        accuracy,
        value,
        IMAGE_COUNT if image_count is None else image_count.whole(1),
    )


def synthetic_images(
    exit_indices: Sequence[int],
    exit_shares: Sequence[float],
    exit_accuracy: Sequence[float],
    threshold: float,
    image_count: int,
) -> Tuple[Image, ...]:
    """Images of which `exit_shares` leave at each exit under MaxProbability(`threshold`), and about
    which each exit is right as often as `exit_accuracy` says (of all images, not of those that
    leave there).

    Images are ranked from easy to hard. An exit is the surer the easier the image, so that a
    lower threshold lets more leave, and an exit where nobody leaves is never sure. Exits that are
    off have the scores of nobody.
    """
    rng = Random(SEED)
    hardness = [(rank + 0.5) / image_count for rank in range(image_count)]
    rng.shuffle(hardness)
    rightness = _partly_shuffled(hardness, rng)
    powers, left = [], 0.0
    for share in exit_shares:
        left = min(1.0, left + share)
        powers.append(_power(left, threshold))
    by_exit = dict(zip(exit_indices, zip(powers, exit_accuracy)))
    images = []
    for hard, wrong in zip(hardness, rightness):
        label = rng.randrange(CLASS_COUNT)
        scores = []
        for exit_index in range(exit_indices[-1] + 1):
            power, accuracy = by_exit.get(exit_index, (math.inf, 0.0))
            answer = label if wrong < accuracy else (label + 1) % CLASS_COUNT
            scores.append(Scores(answer, _max_probability(hard, power), NAN, NAN))
        images.append(Image(label, (tuple(scores),)))
    return tuple(images)


def _power(left: float, threshold: float) -> float:
    """The power of easiness at which the share `left` of the images exceeds `threshold`."""
    if left <= 0:
        return math.inf
    if left >= 1:
        return 0.0
    lowest = 1 / CLASS_COUNT
    return math.log((threshold - lowest) / (1 - lowest)) / math.log(1 - left)


def _max_probability(hardness: float, power: float) -> float:
    return 1 / CLASS_COUNT + (1 - 1 / CLASS_COUNT) * (1 - hardness) ** power


def _partly_shuffled(values: Sequence[float], rng: Random) -> List[float]:
    """The same values, SURE_MEANS_RIGHT of them where they were."""
    result = list(values)
    places = [i for i in range(len(values)) if rng.random() >= SURE_MEANS_RIGHT]
    moved = list(places)
    rng.shuffle(moved)
    for place, origin in zip(places, moved):
        result[place] = values[origin]
    return result
