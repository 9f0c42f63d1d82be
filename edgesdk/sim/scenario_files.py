"""The table [model] of a scenario that names files: a bundle, its times, and recorded answers.

A plain network's answers are outcomes, an ensemble's are features.
"""

import os
from random import Random
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..bundle import Bundle, read_bundle
from ..core.events import Scores
from ..core.exits import ExitPolicy, make_policy
from ..core.spec import FULL_PLAN, Plan
from ..core.spec import Part as BundlePart
from ..core.tensor import CODE_ITEM_BYTES, LEARNED
from ..errors import ConfigError
from ..features import Features, check_belongs, outcomes_alone, read_features
from ..manifest import Manifest, check_policy
from ..outcomes import Outcomes, read_outcomes
from ..profiles import Profile, read_profile
from ..schema import Field
from .spec import Image, Model, Part

KEYS = ["bundle", "plan", "policy", "profile", "multiply_adds_per_us", "outcomes", "features"]
KEYS += ["batch_share", "codec"]
FLOAT_BYTES = 4
# What features travel by, and the bytes of a value then; LEARNED: bottlenecks, where there are any.
CODEC_BYTES = {"raw": FLOAT_BYTES, "float16": 2, "uint8": 1, LEARNED: FLOAT_BYTES}
SPLIT = "test"
SEED = 0  # of the order of the images


def model_from_files(field: Field, folder: str) -> Model:
    """The network or the ensemble that the table names. File names are relative to `folder`.

    Raises ConfigError or BundleError.
    """
    bundle = read_bundle(_path(field.only(KEYS).get("bundle"), folder))
    manifest = bundle.manifest
    plan_name = _plan_name(field, manifest)
    policy = _bundle_policy(field, manifest)
    try:
        check_policy(manifest, policy, plan_name)
    except ConfigError as error:
        raise ConfigError("{}.{}".format(field.path, error)) from None
    times_us, measured_share = _times(field, folder, manifest, plan_name)
    codec_field = field.optional("codec")
    codec = "raw" if codec_field is None else codec_field.choice(sorted(CODEC_BYTES))
    parts = []
    for part, stage_us in zip(manifest.parts, times_us):
        plan = part.plans[plan_name]
        _check_stages(field, plan, stage_us)
        sizes = _sizes(part, plan, compared_bytes(manifest, policy), codec)
        coding_us = _coding_us(part, plan, stage_us) if codec == LEARNED else ()
        rounded = tuple(max(1, round(us)) for us in stage_us)
        parts.append(Part(plan.exit_indices, rounded, sizes, *coding_us))
    images, features = _answers(field, folder, bundle)
    share = batch_share(field)
    return Model(tuple(parts), images, policy, measured_share if share is None else share, features)


def batch_share(field: Field) -> Optional[float]:
    """What the table says a further item of a batch costs, or None."""
    share = field.optional("batch_share")
    return None if share is None else share.number(above=0, maximum=1)


def inline_policy(field: Field) -> ExitPolicy:
    """The policy that a table describes."""
    if not isinstance(field.value, dict):
        raise field.fail('a table such as {kind = "max_probability", thresholds = 0.8}')
    return make_policy(field.value, field.path)


def _path(field: Field, folder: str) -> str:
    return os.path.join(folder, field.text())


# --- plan and policy ------------------------------------------------------------------------------


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
    return inline_policy(policy)


# --- stages ---------------------------------------------------------------------------------------


def _check_stages(field: Field, plan: Plan, stage_us: Sequence[float]) -> None:
    if len(plan.exit_indices) != len(plan.stages):
        raise ConfigError(
            "{}: plan {!r} has stages without an exit; expected one behind each".format(
                field.path, plan.name
            )
        )
    if len(stage_us) != len(plan.stages):
        raise ConfigError(
            "{}.profile: found times of {} stages of plan {!r}, expected {}".format(
                field.path, len(stage_us), plan.name, len(plan.stages)
            )
        )


def _sizes(part: BundlePart, plan: Plan, compared_bytes: int, codec: str) -> Tuple[int, ...]:
    """What travels to each stage, with the vector that the policy compares with beside features."""
    sizes = []
    for index, stage in enumerate(plan.stages):
        shape, item_bytes = part.segments[stage.first_segment].input_shape, CODEC_BYTES[codec]
        bottleneck = part.bottleneck_before(stage) if codec == LEARNED else None
        if bottleneck is not None:
            shape, item_bytes = bottleneck.code_shape, CODE_ITEM_BYTES
        sizes.append(item_bytes * int(np.prod(shape)) + (compared_bytes if index else 0))
    return tuple(sizes)


def _coding_us(
    part: BundlePart, plan: Plan, stage_us: Sequence[float]
) -> Tuple[Tuple[int, ...], ...]:
    """What encoders and decoders take: as much for a multiply-add as the stages do together."""
    us_per_count = sum(stage_us) / max(1, sum(_multiply_adds(part, plan)))
    pairs = []
    for stage in plan.stages:
        found = part.bottleneck_before(stage)
        counts = (0, 0) if found is None else found[-2:]
        pairs.append([round(count * us_per_count) for count in counts])
    encode_us, decode_us = zip(*pairs)
    return encode_us, decode_us


def compared_bytes(manifest: Manifest, policy: ExitPolicy) -> int:
    """What travels beside features: the vector that the policy compares with, if it does."""
    classifier = manifest.classifier
    size = len(manifest.labels) if classifier is None else classifier.feature_size
    return FLOAT_BYTES * size if policy.needs else 0


def _times(
    field: Field, folder: str, manifest: Manifest, plan: str
) -> Tuple[List[List[float]], float]:
    """Of every part the times of its stages, and what a further item of a batch costs."""
    speed = field.optional("multiply_adds_per_us")
    if speed is None:
        profile = read_profile(_path(field.get("profile"), folder), manifest.model_id)
        parts = range(len(manifest.parts))
        times = [[time.total_us for time in profile.stage_times(plan, 1, p)] for p in parts]
        return times, _measured_batch_share(profile, plan, parts)
    if field.optional("profile") is not None:
        raise speed.fail("no multiply_adds_per_us beside a profile")
    per_us = speed.number(above=0)
    return [
        [count / per_us for count in _multiply_adds(part, part.plans[plan])]
        for part in manifest.parts
    ], 1.0


def _multiply_adds(part: BundlePart, plan: Plan) -> List[int]:
    """Of each stage, those of its exit included."""
    found = []
    for stage in plan.stages:
        segments = part.segments[stage.first_segment : stage.last_segment + 1]
        count = sum(segment.multiply_adds for segment in segments)
        if stage.exit_index is not None:
            count += part.exits[stage.exit_index].multiply_adds
        found.append(count)
    return found


def _measured_batch_share(profile: Profile, plan: str, parts: Sequence[int]) -> float:
    """From the largest batch in the profile: what each further item costs, 1 for no batches."""
    largest = max(time.batch for time in profile.stages if time.plan == plan)
    if largest == 1:
        return 1.0
    one, many = [
        sum(time.total_us for part in parts for time in profile.stage_times(plan, batch, part))
        for batch in (1, largest)
    ]
    return min(max((many / one - 1) / (largest - 1), 0.001), 1.0)


# --- answers --------------------------------------------------------------------------------------


def _answers(
    field: Field, folder: str, bundle: Bundle
) -> Tuple[Tuple[Image, ...], Optional[Features]]:
    """Images in an order that has nothing to do with their classes: data sets are often sorted by
    class, and a short run would meet only the first."""
    outcomes, features = field.optional("outcomes"), field.optional("features")
    if bundle.manifest.classifier is None:
        if features is not None:
            raise features.fail("outcomes instead, for the bundle is a plain network")
        path = _path(field.get("outcomes"), folder)
        images = images_of([read_outcomes(path, bundle.manifest.model_id).select(SPLIT)])
        return tuple(Random(SEED).sample(images, len(images))), None
    if outcomes is not None:
        raise outcomes.fail("features instead, for the bundle is an ensemble")
    path = _path(field.get("features"), folder)
    found = read_features(path)
    check_belongs(found, bundle, path)
    found = found.select(SPLIT)
    count = len(found.label)
    found = found.take(np.array(Random(SEED).sample(range(count), count)))
    return images_of(outcomes_alone(found)), found


def images_of(outcomes: Sequence[Outcomes]) -> Tuple[Image, ...]:
    """What every exit says about each image, from the outcomes of each part."""
    scores = zip(*[_scores(each) for each in outcomes])
    return tuple(map(Image, outcomes[0].label.tolist(), scores))


def _scores(outcomes: Outcomes) -> List[Tuple[Scores, ...]]:
    columns = [
        getattr(outcomes, "prediction" if name == "class_index" else name).tolist()
        for name in Scores._fields
    ]
    return [tuple(map(Scores, *rows)) for rows in zip(*columns)]
