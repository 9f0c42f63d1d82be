"""Torch networks made of a bundle: the logits that edgesdk has at every exit."""

import numpy as np
import pytest
import tiny

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch

from edgesdk.bench.peers_torch import head_module, stage_modules
from edgesdk.core.exits import FixedExit
from edgesdk.pipeline import Pipeline
from edgesdk.preprocess import Preprocessor

IMAGES = [tiny.image(value) for value in (0.1, 0.45, 0.9)]


@pytest.mark.parametrize("write", [tiny.write_tiny_bundle, tiny.write_with_graph_head])
@pytest.mark.parametrize("exit_index", range(tiny.EXIT_COUNT))
def test_stages_and_heads_answer_as_the_exits(tmp_path, write, exit_index):
    bundle = write(tmp_path / "tiny" / "1")
    plan = bundle.manifest.parts[0].plans["full"]
    modules = [*stage_modules(bundle, plan)[: exit_index + 1], head_module(bundle, exit_index)]
    inputs = torch.from_numpy(Preprocessor(bundle.manifest.preprocessing)(IMAGES))
    found = torch.nn.Sequential(*modules)(inputs).detach().numpy()
    policy = FixedExit(exit_index)
    with Pipeline.open(bundle.path, policy=policy, backend="onnxruntime", logits=True) as pipe:
        expected = np.stack([outcome.logits for outcome in pipe.infer(IMAGES)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found).max() > 0.1  # it says something
