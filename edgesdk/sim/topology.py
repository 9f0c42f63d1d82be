"""Who is linked with whom: the shorthands of scenario files, and what must be reachable."""

from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..document import us_of
from ..errors import ConfigError
from ..schema import Field
from .radio import Graph, read_graph
from .spec import Link, Medium, Model, Node, Workload

RADIO = "radio"
TOPOLOGIES = ("mesh", "ring", "chain", "star", RADIO)
OFFLOAD = ("both", "forward", "none")
LINK_VALUES = ["offload", "delay_ms", "jitter_ms", "rate_mbit_s", "medium"]
LINK_VALUES += ["loss", "duplication", "reordering"]


def read_media(root: Field) -> Tuple[Medium, ...]:
    """The [[medium]] entries. Raises ConfigError."""
    media: List[Medium] = []
    for field in _tables(root.optional("medium")):
        name = field.only(("name", "rate_mbit_s")).get("name")
        if any(name.text() == medium.name for medium in media):
            raise name.fail("another name than the media before")
        rate = _bytes_per_s(field.get("rate_mbit_s"))
        media.append(Medium(name.text(), rate))
    return tuple(media)


def _tables(field: Optional[Field]) -> List[Field]:
    return [] if field is None else field.items()


def _share(field: Optional[Field]) -> float:
    return 0.0 if field is None else field.number(0, 1)


def _bytes_per_s(mbit: Field) -> float:
    return mbit.number(above=0) * 1e6 / 8


class _LinkEntry(NamedTuple):
    """Where the values of a link stand: in its own table if it has one, else in the defaults.
    `cell`: the medium of its place, where links have one."""

    first: str
    second: str
    table: Field
    defaults: Field
    offload: str
    cell: Optional[str] = None

    def value(self, key: str) -> Optional[Field]:
        own = self.table.optional(key)
        return self.defaults.optional(key) if own is None else own


class Wiring(NamedTuple):
    """Links and media of a scenario, and where nodes are, if they have places."""

    links: Tuple[Link, ...]
    media: Tuple[Medium, ...]
    places: Tuple[Tuple[float, float], ...] = ()


def read_wiring(root: Field, nodes: Sequence[Node]) -> Wiring:
    """The links of the topology, then those with an entry, which replaces that of its pair; the
    [[medium]] entries, then those of places. Raises ConfigError."""
    names = [node.name for node in nodes]
    media, graph = read_media(root), _graph(root, len(names))
    defaults = Field({}, "link_defaults", ConfigError)
    given = root.optional("link_defaults")
    if given is not None:
        defaults = given.only(LINK_VALUES)
    if graph is not None and graph.media:
        _check_cells(defaults)
        media += graph.media
    entries = _of_topology(root, names, defaults, graph)
    seen = set()
    for field in _tables(root.optional("link")):
        first, second = _ends(field.only(["between"] + LINK_VALUES).get("between"), names)
        key = tuple(sorted((first, second)))
        if key in seen:
            raise field.get("between").fail("one entry per pair of nodes")
        seen.add(key)
        cell = entries[key].cell if key in entries else None
        entries[key] = _LinkEntry(first, second, field, defaults, "both", cell)
    medium_names = {medium.name: None for medium in media}
    links = tuple(_link(entry, medium_names) for entry in entries.values())
    return Wiring(links, media, () if graph is None else graph.places)


def _graph(root: Field, node_count: int) -> Optional[Graph]:
    topology, radio = root.optional("topology"), root.optional("radio")
    if topology is not None and topology.value == RADIO:
        return read_graph(radio, node_count)
    if radio is not None:
        raise radio.fail('topology = "{}" beside it'.format(RADIO))
    return None


def _check_cells(defaults: Field) -> None:
    for key in ("rate_mbit_s", "medium"):
        field = defaults.optional(key)
        if field is not None:
            raise field.fail("none beside radio.medium_mbit_s, which gives each link a medium")


def _of_topology(
    root: Field, names: Sequence[str], defaults: Field, graph: Optional[Graph]
) -> Dict[Tuple[str, ...], _LinkEntry]:
    entries: Dict[Tuple[str, ...], _LinkEntry] = {}
    topology = root.optional("topology")
    if topology is None:
        return entries
    offload = default_offload(topology.choice(TOPOLOGIES), len(names))
    if graph is None:
        linked = pairs(topology.value, names)
    else:
        linked = [(names[first], names[second]) for first, second in graph.pairs]
    cells: Sequence[Optional[str]] = graph.cells if graph is not None else ()
    for pair, cell in zip(linked, cells or [None] * len(linked)):
        entries[tuple(sorted(pair))] = _LinkEntry(*pair, defaults, defaults, offload, cell)
    return entries


def _ends(field: Field, names: Sequence[str]) -> Tuple[str, str]:
    ends = [item.choice(names) for item in field.items()]
    if len(set(ends)) != 2 or len(ends) != 2:
        raise field.fail("two different nodes")
    return ends[0], ends[1]


def _link(entry: _LinkEntry, media: Dict[str, None]) -> Link:
    values = {key: field for key in LINK_VALUES for field in [entry.value(key)] if field}
    rate, medium = values.get("rate_mbit_s"), values.get("medium")
    if rate is not None and medium is not None:
        raise rate.fail("no rate of its own beside the medium's")
    if medium is not None and medium.value not in media:
        raise medium.fail("the name of a [[medium]]: {}".format(", ".join(media) or "none is here"))
    cell = entry.cell if rate is None else None
    offload = values["offload"].choice(OFFLOAD) if "offload" in values else entry.offload
    return Link(
        entry.first,
        entry.second,
        offloaders(offload, entry.first, entry.second),
        delay_us=us_of(values.get("delay_ms"), 500),
        jitter_us=us_of(values.get("jitter_ms"), 0),
        bytes_per_s=None if rate is None else _bytes_per_s(rate),
        medium=cell if medium is None else medium.text(),
        loss=_share(values.get("loss")),
        duplication=_share(values.get("duplication")),
        reordering=_share(values.get("reordering")),
    )


def pairs(topology: str, names: Sequence[str]) -> List[Tuple[str, str]]:
    """The links of a shorthand, each from the node that "forward" starts at.

    mesh: everybody with everybody. chain: each with the next. ring: a chain that is closed. star:
    the first with all others.
    """
    count = len(names)
    if topology == "mesh":
        found = [(i, j) for i in range(count) for j in range(i + 1, count)]
    elif topology == "star":
        found = [(0, i) for i in range(1, count)]
    else:
        found = [(i, i + 1) for i in range(count - 1)]
        if topology == "ring" and count > 2:
            found.append((count - 1, 0))
    return [(names[i], names[j]) for i, j in found]


def default_offload(topology: str, node_count: int) -> str:
    """Which way tasks go where the file does not say. An undirected ring of three is the mesh, so
    a ring is directed (3-Node-Circular of MDI-Exit); the two ways between two nodes are one."""
    return "forward" if topology == "ring" and node_count > 2 else "both"


def offloaders(offload: str, first: str, second: str) -> Tuple[str, ...]:
    """Who may send tasks along a link."""
    return {"both": (first, second), "forward": (first,), "none": ()}[offload]


def check_topology(
    nodes: Sequence[Node],
    links: Sequence[Link],
    workloads: Sequence[Workload],
    model: Model,
    offload_inputs: bool,
) -> None:
    """Raise ConfigError unless every node can be reached from every source, sources can begin
    their items, and each stage is held by somebody that tasks of a source get to. The students of
    an ensemble are where they are: sources need not hold any."""
    either_way: Dict[str, Set[str]] = {node.name: set() for node in nodes}
    task_ways: Dict[str, Set[str]] = {node.name: set() for node in nodes}
    for link in links:
        either_way[link.first].add(link.second)
        either_way[link.second].add(link.first)
        for name in link.offload:
            task_ways[name].add(link.second if name == link.first else link.first)
    held = {node.name: {place for place in model.stages if node.holds(*place)} for node in nodes}
    sources = sorted({workload.source for workload in workloads})
    for source in sources:
        lonely = sorted(set(held) - _reached([source], either_way))
        if lonely:
            raise ConfigError(
                "link: no way from source {} to {}; expected every node to be reachable".format(
                    source, ", ".join(lonely)
                )
            )
        if model.features is None and (0, 0) not in held[source] and not offload_inputs:
            raise ConfigError(
                "node {}: found a source without stage 0, expected it to hold stage 0, or "
                "offloading.offload_inputs = true".format(source)
            )
    for part in range(len(model.parts)):
        _check_part(part, sources, task_ways, held, model)


def _check_part(
    part: int,
    sources: Sequence[str],
    task_ways: Dict[str, Set[str]],
    held: Dict[str, Set[Tuple[int, int]]],
    model: Model,
) -> None:
    """Tasks are sent to who holds the stage that they need, and to nobody else."""
    stages = range(len(model.parts[part].stage_us))
    able = [{name for name in held if (part, stage) in held[name]} for stage in stages]
    ways = [{name: to & able[stage] for name, to in task_ways.items()} for stage in stages]
    for source in sources:
        places, missing = {source}, []
        for stage in stages:
            places = _reached(places, ways[stage])
            if not places & able[stage]:
                missing.append(str(stage))
        if missing:
            raise ConfigError(
                "node: found nobody that holds stage {}{} among those that tasks of source {} get "
                "to ({})".format(
                    ", ".join(missing),
                    "" if model.features is None else " of part {}".format(part),
                    source,
                    ", ".join(sorted(places)),
                )
            )


def _reached(starts: Iterable[str], ways: Dict[str, Set[str]]) -> Set[str]:
    found = set(starts)
    waiting = list(found)
    while waiting:
        for name in ways[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found
