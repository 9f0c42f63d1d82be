"""The manifest of a bundle: from its JSON document to checked values, and its identities.

Nothing here touches a file. `engines/README.md` describes every field.
"""

import hashlib
import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .core.exits import ExitPolicy, make_policy
from .core.spec import (
    FULL_PLAN,
    Bottleneck,
    Classifier,
    Exit,
    Part,
    Plan,
    Preprocessing,
    Segment,
    Stage,
    check_part,
)
from .core.tensor import LOSING_CODECS
from .errors import BundleError, ConfigError
from .schema import Field

FORMAT = "edgesdk-bundle"
FORMAT_VERSION = 1
FEATURE = "feature"
HEAD_KINDS = ("fused", "graph", FEATURE)
# The whole network up to the final exit's logits. No plan uses it; benches compare with it.
UNCUT_FILE = "onnx/uncut.onnx"
# No name begins with a dot, so none leaves the bundle; these characters are safe on every system.
FILE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class Manifest(NamedTuple):
    """A checked manifest. `classifier` makes one answer of an ensemble's parts; a plain network has
    one part and none. `document` is what was read, unknown keys included."""

    name: str
    labels: Tuple[str, ...]
    preprocessing: Preprocessing
    parts: Tuple[Part, ...]
    classifier: Optional[Classifier]
    policies: Dict[str, ExitPolicy]
    default_policy: str
    model_id: str
    document: Dict[str, Any]

    @property
    def exit_count(self) -> int:
        """Trained exits of the deepest part."""
        return max(len(part.exits) for part in self.parts)


def parse_manifest(document: Dict[str, Any]) -> Manifest:
    """Check `document` and return its values.

    Raises BundleError that begins with the path of the wrong field.
    """
    root = Field(document, "", BundleError)
    _check_format(root)
    manifest = Manifest(
        name=root.get("name").text(),
        labels=tuple(label.text() for label in root.get("labels").items(1)),
        preprocessing=_read_preprocessing(root.get("preprocessing")),
        parts=_read_parts(root),
        classifier=_read_classifier(root.optional("classifier")),
        policies={key: _read_policy(field) for key, field in root.get("policies").entries()},
        default_policy=root.get("default_policy").text(),
        model_id=root.get("model_id").text(),
        document=document,
    )
    _check_files(root.get("files"))
    _read_codecs(root)
    _check_references(manifest, root)
    return manifest


def complete_manifest(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Dict[str, Any]:
    """`manifest` with what is derived from it and from the contents of `files`: format,
    format_version, files, model_id. It still has to be checked by `parse_manifest`.

    Raises BundleError if `manifest` holds what JSON cannot.
    """
    complete: Dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
    try:
        complete.update(json.loads(json.dumps(manifest)))
    except (TypeError, ValueError) as error:
        raise BundleError("manifest: {}; expected plain Python values".format(error)) from None
    complete["files"] = {
        name: {"bytes": len(files[name]), "sha256": sha256(files[name])} for name in sorted(files)
    }
    try:
        complete["model_id"] = _model_id(complete)
    except (KeyError, TypeError):  # a field is missing or wrong; parse_manifest says which
        complete["model_id"] = "unknown"
    return complete


def plan_id(manifest: Manifest, part: int, plan_name: str) -> str:
    """Identity of a plan: its stages and the contents of their files."""
    plan = manifest.parts[part].plans[plan_name]
    contents = [manifest.document["files"][stage.file]["sha256"] for stage in plan.stages]
    return _digest([list(stage[:3]) for stage in plan.stages] + contents)


def policy_id(policy: ExitPolicy) -> str:
    """Identity of a policy: its kind and parameters, not where they came from."""
    return _digest(policy.describe())


def lossy_codecs(
    manifest: Manifest, max_lost_points: float = 0.5, policy: Optional[ExitPolicy] = None
) -> Tuple[str, ...]:
    """The lossy codecs that features of this network may travel by: those with which calibration
    must reckon to lose at most `max_lost_points` percent points of accuracy, all borders crossed.

    It was measured with one policy; for another one there are none. `policy`: the one that decides
    when items leave, by default the manifest's.
    """
    decides = policy_id(manifest.policies[manifest.default_policy] if policy is None else policy)
    found = _read_codecs(Field(manifest.document, "", BundleError))
    return tuple(
        name
        for name, (measured_with, lost_points) in found.items()
        if measured_with == decides and lost_points <= max_lost_points
    )


def check_policy(manifest: Manifest, policy: ExitPolicy, plan_name: str) -> None:
    """Raise ConfigError unless `policy` fits this plan: in an ensemble, that of the deepest
    part."""
    deepest = max(manifest.parts, key=lambda part: len(part.exits))
    policy.check(len(deepest.exits), deepest.plans[plan_name].exit_indices)


def sha256(content: bytes) -> str:
    """Hexadecimal sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def _check_format(root: Field) -> None:
    root.get("format").choice([FORMAT])
    version = root.get("format_version")
    if version.whole(1) != FORMAT_VERSION:
        raise version.fail(
            "{}, the format this edgesdk reads; export the bundle again or upgrade".format(
                FORMAT_VERSION
            )
        )


def _check_files(files: Field) -> None:
    for relative, entry in files.entries():
        if not FILE_PATH.fullmatch(relative):
            raise BundleError(
                "files: found the name {!r}, expected a path inside the bundle of letters, digits "
                'and "_.-", such as onnx/segment_0.onnx'.format(relative)
            )
        entry.get("sha256").text()
        entry.get("bytes").whole()


def _read_preprocessing(field: Field) -> Preprocessing:
    color = field.get("color").choice(("gray", "rgb", "bgr"))
    channels = 1 if color == "gray" else 3
    per_channel = []
    for key in ("mean", "std"):
        values = field.get(key)
        numbers = tuple(item.number() for item in values.items())
        if len(numbers) != channels or (key == "std" and min(numbers) <= 0):
            raise values.fail("{} numbers{}".format(channels, " above 0" if key == "std" else ""))
        per_channel.append(numbers)
    return Preprocessing(
        color=color,
        height=field.get("height").whole(1),
        width=field.get("width").whole(1),
        resize=field.get("resize").choice(("refuse", "area", "bilinear")),
        crop=field.get("crop").choice(("none", "center")),
        mean=per_channel[0],
        std=per_channel[1],
    )


def _read_parts(root: Field) -> Tuple[Part, ...]:
    parts = []
    for field in root.get("parts").items(1):
        part = Part(
            name=field.get("name").text(),
            segments=tuple(_read_segment(item) for item in field.get("segments").items(1)),
            exits=tuple(_read_exit(item) for item in field.get("exits").items(1)),
            plans={
                name: Plan(name, tuple(_read_stage(item) for item in plan.get("stages").items(1)))
                for name, plan in field.get("plans").entries()
            },
            bottlenecks=_read_bottlenecks(field.optional("bottlenecks")),
        )
        check_part(part, field.path)
        parts.append(part)
    return tuple(parts)


def _read_classifier(field: Optional[Field]) -> Optional[Classifier]:
    if field is None:
        return None
    return Classifier(
        file=field.get("file").text(),
        feature_size=field.get("feature_size").whole(1),
        multiply_adds=field.get("multiply_adds").whole(),
    )


def _read_segment(field: Field) -> Segment:
    return Segment(
        input_shape=field.get("input_shape").shape(),
        output_shape=field.get("output_shape").shape(),
        multiply_adds=field.get("multiply_adds").whole(),
    )


def _read_exit(field: Field) -> Exit:
    head = field.get("head")
    return Exit(
        kind=head.get("kind").choice(HEAD_KINDS),
        file=head.get("file").text(),
        multiply_adds=field.get("multiply_adds").whole(),
    )


def _read_stage(field: Field) -> Stage:
    exit_field = field.get("exit")
    return Stage(
        first_segment=field.get("first_segment").whole(),
        last_segment=field.get("last_segment").whole(),
        exit_index=None if exit_field.value is None else exit_field.whole(),
        file=field.get("file").text(),
    )


def _read_bottlenecks(field: Optional[Field]) -> Tuple[Bottleneck, ...]:
    if field is None:
        return ()
    return tuple(
        Bottleneck(
            border=item.get("border").whole(1),
            encoder=item.get("encoder").text(),
            decoder=item.get("decoder").text(),
            code_shape=item.get("code_shape").shape(),
            encoder_multiply_adds=item.get("encoder_multiply_adds").whole(),
            decoder_multiply_adds=item.get("decoder_multiply_adds").whole(),
        )
        for item in field.items()
    )


def _read_policy(field: Field) -> ExitPolicy:
    # "provenance" says where the thresholds came from, "plan" where they apply.
    field.get("kind").text()
    description = {
        key: value for key, value in field.value.items() if key not in ("provenance", "plan")
    }
    try:
        return make_policy(description, field.path)
    except ConfigError as error:
        raise BundleError(str(error)) from None


def _read_codecs(root: Field) -> Dict[str, Tuple[str, float]]:
    """What `codecs` says of each lossy codec: the policy_id, and the points that may be lost."""
    codecs = root.optional("codecs")
    if codecs is None:
        return {}
    return {
        name: (
            entry.get("provenance").get("policy_id").text(),
            entry.get("pessimistic_lost_points").number(),
        )
        for name, entry in codecs.entries()
        if name in LOSING_CODECS
    }


def _check_references(manifest: Manifest, root: Field) -> None:
    """What no single field can show: references between them, and the identity."""
    for part, part_field in zip(manifest.parts, root.get("parts").items()):
        if part.segments[0].input_shape != manifest.preprocessing.shape:
            raise root.get("preprocessing").fail(
                "an image of {}, the input of the first segment".format(
                    list(part.segments[0].input_shape)
                )
            )
        _check_kinds(part, part_field, manifest)
    if manifest.default_policy not in manifest.policies:
        raise root.get("default_policy").fail(
            "a name in policies ({})".format(", ".join(manifest.policies))
        )
    for name, field in root.get("policies").entries():
        plan = field.optional("plan")
        plan_name = FULL_PLAN if plan is None else plan.choice(sorted(manifest.parts[0].plans))
        try:
            check_policy(manifest, manifest.policies[name], plan_name)
        except ConfigError as error:
            raise BundleError("{}: {}".format(field.path, error)) from None
    _check_files_used(root)
    if manifest.model_id != _model_id(manifest.document):
        raise root.get("model_id").fail(
            _model_id(manifest.document) + ", the hash of what the manifest describes"
        )


def _check_kinds(part: Part, field: Field, manifest: Manifest) -> None:
    """Features are for ensembles, and an ensemble's parts give nothing else; all have the plans of
    the first."""
    is_ensemble = manifest.classifier is not None
    if len(manifest.parts) > 1 and not is_ensemble:
        raise BundleError(
            "classifier: found none, expected one, for there are {} parts".format(
                len(manifest.parts)
            )
        )
    for trained_exit, exit_field in zip(part.exits, field.get("exits").items()):
        if (trained_exit.kind == FEATURE) is not is_ensemble:
            raise (
                exit_field.get("head")
                .get("kind")
                .fail(
                    repr(FEATURE) + ", for there is a classifier" if is_ensemble else "another one"
                )
            )
    if set(part.plans) != set(manifest.parts[0].plans):
        raise field.get("plans").fail(
            "the names of the first part's: " + ", ".join(sorted(manifest.parts[0].plans))
        )


def _check_files_used(root: Field) -> None:
    files, classifier = root.get("files"), root.optional("classifier")
    used = [] if classifier is None else [classifier.get("file")]
    for part in root.get("parts").items():
        used += [trained_exit.get("head").get("file") for trained_exit in part.get("exits").items()]
        for _, plan in part.get("plans").entries():
            used += [stage.get("file") for stage in plan.get("stages").items()]
        bottlenecks = part.optional("bottlenecks")
        if bottlenecks is not None:
            for item in bottlenecks.items():
                used += [item.get("encoder"), item.get("decoder")]
    for name in used:
        if name.value not in files.value:
            raise name.fail("one of the names in files: " + ", ".join(sorted(files.value)))


def _model_id(manifest: Mapping[str, Any]) -> str:
    """Hash of what the network computes: nothing that calibration or a device adds changes it."""
    files = manifest["files"]
    parts: List[Any] = []
    for part in manifest["parts"]:
        stages = part["plans"][FULL_PLAN]["stages"]
        parts.append(
            {
                "segments": part["segments"],
                "heads": [head["head"]["kind"] for head in part["exits"]],
                "contents": [files[stage["file"]]["sha256"] for stage in stages]
                + [files[head["head"]["file"]]["sha256"] for head in part["exits"]],
            }
        )
    described = [manifest["labels"], manifest["preprocessing"], parts]
    if manifest.get("classifier") is not None:
        classifier = manifest["classifier"]
        described.append([files[classifier["file"]]["sha256"], classifier["feature_size"]])
    return _digest(described)


def _digest(value: Any) -> str:
    """First 32 hexadecimal digits of the sha256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return sha256(text.encode("utf-8"))[:32]
