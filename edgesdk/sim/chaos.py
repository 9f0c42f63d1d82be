"""Worlds drawn from a seed, where much goes wrong at once and everything must still come right.

A world has a time of faults and then, from `heal_us` on, none: everybody who was killed is back or
gone for good, and every item must come to its end.
"""

from random import Random
from typing import List, Tuple

import numpy as np

from ..core.events import Scores
from ..core.exits import ExitPolicy, FinalExit, MaxProbability, Patience
from ..features import Features
from .spec import Fault, Image, Link, Model, Node, Part, Scenario, Workload
from .world import stream

IMAGE_COUNT = 97  # prime: items of different sources and epochs seldom meet the same image
FAULTS_END_US = 12_000_000
DURATION_US = 8_000_000
HANGING = 1e6  # times as slow: its stage does not end in our time
GRACE_US = 90_000_000
NODE_FAULTS = ("crash", "pause", "slow", "fail")
ANYTHING, CALM, RESTART, HANG = "anything", "calm", "restart", "hang"
THEMES = (ANYTHING, ANYTHING, CALM, RESTART, HANG)  # chance alone seldom leads to the last three
ENSEMBLE_SHARE = 0.25
CLASS_COUNT, FEATURE_SIZE = 10, 2  # of an ensemble
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
    others = stream(seed, "chaos:ensemble")  # what is drawn here leaves plain worlds as they are
    if others.random() < ENSEMBLE_SHARE:
        model, nodes = _ensemble(others, model), _spread(others, nodes)
    workloads = _workloads(rng, nodes, model)
    sources = {workload.source for workload in workloads}
    faults: Tuple[Fault, ...] = ()
    if theme != CALM:
        faults = _faults(rng, nodes, links, sources) + _theme(rng, theme, nodes, workloads)
        if any(node.name in sources and node.parts is not None for node in nodes):
            faults = tuple(map(_bearable, faults))
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


def _bearable(fault: Fault) -> Fault:
    """A source that lacks a student asks others for it again and again: where that hangs, for
    longer than the time of grace."""
    return fault._replace(factor=4.0) if fault.kind == "slow" else fault


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
        scores = _scores(rng, stage_count)
        images.append(Image(rng.randrange(CLASS_COUNT), (scores,)))
    policies: Tuple[ExitPolicy, ...] = (MaxProbability(0.7), Patience(2), FinalExit())
    part = _part(rng, stage_count, stage_us)
    return Model((part,), images, rng.choice(policies), rng.choice((0.5, 1.0)))


def _scores(rng: Random, exit_count: int) -> Tuple[Scores, ...]:
    return tuple(
        Scores(rng.randrange(CLASS_COUNT), rng.randrange(1, 1000) / 1000, 0.1, 0.1)
        for _ in range(exit_count)
    )


def _part(rng: Random, stage_count: int, stage_us: int) -> Part:
    return Part(
        exit_indices=tuple(range(stage_count)),
        stage_us=tuple(rng.randint(stage_us // 2, stage_us) for _ in range(stage_count)),
        feature_bytes=tuple(rng.choice((4_096, 65_536)) for _ in range(stage_count)),
    )


def _ensemble(rng: Random, model: Model) -> Model:
    """Two or three students beside each other instead, each with some of the stages."""
    (plain,) = model.parts
    depths = [rng.randint(1, len(plain.stage_us)) for _ in range(rng.choice((2, 3)))]
    parts = tuple(_part(rng, depth, max(plain.stage_us)) for depth in depths)
    draw_values, count = np.random.RandomState(rng.getrandbits(32)).standard_normal, IMAGE_COUNT
    students = tuple(draw_values((count, m, FEATURE_SIZE)).astype(np.float32) for m in depths)
    images = [
        Image(image.label, tuple(_scores(rng, depth) for depth in depths)) for image in model.images
    ]
    features = Features(
        ensemble="chaos",
        data="chaos",
        split=np.array(["test"] * count),
        label=np.array([image.label for image in images], np.int32),
        weight=draw_values((CLASS_COUNT, FEATURE_SIZE * len(depths))).astype(np.float32),
        bias=np.zeros(CLASS_COUNT, np.float32),
        mean_features=np.zeros((len(depths), FEATURE_SIZE), np.float32),
        students=students,
    )
    return model._replace(parts=parts, images=images, features=features)


def _spread(rng: Random, nodes: Tuple[Node, ...]) -> Tuple[Node, ...]:
    """Some have one student, and so may the first, which cannot answer alone then."""
    first = nodes[0]._replace(parts=rng.choice((None, None, (0,), (1,))))
    return (first,) + tuple(
        node._replace(parts=rng.choice((None, (0,), (1,)))) for node in nodes[1:]
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
    """No more than a source could do alone, or the slowest node where it may have to, in half of
    the time of grace."""
    result = []
    for node in nodes[: rng.choice((1, 1, 2))]:
        if node.stages is not None or node.leave_us is not None:
            continue
        has_deadline = rng.random() < 0.3
        item_us = sum(stage_us for part in model.parts for stage_us in part.stage_us)
        speed = node.speed if model.features is None else min(each.speed for each in nodes)
        alone_count = int(GRACE_US / 2 / item_us * speed)
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
