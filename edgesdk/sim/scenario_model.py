"""The table [model] of a scenario: a network from its files, or from a few numbers."""

import math
import os
from random import Random
from typing import List, Optional, Sequence, Tuple

from ..bundle import read_plain_bundle
from ..core.events import NAN, Scores
from ..core.exits import ExitPolicy, make_policy
from ..core.spec import FULL_PLAN
from ..errors import ConfigError
from ..manifest import Manifest
from ..outcomes import Outcomes, read_outcomes
from ..profiles import Profile, StageTime, read_profile
from ..schema import Field
from .spec import Image, Model

FROM_FILES = ("bundle", "plan", "policy", "profile", "outcomes", "batch_share")
FROM_NUMBERS = (
    "exit_indices",
    "stage_us",
    "feature_bytes",
    "policy",
    "exit_shares",
    "shares_threshold",
    "exit_accuracy",
    "image_count",
    "batch_share",
)
FLOAT_BYTES = 4
SPLIT = "test"

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
        return _from_files(field.only(FROM_FILES), folder)
    return _from_numbers(field.only(FROM_NUMBERS))


def _batch_share(field: Field) -> Optional[float]:
    share = field.optional("batch_share")
    return None if share is None else share.number(above=0, maximum=1)


# --- from files -----------------------------------------------------------------------------------


def _from_files(field: Field, folder: str) -> Model:
    manifest = read_plain_bundle(_path(field.get("bundle"), folder)).manifest
    part = manifest.parts[0]
    plan_name = _plan_name(field, manifest)
    plan = part.plans[plan_name]
    if len(plan.exit_indices) != len(plan.stages):
        raise ConfigError(
            "{}: plan {!r} has stages without an exit; expected one behind each".format(
                field.path, plan_name
            )
        )
    policy = _bundle_policy(field, manifest)
    _check_policy(policy, len(part.exits), plan.exit_indices, field)
    profile = read_profile(_path(field.get("profile"), folder), manifest.model_id)
    outcomes = read_outcomes(_path(field.get("outcomes"), folder), manifest.model_id)
    stage_us = [_total_us(time) for time in profile.stage_times(plan_name)]
    if len(stage_us) != len(plan.stages):
        raise ConfigError(
            "{}.profile: found times of {} stages of plan {!r}, expected {}".format(
                field.path, len(stage_us), plan_name, len(plan.stages)
            )
        )
    shapes = [part.segments[stage.first_segment].input_shape for stage in plan.stages]
    share = _batch_share(field)
    return Model(
        plan.exit_indices,
        tuple(max(1, round(us)) for us in stage_us),
        tuple(_size(shape) * FLOAT_BYTES for shape in shapes),
        _shuffled(images_of(outcomes.select(SPLIT))),
        policy,
        _measured_batch_share(profile, plan_name) if share is None else share,
    )


def _path(field: Field, folder: str) -> str:
    return os.path.join(folder, field.text())


def _plan_name(field: Field, manifest: Manifest) -> str:
    """The plan asked for, or the one a policy of the bundle was calibrated for, or the full one."""
    plans = sorted(manifest.parts[0].plans)
    named, policy = field.optional("plan"), field.optional("policy")
    if named is not None:
        return named.choice(plans)
    name = manifest.default_policy if policy is None else policy.value
    if isinstance(name, str):
        entry = manifest.document["policies"].get(name, {})
        return str(entry.get("plan", FULL_PLAN))
    return FULL_PLAN


def _bundle_policy(field: Field, manifest: Manifest) -> ExitPolicy:
    policy = field.optional("policy")
    if policy is None:
        return manifest.policies[manifest.default_policy]
    if isinstance(policy.value, str):
        if policy.value == "final" and "final" not in manifest.policies:
            return make_policy({"kind": "final"})
        return manifest.policies[policy.choice(sorted(manifest.policies))]
    return _inline_policy(policy)


def _inline_policy(policy: Field) -> ExitPolicy:
    if not isinstance(policy.value, dict):
        raise policy.fail('a table such as {kind = "max_probability", thresholds = 0.8}')
    return make_policy(policy.value, policy.path)


def _check_policy(
    policy: ExitPolicy, exit_count: int, exit_indices: Sequence[int], field: Field
) -> None:
    try:
        policy.check(exit_count, exit_indices)
    except ConfigError as error:
        raise ConfigError("{}.{}".format(field.path, error)) from None


def _total_us(time: StageTime) -> float:
    return time.p50_us + (time.head_p50_us or 0.0)


def _measured_batch_share(profile: Profile, plan: str) -> float:
    """From the largest batch in the profile: what each further item costs, 1 for no batches."""
    largest = max(time.batch for time in profile.stages if time.plan == plan)
    if largest == 1:
        return 1.0
    one = sum(_total_us(time) for time in profile.stage_times(plan))
    many = sum(_total_us(time) for time in profile.stage_times(plan, largest))
    return min(max((many / one - 1) / (largest - 1), 0.001), 1.0)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for dimension in shape:
        size *= dimension
    return size


def _shuffled(images: Sequence[Image]) -> Tuple[Image, ...]:
    """Data sets are often sorted by class: a short run would meet only the first classes."""
    return tuple(Random(SEED).sample(images, len(images)))


def images_of(outcomes: Outcomes) -> Tuple[Image, ...]:
    """What every exit says about each image of `outcomes`."""
    columns = [
        getattr(outcomes, "prediction" if name == "class_index" else name).tolist()
        for name in Scores._fields
    ]
    return tuple(
        Image(label, tuple(Scores(*exit_scores) for exit_scores in zip(*rows)))
        for label, rows in zip(outcomes.label.tolist(), zip(*columns))
    )


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
    policy = _inline_policy(policy_field)
    if policy.kind not in SYNTHETIC_POLICIES:
        raise policy_field.get("kind").fail(
            "one of {}; images made of exit_shares have no other scores: name a bundle, a profile "
            "and outcomes instead".format(", ".join(SYNTHETIC_POLICIES))
        )
    _check_policy(policy, exit_indices[-1] + 1, exit_indices, field)
    share = _batch_share(field)
    return Model(
        exit_indices,
        stage_us,
        feature_bytes,
        _images(field, exit_indices),
        policy,
        1.0 if share is None else share,
    )


def _list(field: Field, key: str, count: int) -> List[Field]:
    items = field.get(key).items()
    if len(items) != count:
        raise field.get(key).fail("{} values, one per entry of stage_us".format(count))
    return items


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
        images.append(Image(label, tuple(scores)))
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
