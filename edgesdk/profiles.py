"""Profiles: how long each stage of a network takes on a device, measured there, in a JSON file.

`python -m edgesdk.bench engine --profile FILE` writes one. Planning and simulation read it, and
refuse one that was measured on another network or another device: its times would mislead.
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from .errors import ConfigError
from .files import write_atomically
from .schema import Field

FORMAT = "edgesdk-profile"
FORMAT_VERSION = 1
REMEASURE = "measure it there again: python -m edgesdk.bench engine --bundle DIR --profile FILE"


class StageTime(NamedTuple):
    """One stage, run alone on a batch of `batch` samples: times in us, of the whole batch.

    `head_p50_us` and `head_p95_us` are those of the exit head behind it, None where the plan has no
    exit. `energy_mj`: of one item of the batch in the stage, by all that the board draws while
    nothing else runs, and `energy_above_idle_mj`, by what it draws more than at rest; None where it
    was not measured (`edgesdk.bench.energy` says how).
    """

    part: int
    plan: str
    stage: int
    batch: int
    p50_us: float
    p95_us: float
    head_p50_us: Optional[float] = None
    head_p95_us: Optional[float] = None
    energy_mj: Optional[float] = None
    energy_above_idle_mj: Optional[float] = None

    @property
    def total_us(self) -> float:
        """The stage and its head, in the median."""
        return self.p50_us + (self.head_p50_us or 0.0)


class Profile(NamedTuple):
    """Times of the network `model_id` on one device. `conditions` says what else was so (threads,
    power mode): plain values, for people. `links` is reserved."""

    model_id: str
    device: str
    backend: str
    conditions: Dict[str, Any]
    stages: Sequence[StageTime]
    links: Sequence[Any] = ()

    def stage_times(self, plan: str, batch: int = 1, part: int = 0) -> List[StageTime]:
        """The stages of a plan, in order. Raises ConfigError if they were not measured."""
        found = [s for s in self.stages if (s.part, s.plan, s.batch) == (part, plan, batch)]
        found.sort(key=lambda time: time.stage)
        if not found or [time.stage for time in found] != list(range(len(found))):
            measured = sorted({(s.plan, s.batch) for s in self.stages if s.part == part})
            raise ConfigError(
                "profile: found no times of every stage of plan {!r}{} at batch {}, only {}; "
                "{}".format(
                    plan,
                    " of part {}".format(part) if part else "",
                    batch,
                    ", ".join("{!r} at {}".format(*each) for each in measured) or "none",
                    REMEASURE,
                )
            )
        return found


def write_profile(path: str, profile: Profile) -> None:
    """Write the file `path`: whole, or not at all.

    Raises EdgeError if it cannot be written; what was there before is then untouched.
    """
    document = {"format": FORMAT, "format_version": FORMAT_VERSION}  # type: Dict[str, Any]
    document.update(profile._asdict())
    document["stages"] = [_known(stage) for stage in profile.stages]
    document["links"] = list(profile.links)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode("utf-8"))


def _known(time: StageTime) -> Dict[str, Any]:
    return {name: value for name, value in time._asdict().items() if value is not None}


def read_profile(path: str, model_id: str, device: Optional[str] = None) -> Profile:
    """The profile in file `path`, which must be of the network `model_id`, and of `device` if
    that is given.

    Raises ConfigError that names the file, and the field that is wrong.
    """
    root = Field(_read_document(path), "", ConfigError)
    try:
        profile = _parse(root)
    except ConfigError as error:
        raise ConfigError("{}: {}".format(path, error)) from None
    for name, found, expected in (
        ("model", profile.model_id, model_id),
        ("device", profile.device, profile.device if device is None else device),
    ):
        if found != expected:
            raise ConfigError(
                "{}: found the profile of {} {!r}, expected {} {!r}; {}".format(
                    path, name, found, name, expected, REMEASURE
                )
            )
    return profile


def _read_document(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise ConfigError(
            "{}: cannot be read ({}); expected a profile; {}".format(
                path, error.strerror or error, REMEASURE
            )
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            "{}: not JSON ({}); expected a profile; {}".format(path, error, REMEASURE)
        ) from None


def _parse(root: Field) -> Profile:
    root.get("format").choice([FORMAT])
    version = root.get("format_version")
    if version.whole(1) != FORMAT_VERSION:
        raise version.fail("{}, the format this edgesdk reads".format(FORMAT_VERSION))
    conditions = root.get("conditions")
    links = root.get("links")
    stages = [_stage(field) for field in root.get("stages").items(1)]
    seen = set()
    for field, time in zip(root.get("stages").items(), stages):
        if time[:4] in seen:
            raise field.fail("one entry for each part, plan, stage and batch")
        seen.add(time[:4])
    return Profile(
        root.get("model_id").text(),
        root.get("device").text(),
        root.get("backend").text(),
        {key: entry.value for key, entry in conditions.entries()},
        tuple(stages),
        tuple(link.value for link in links.items()),
    )


def _stage(field: Field) -> StageTime:
    time = StageTime(
        part=field.get("part").whole(),
        plan=field.get("plan").text(),
        stage=field.get("stage").whole(),
        batch=field.get("batch").whole(1),
        p50_us=field.get("p50_us").number(above=0),
        p95_us=field.get("p95_us").number(above=0),
        head_p50_us=_positive_or_none(field, "head_p50_us"),
        head_p95_us=_positive_or_none(field, "head_p95_us"),
        energy_mj=_positive_or_none(field, "energy_mj"),
        energy_above_idle_mj=_positive_or_none(field, "energy_above_idle_mj"),
    )
    if time.p95_us < time.p50_us:
        raise field.get("p95_us").fail("at least p50_us, {}".format(time.p50_us))
    if (time.head_p50_us is None) != (time.head_p95_us is None):
        raise field.fail("head_p50_us and head_p95_us together or neither")
    return time


def _positive_or_none(table: Field, key: str) -> Optional[float]:
    field = table.optional(key)
    return None if field is None or field.value is None else field.number(above=0)
