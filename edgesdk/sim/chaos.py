"""Worlds drawn from a seed, where much goes wrong at once and everything must still come right.

A world has a time of faults and then, from `heal_us` on, none: everybody who was killed is back or
gone for good, and every item must come to its end.
"""

from random import Random
from typing import List, Tuple

from ..core.events import Scores
from ..core.exits import ExitPolicy, FinalExit, MaxProbability, Patience
from .spec import Fault, Image, Link, Model, Node, Scenario, Workload
from .world import stream

IMAGE_COUNT = 97  # prime: items of different sources and epochs seldom meet the same image
FAULTS_END_US = 12_000_000
DURATION_US = 8_000_000
HANGING = 1e6  # times as slow: its stage does not end in our time
GRACE_US = 90_000_000
NODE_FAULTS = ("crash", "pause", "slow", "fail")
ANYTHING, CALM, RESTART, HANG = "anything", "calm", "restart", "hang"
THEMES = (ANYTHING, ANYTHING, CALM, RESTART, HANG)  # chance alone seldom leads to the last three
LINK_FAULTS = ("cut", "reset", "loss", "rate")


def draw(seed: int) -> Scenario:
    """The world of `seed`: 2 to 5 nodes, some links, one or two sources, up to six faults."""
    rng = stream(seed, "chaos")
    theme = rng.choice(THEMES)
    mode = "tcp" if theme == CALM else rng.choice(("tcp", "chaos"))
    nodes = _nodes(rng)
    if theme == CALM:
        nodes = nodes[:2]
    links = _links(rng, nodes, mode, is_near=rng.random() < 0.3)
    model = _model(rng)
    workloads = _workloads(rng, nodes, model)
    sources = {workload.source for workload in workloads}
    faults: Tuple[Fault, ...] = ()
    if theme != CALM:
        faults = _faults(rng, nodes, links, sources) + _theme(rng, theme, nodes, workloads)
    return Scenario(
        name="chaos {}".format(seed),
        model=model,
        nodes=nodes,
        links=links,
        workloads=workloads,
        faults=faults,
        mode=mode,
        duration_us=DURATION_US,
        heal_us=FAULTS_END_US,
        grace_us=GRACE_US,
        is_disturbed=theme != CALM and rng.random() < 0.4,
    )


def _theme(
    rng: Random, theme: str, nodes: Tuple[Node, ...], workloads: Tuple[Workload, ...]
) -> Tuple[Fault, ...]:
    """The source starts again while its first items are everywhere; or a stage hangs."""
    at_us = workloads[0].start_us + rng.randrange(100_000, 1_000_000)
    if theme == RESTART:
        return (Fault("crash", nodes[0].name, at_us, 50_000),)
    other = nodes[-1]
    if theme == HANG and other.name not in {workload.source for workload in workloads}:
        return (Fault("slow", other.name, max(at_us, other.join_us), 1_000_000, HANGING),)
    return ()


def _model(rng: Random) -> Model:
    stage_count = rng.randint(2, 5)
    stage_us = rng.choice((500, 5_000, 60_000))
    images = []
    for _ in range(IMAGE_COUNT):
        scores = [
            Scores(rng.randrange(10), rng.randrange(1, 1000) / 1000, 0.1, 0.1)
            for _ in range(stage_count)
        ]
        images.append(Image(rng.randrange(10), tuple(scores)))
    policies: Tuple[ExitPolicy, ...] = (MaxProbability(0.7), Patience(2), FinalExit())
    return Model(
        exit_indices=tuple(range(stage_count)),
        stage_us=tuple(rng.randint(stage_us // 2, stage_us) for _ in range(stage_count)),
        feature_bytes=tuple(rng.choice((4_096, 65_536)) for _ in range(stage_count)),
        images=images,
        policy=rng.choice(policies),
        batch_share=rng.choice((0.5, 1.0)),
    )


def _nodes(rng: Random) -> Tuple[Node, ...]:
    """The first is a source and has everything; others may lack stages, come late or leave."""
    result = [Node("n0", max_batch=rng.choice((1, 4)), drift_ppm=rng.uniform(-1000, 1000))]
    for index in range(1, rng.choice((2, 2, 3, 3, 4, 5))):
        leaves = rng.random() < 0.4
        result.append(
            Node(
                "n{}".format(index),
                stages=rng.choice((None, None, (1,))),
                speed=rng.choice((0.1, 1.0, 2.0)),
                max_batch=rng.choice((1, 4)),
                drift_ppm=rng.uniform(-1000, 1000),
                clock_offset_us=rng.randrange(0, 10**12),
                join_us=rng.choice((0, 0, rng.randrange(0, 5_000_000))),
                leave_us=rng.randrange(500_000, 9_000_000) if leaves else None,
            )
        )
    return tuple(result)


def _links(rng: Random, nodes: Tuple[Node, ...], mode: str, is_near: bool) -> Tuple[Link, ...]:
    """A tree, so that everybody can be reached, and some more. `is_near`: what arrives does so at
    once."""
    result: List[Link] = []
    is_rough = mode == "chaos"
    for index, node in enumerate(nodes[1:], start=1):
        parent = rng.randrange(index)
        for other in range(index):
            if other == parent or rng.random() < 0.5:
                first, second = nodes[other].name, node.name
                result.append(
                    Link(
                        first,
                        second,
                        rng.choice(((first, second), (first, second), (first,))),
                        delay_us=rng.choice((100, 1_000) if is_near else (1_000, 30_000)),
                        jitter_us=rng.choice((0, 500) if is_near else (500, 20_000)),
                        bytes_per_s=None if is_near else rng.choice((None, 1e7, 2e6)),
                        loss=rng.choice((0.0, 0.02, 0.2)) if is_rough else rng.choice((0.0, 0.02)),
                        duplication=rng.choice((0.0, 0.1)) if is_rough else 0.0,
                        reordering=0.1 if is_rough and not is_near else 0.0,
                    )
                )
    return tuple(result)


def _workloads(rng: Random, nodes: Tuple[Node, ...], model: Model) -> Tuple[Workload, ...]:
    """No more than a source could do alone, in half of the time of grace."""
    result = []
    for node in nodes[: rng.choice((1, 1, 2))]:
        if node.stages is not None or node.leave_us is not None:
            continue
        has_deadline = rng.random() < 0.3
        alone_count = int(GRACE_US / 2 / sum(model.stage_us) * node.speed)
        result.append(
            Workload(
                node.name,
                rng.choice(("periodic", "poisson")),
                rate_hz=rng.choice((10.0, 30.0, 100.0)),
                item_count=max(1, min(rng.choice((1, 20, 100, 200)), alone_count)),
                start_us=node.join_us + rng.choice((0, 1_000_000)),
                deadline_us=rng.choice((20_000, 1_000_000)) if has_deadline else None,
                best_at_deadline=rng.random() < 0.5,
                latest=rng.random() < 0.1,
            )
        )
    return tuple(result)


def _faults(
    rng: Random, nodes: Tuple[Node, ...], links: Tuple[Link, ...], sources: "set[str]"
) -> Tuple[Fault, ...]:
    result = []
    for _ in range(rng.choice((0, 0, 0, 1, 2, 4, 6))):
        at_us = int((FAULTS_END_US - 1_000_000) * rng.random() ** 3)  # mostly while there is work
        latest_us = FAULTS_END_US - at_us
        duration_us = min(rng.choice((50_000, 800_000, 4_000_000)), latest_us)
        if rng.random() < 0.5:
            node = rng.choice(nodes + nodes[:1])  # sources more often
            kind = rng.choice(NODE_FAULTS)
            hangs = kind == "slow" and node.name not in sources and rng.random() < 0.5
            stays_dead = kind == "crash" and node.name not in sources and rng.random() < 0.5
            duration = None if stays_dead else duration_us
            factor = {"slow": HANGING if hangs else 20.0, "fail": rng.choice((0.2, 1.0))}.get(
                kind, 1.0
            )
            result.append(Fault(kind, node.name, at_us, duration, factor))
        else:
            link = rng.choice(links)
            kind = rng.choice(LINK_FAULTS)
            arrow = rng.choice(("-", "->")) if kind in ("cut", "loss") else "-"
            factor = {"loss": 0.5, "rate": 20.0}.get(kind, 1.0)
            duration = None if kind == "reset" else duration_us
            result.append(Fault(kind, link.first + arrow + link.second, at_us, duration, factor))
    return tuple(sorted(result, key=lambda fault: fault.at_us))
