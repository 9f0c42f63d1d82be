"""Heads by name: what each takes, gives, and how a bundle holds it."""

import pytest
import torch
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.export import export_network, head_kind
from edgesdk.train.heads import HEADS, ExitHead, MixedPool, PooledHead, TokenHead, build_head, fused
from edgesdk.train.models import MultiExit

MAP, TOKENS, VECTOR = (6, 9, 7), (5, 6), (6,)
FITTING = {2: TOKENS, 3: MAP, None: VECTOR}


@pytest.mark.parametrize("name", HEADS)
def test_each_gives_logits_and_becomes_a_file_that_computes_the_same(name):
    torch.manual_seed(0)
    shape = FITTING[HEADS[name][0]]
    head = build_head(name, shape, 4)
    features = torch.randn(3, *shape)
    assert head(features).shape == (3, 4)
    files = export_network(MultiExit([nn.Identity()], [head]), features)  # compared in there
    assert ("heads/exit_0.npz" in files) is (name in ("fused", "pooled"))
    assert head_kind(head) == ("fused" if name in ("fused", "pooled") else "graph")


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shape", [MAP, TOKENS, VECTOR])
def test_features_that_do_not_fit_are_refused_with_the_heads_that_do(name, shape):
    axes = HEADS[name][0]
    if axes in (None, len(shape)):
        assert build_head(name, shape, 4)(torch.randn(2, *shape)).shape == (2, 4)
        return
    other = {3: "fused or ", 2: "class_token or token_mean", 1: "linear$"}[len(shape)]
    with pytest.raises(ConfigError, match=rf"exit 'a': found features .*'{name}'; .*{other}"):
        build_head(name, shape, 4, "exit 'a'")


def test_a_function_builds_a_head_of_your_own():
    assert isinstance(build_head(lambda shape, classes: nn.Flatten(), MAP, 4), nn.Flatten)
    with pytest.raises(ConfigError, match="exit 'a': found 'pool', expected one of fused, pooled"):
        build_head("pool", MAP, 4, "exit 'a'")


def test_only_two_forms_are_for_the_kernels():
    head = PooledHead(nn.Linear(6, 4))
    assert fused(head) is head and fused(ExitHead(6, 4)) is not None
    assert fused(nn.Sequential(head)) is None


def test_a_pooled_head_is_relu_mean_and_linear():
    head = PooledHead(nn.Linear(6, 4))
    features = torch.randn(3, *MAP)
    expected = features.clamp(min=0).mean((2, 3)) @ head.linear.weight.T + head.linear.bias
    assert torch.allclose(head(features), expected, atol=1e-6)


@pytest.mark.parametrize(("raw", "share"), [(-50.0, 0.0), (0.0, 0.5), (50.0, 1.0)])
def test_a_mixed_pool_goes_from_mean_to_maximum(raw, share):
    pool = MixedPool(8, 12)
    nn.init.constant_(pool.mixture, raw)
    features = torch.randn(2, 3, 8, 12)
    windows = features.unfold(2, 2, 2).unfold(3, 3, 3).flatten(4)
    expected = share * windows.amax(-1) + (1 - share) * windows.mean(-1)
    assert pool(features).shape == (2, 3, 4, 4)
    assert torch.allclose(pool(features), expected, atol=1e-6)


def test_the_mixture_is_learned():
    head = build_head("mixed", MAP, 4)
    head(torch.randn(3, *MAP)).sum().backward()
    assert head[0].mixture.grad.abs() > 0


def test_tokens_are_classified_by_the_first_or_by_the_mean_of_all():
    for first in (True, False):
        head = TokenHead(6, 4, first)
        tokens = torch.randn(3, *TOKENS)
        normed = nn.functional.layer_norm(tokens, (6,))
        read = normed[:, 0] if first else normed.mean(1)
        assert torch.allclose(head(tokens), head.linear(read), atol=1e-6)
