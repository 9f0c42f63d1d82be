"""From a module as people write it to answers of a pipeline, on both backends."""

import shutil

import module_zoo
import numpy as np
import pytest
import torch
from module_zoo import CLASSES, SHAPE
from tiny_training import TINY

import edgesdk
from edgesdk.core.spec import Preprocessing
from edgesdk.errors import EngineError
from edgesdk.train.__main__ import main
from edgesdk.train.calibration import measuring
from edgesdk.train.counting import multiply_adds
from edgesdk.train.data import DATA_SETS, Split
from edgesdk.train.models import MultiExit
from edgesdk.train.own import Settings, export_run, train_network
from edgesdk.train.trainer import logits_per_exit
from edgesdk.train.zoo.mobilenet_v2 import MobileNetV2
from edgesdk.train.zoo.vision_transformer import VisionTransformer

SETTINGS = Settings("cut", "", epochs=1, batch_size=16)
SIZES_ASKED_FOR = ("vit", "encoder")  # how many images there are is part of what they compute


def load(split):
    """The tiny images in colour and at half their size."""
    found = TINY.load(split)
    return Split(found.images.repeat(1, 3, 1, 1)[..., ::2, ::2].contiguous(), found.labels)


DATA = TINY._replace(
    labels=tuple("abcde"),
    preprocessing=Preprocessing("rgb", *SHAPE[1:], "refuse", "none", (0.5,) * 3, (0.25,) * 3),
    load=load,
)


def own_vit():
    return VisionTransformer(CLASSES, 3, SHAPE[1], 4, width=12, depth=3, heads=2)


def networks():
    for name in module_zoo.MODULES:
        module, exits, head, _ = module_zoo.made(name)
        yield name, (module, exits, head)
    torch.manual_seed(0)
    yield "mobilenet v2", (MobileNetV2(CLASSES), ("features.3", "features.10"), "fused")
    yield "vit of ours", (own_vit(), ("blocks.0", "blocks.1"), "token_mean")


NETWORKS = dict(networks())


@pytest.fixture(scope="module", params=NETWORKS)
def exported(request, tmp_path_factory):
    """(name, network after one epoch, its bundle)."""
    module, exits, head = NETWORKS[request.param]
    torch.manual_seed(0)
    network = MultiExit.from_module(module, exits, SHAPE, head)
    folder = tmp_path_factory.mktemp("cut")
    run = train_network(network, DATA, SETTINGS, folder / "run")
    export_run(run, folder / "bundle")
    return request.param, network, folder / "bundle"


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_every_exit_answers_in_a_pipeline_as_in_torch(exported, backend):
    name, network, bundle = exported
    images = DATA.load("test").images
    if backend == "torch" and name in SIZES_ASKED_FOR:
        with pytest.raises(EngineError, match=r'does not translate the operator .*"onnxruntime"$'):
            edgesdk.Pipeline.open(bundle, backend=backend)
        return
    for index, expected in enumerate(logits_per_exit(network, images).numpy()):
        policy = edgesdk.FixedExit(index)
        with edgesdk.Pipeline.open(bundle, policy, backend, logits=True) as pipe:
            found = np.stack([outcome.logits for outcome in pipe.infer(images.numpy())])
        assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())


def test_its_manifest_says_what_it_costs_and_which_heads_are_graphs(exported):
    _, network, bundle = exported
    costs = multiply_adds(network, SHAPE)
    part = edgesdk.bundle.read_bundle(str(bundle)).manifest.parts[0]
    assert tuple(segment.multiply_adds for segment in part.segments) == costs.segments
    assert tuple(each.multiply_adds for each in part.exits) == costs.exits
    kinds = {"ExitHead": "fused", "PooledHead": "fused"}
    assert [each.kind for each in part.exits] == [
        kinds.get(type(head).__name__, "graph") for head in network.exits
    ]


def test_it_is_calibrated_like_any_other(exported, tmp_path, monkeypatch):
    name, _, bundle = exported
    if name not in ("vgg", "vit of ours"):  # graph heads behind maps, tokens and vectors
        return
    shutil.copytree(bundle, tmp_path / "bundle")
    monkeypatch.setitem(DATA_SETS, "tiny", DATA)
    monkeypatch.setattr(measuring, "SECONDS", 0.05)
    monkeypatch.setattr("edgesdk.bench.timing.pin", lambda threads: None)
    command = ["calibrate", str(tmp_path / "bundle"), "--data", "tiny", "--max-loss-points", "100"]
    assert main(command) == 0
    found = edgesdk.bundle.read_bundle(str(tmp_path / "bundle")).manifest
    assert "codecs" in found.document and len(found.policies) > 2
