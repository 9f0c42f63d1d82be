"""Scenarios: a TOML file that describes a fleet, read into the values of `sim/spec.py`.

docs/simulation.md describes every key. A key that is not known is refused with its path and the
nearest one that is; file names are relative to the scenario file.
"""

import os
from typing import Any, Dict, List, Sequence, Set, Tuple, Union

from ..algorithms import read_admission, read_offloading, read_replanning
from ..document import read_document, us_of, us_or_none
from ..errors import ConfigError
from ..schema import Field
from .changes import change
from .churn import read_churn
from .scenario_faults import read_faults
from .scenario_model import read_model
from .spec import Model, Node, Scenario, Workload
from .topology import check_topology, read_wiring

MODES = ("tcp", "chaos")
WORKLOAD_KINDS = ("periodic", "poisson", "trace", "admission")
ON_DEADLINE = ("expire", "best")
NODE_COUNT_MAX = 1000
EXPECTED = "a scenario, such as those in examples/scenarios"

_TOP = ["name", "mode", "duration_s", "heal_s", "grace_s", "topology", "model", "node", "link"]
_TOP += ["link_defaults", "medium", "radio", "workload", "fault", "churn", "offloading"]
_TOP += ["admission", "replanning"]
_NODE = ["name", "count", "stages", "parts", "speed", "max_batch", "drift_ppm", "clock_offset_us"]
_NODE += ["join_s", "leave_s"]
_WORKLOAD = ["source", "kind", "rate_hz", "item_count", "start_s", "trace", "deadline_ms"]
_WORKLOAD += ["on_deadline", "latest"]

Changes = Sequence[Tuple[str, Any]]


def read_scenario(path: Union[str, "os.PathLike[str]"], changes: Changes = ()) -> Scenario:
    """The scenario in the TOML file `path`, after `changes`, pairs of a key's path and its value.

    Raises ConfigError or BundleError that begins with the file and the path of the key.
    """
    path = os.fspath(path)
    document = read_document(path, EXPECTED)
    try:
        for key_path, value in changes:
            change(document, key_path, value)
        return parse_scenario(document, os.path.dirname(path))
    except ConfigError as error:
        raise ConfigError("{}: {}".format(path, error)) from None


def parse_scenario(document: Dict[str, Any], folder: str) -> Scenario:
    """The scenario in the tables `document`. File names are relative to `folder`.

    Raises ConfigError or BundleError that begins with the path of the key.
    """
    root = Field(document, "", ConfigError).only(_TOP)
    mode, duration_us = root.optional("mode"), us_of(root.optional("duration_s"), 60e6, above=0)
    model = read_model(root.get("model"), folder)
    nodes = _nodes(root, model)
    groups = _groups(root)
    wiring = read_wiring(root, nodes)
    offloading = read_offloading(root.optional("offloading"))
    scenario = Scenario(
        name=root.get("name").text(),
        model=model,
        nodes=nodes,
        links=wiring.links,
        workloads=_workloads(root, nodes, groups, folder),
        media=wiring.media,
        mode="tcp" if mode is None else mode.choice(MODES),
        duration_us=duration_us,
        heal_us=us_or_none(root.optional("heal_s")),
        grace_us=us_of(root.optional("grace_s"), 60e6, above=0),
        offloading=offloading,
        admission=read_admission(root.optional("admission")),
        replanning=read_replanning(
            root.optional("replanning"), {node.name: i + 1 for i, node in enumerate(nodes)}
        ),
        places=wiring.places,
    )
    check_topology(nodes, wiring.links, scenario.workloads, model, offloading.offload_inputs)
    _check_admission(root, scenario)
    if scenario.replanning is not None and len(model.parts) > 1:
        raise root.get("replanning").fail("no such table beside an ensemble")
    faults, churn = read_faults(root, scenario), root.optional("churn")
    if churn is not None:
        faults += read_churn(churn, scenario, groups)
    return scenario._replace(faults=faults)


def _tables(root: Field, key: str, minimum_count: int = 0) -> List[Field]:
    field = root.get(key) if minimum_count else root.optional(key)
    return [] if field is None else field.items(minimum_count)


# --- nodes ----------------------------------------------------------------------------------------


def _nodes(root: Field, model: Model) -> Tuple[Node, ...]:
    """One entry with a `count` stands for NAME1, NAME2, ..."""
    nodes: List[Node] = []
    names: Set[str] = set()
    for field in _tables(root, "node", 1):
        node, count = _node(field.only(_NODE), model), field.optional("count")
        if count is None:
            new = [node]
        else:
            if count.whole() > NODE_COUNT_MAX:
                raise count.fail("at most {}".format(NODE_COUNT_MAX))
            new = [node._replace(name=node.name + str(i + 1)) for i in range(count.value)]
        for each in new:
            if each.name in names:
                raise field.get("name").fail("another name than the nodes before")
            names.add(each.name)
            nodes.append(each)
    return tuple(nodes)


def _groups(root: Field) -> Dict[str, Tuple[str, ...]]:
    """The nodes that each entry stands for, by the name in it."""
    groups: Dict[str, Tuple[str, ...]] = {}
    for field in _tables(root, "node"):
        name, count = field.get("name").text(), field.optional("count")
        names = [name] if count is None else [name + str(i + 1) for i in range(count.value)]
        groups[name] = groups.get(name, ()) + tuple(names)
    return groups


def _node(field: Field, model: Model) -> Node:
    name = field.get("name")
    if any(character in name.text() for character in "<> "):
        raise name.fail("a name without blanks, < and >")
    stages, parts = field.optional("stages"), field.optional("parts")
    speed = field.optional("speed")
    max_batch, drift = field.optional("max_batch"), field.optional("drift_ppm")
    offset = field.optional("clock_offset_us")
    node = Node(
        name=name.text(),
        stages=None if stages is None else _numbers(stages, "stage", model.stage_count),
        parts=None if parts is None else _numbers(parts, "part", len(model.parts)),
        speed=1.0 if speed is None else speed.number(above=0),
        max_batch=1 if max_batch is None else max_batch.whole(1),
        drift_ppm=0.0 if drift is None else drift.number(-1e5, 1e5),
        clock_offset_us=0 if offset is None else round(offset.number()),
        join_us=us_of(field.optional("join_s"), 0),
        leave_us=us_or_none(field.optional("leave_s")),
    )
    if node.leave_us is not None and node.leave_us <= node.join_us:
        raise field.get("leave_s").fail("later than join_s")
    return node


def _numbers(field: Field, what: str, count: int) -> Tuple[int, ...]:
    for item in field.items():
        if item.whole() >= count:
            raise item.fail("a {} of the model, 0 to {}".format(what, count - 1))
    return field.rising()


# --- workloads ------------------------------------------------------------------------------------


def _workloads(
    root: Field, nodes: Sequence[Node], groups: Dict[str, Tuple[str, ...]], folder: str
) -> Tuple[Workload, ...]:
    """An entry whose source is one with a `count` stands for one at each of its nodes."""
    names = {node.name for node in nodes}
    workloads: List[Workload] = []
    for field in _tables(root, "workload", 1):
        source = field.only(_WORKLOAD).get("source")
        one = source.value if isinstance(source.value, str) else ""
        sources = (one,) if one in names else groups[source.choice(sorted(groups))]
        if not sources:
            raise source.fail("nodes of that name; its count is 0")
        workload = _workload(field, one, folder)
        workloads += [workload._replace(source=name) for name in sources]
    return tuple(workloads)


def _workload(field: Field, source: str, folder: str) -> Workload:
    trace, count = field.optional("trace"), field.optional("item_count")
    deadline, on_deadline = field.optional("deadline_ms"), field.optional("on_deadline")
    latest, kind_field = field.optional("latest"), field.optional("kind")
    kind = "trace" if trace is not None and kind_field is None else None
    kind = kind or field.get("kind").choice(WORKLOAD_KINDS)
    if (trace is not None) != (kind == "trace"):
        raise field.fail('trace = "FILE" together with kind = "trace"')
    rate = field.get("rate_hz") if kind in ("periodic", "poisson") else field.optional("rate_hz")
    if rate is not None and kind not in ("periodic", "poisson"):
        raise rate.fail("no rate beside kind {!r}".format(kind))
    if on_deadline is not None and deadline is None:
        raise on_deadline.fail("deadline_ms beside it")
    return Workload(
        source=source,
        kind=kind,
        rate_hz=0.0 if rate is None else rate.number(above=0),
        item_count=None if count is None else count.whole(1),
        start_us=us_of(field.optional("start_s"), 0),
        times_us=() if trace is None else read_arrivals(os.path.join(folder, trace.text())),
        deadline_us=None if deadline is None else us_of(field.optional("deadline_ms"), 0, above=0),
        best_at_deadline=on_deadline is not None and on_deadline.choice(ON_DEADLINE) == "best",
        latest=latest is not None and latest.flag(),
    )


def read_arrivals(path: str) -> Tuple[int, ...]:
    """Arrival times in us from a file with one time in seconds a line, `#` begins a comment.

    Raises ConfigError that names file and line.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            "{}: cannot be read ({}); expected one arrival time in seconds a line".format(
                path, getattr(error, "strerror", None) or error
            )
        ) from None
    times: List[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            time_us = round(float(text) * 1e6)
        except (ValueError, OverflowError):
            time_us = -1
        if time_us < (times[-1] if times else 0):
            raise ConfigError(
                "{}:{}: found {!r}, expected a time in seconds, at least the one before".format(
                    path, number, text
                )
            )
        times.append(time_us)
    if not times:
        raise ConfigError("{}: found no arrival times, expected one a line".format(path))
    return tuple(times)


# --- what two tables say together -----------------------------------------------------------------


def _check_admission(root: Field, scenario: Scenario) -> None:
    """Algorithm 3 says when a workload of kind "admission" admits; Algorithm 4 moves one number
    that only max probability knows."""
    kind, model = scenario.admission.kind, scenario.model
    adapts = [workload.kind == "admission" for workload in scenario.workloads]
    if any(adapts) != (kind == "rate"):
        raise ConfigError(
            'admission.kind: found {!r}, expected "rate" together with a workload of kind '
            '"admission" (Algorithm 3)'.format(kind)
        )
    if kind == "threshold" and model.policy.kind != "max_probability":
        raise (
            root.get("model")
            .get("policy")
            .fail("a max_probability policy, for admission.kind is threshold (Algorithm 4)")
        )
