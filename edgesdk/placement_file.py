"""Placement files: a TOML file beside the cluster file that says which stages each worker holds.

`python -m edgesdk.plan` writes one; docs/placement.md describes it. One that was made for another
network, another plan or another fleet is refused: its stages would be others.
"""

import json
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

from .cluster import Cluster
from .document import read_document
from .errors import ConfigError
from .files import write_atomically
from .manifest import Manifest, plan_id
from .schema import Field

FORMAT = "edgesdk-placement"
FORMAT_VERSION = 1
AGAIN = "make it again: python -m edgesdk.plan BUNDLE --cluster FILE --out FILE"
KEYS = ["format", "format_version", "model_id", "plan", "plan_id", "stages"]


class PlacementFile(NamedTuple):
    """The stages of `plan` that each worker holds, by its name; for the network `model_id`."""

    model_id: str
    plan: str
    plan_id: str
    stages: Dict[str, Tuple[int, ...]]


def placement_of(
    manifest: Manifest, plan: str, stages: Mapping[str, Sequence[int]]
) -> PlacementFile:
    """What a file says that places `stages` of a plan on workers, by name."""
    held = {name: tuple(numbers) for name, numbers in stages.items()}
    return PlacementFile(manifest.model_id, plan, plan_id(manifest, 0, plan), held)


def write_placement(path: str, placement: PlacementFile, remarks: Sequence[str] = ()) -> None:
    """Write the file `path`, with `remarks` at its head: whole, or not at all.

    Raises EdgeError if it cannot be written; what was there before is then untouched.
    """
    write_atomically(path, _text(placement, remarks).encode("utf-8"))


def read_placement(path: str, manifest: Manifest, plan: str, names: Sequence[str]) -> PlacementFile:
    """The placement in file `path`, for `plan` of this network and the workers `names`.

    Raises ConfigError that begins with the file, for one of others, and for one that leaves a
    stage to nobody.
    """
    document = read_document(path, "a placement file, as python -m edgesdk.plan writes it")
    root = Field(document, "", ConfigError)
    try:
        return _placement(root.only(KEYS), manifest, plan, names)
    except ConfigError as error:
        raise ConfigError("{}: {}".format(path, error)) from None


def placed(cluster: Cluster, manifest: Manifest, plan: str) -> Cluster:
    """`cluster` with the stages that its placement file gives each worker; the same if it has
    none. Raises ConfigError, see `read_placement`."""
    if cluster.placement is None:
        return cluster
    names = [entry.name for entry in cluster.workers]
    held = read_placement(cluster.placement, manifest, plan, names).stages
    return cluster._replace(
        workers=tuple(
            entry._replace(stages=held[entry.name], may_hold=entry.stages)
            for entry in cluster.workers
        )
    )


def _placement(root: Field, manifest: Manifest, plan: str, names: Sequence[str]) -> PlacementFile:
    root.get("format").choice([FORMAT])
    version = root.get("format_version")
    if version.whole(1) != FORMAT_VERSION:
        raise version.fail("{}, the format this edgesdk reads".format(FORMAT_VERSION))
    if len(manifest.parts) > 1:
        raise ConfigError(
            "found a placement for an ensemble of {}, expected a plain network; `parts` in the "
            "cluster file say who holds which".format(len(manifest.parts))
        )
    found = PlacementFile(
        root.get("model_id").text(),
        root.get("plan").text(),
        root.get("plan_id").text(),
        {name: field.rising() for name, field in root.get("stages").entries()},
    )
    expected = placement_of(manifest, plan, found.stages)
    for key in ("model_id", "plan", "plan_id"):
        if getattr(found, key) != getattr(expected, key):
            raise root.get(key).fail("{!r}, what runs; {}".format(getattr(expected, key), AGAIN))
    _check_stages(root.get("stages"), len(manifest.parts[0].plans[plan].stages), names)
    return found


def _check_stages(field: Field, count: int, names: Sequence[str]) -> None:
    if sorted(field.value) != sorted(names):
        raise ConfigError(
            "stages: found the workers {}, expected those of the cluster file: {}; {}".format(
                ", ".join(field.value) or "none", ", ".join(names), AGAIN
            )
        )
    for _, numbers in field.entries():
        for number in numbers.items():
            if number.value >= count:
                raise number.fail("a number below {}, for the plan has so many".format(count))
    held = {number for numbers in field.value.values() for number in numbers}
    missing = [str(number) for number in range(count) if number not in held]
    if missing:
        raise ConfigError(
            "stages: found nobody with stage {}, expected every stage of the plan at a worker; "
            "{}".format(", ".join(missing), AGAIN)
        )


def _text(placement: PlacementFile, remarks: Sequence[str]) -> str:
    lines: List[str] = ["# " + remark for remark in remarks]
    lines += ["format = " + _quoted(FORMAT), "format_version = {}".format(FORMAT_VERSION)]
    for key in ("model_id", "plan", "plan_id"):
        lines.append("{} = {}".format(key, _quoted(getattr(placement, key))))
    lines += ["", "[stages]"]
    for name, stages in placement.stages.items():
        lines.append("{} = {}".format(_quoted(name), list(stages)))
    return "\n".join(lines + [""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # as TOML does
