"""The code has the promised size, and travels in training as it does on the wire."""

import math

import numpy as np
import pytest
import torch

from edgesdk import codec
from edgesdk.errors import ConfigError
from edgesdk.train.bottlenecks.autoencoder import AutoEncoder, geometry, rounded

SHAPES = {
    "ResNet-50 at 224": (256, 56, 56),
    "behind the first exit of resnet50_224": (512, 28, 28),
    "wrn16_1": (16, 32, 32),
    "mobilenetv2": (24, 16, 16),
    "late": (160, 2, 2),
    "odd": (160, 7, 7),
    "odd behind one": (96, 14, 14),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("ratio", [8.0, 100.0])
def test_as_uint8_it_is_as_many_times_smaller(shape, ratio):
    found = geometry(shape, ratio)
    raw_bytes, code_bytes = 4 * math.prod(shape), math.prod(found.code_shape)
    assert raw_bytes / code_bytes >= ratio
    one_channel = code_bytes // found.code_shape[0]
    assert raw_bytes / (code_bytes + one_channel) < ratio  # it is no smaller than it must be


@pytest.mark.parametrize(
    ("shape", "ratio", "code_shape", "code_bytes"),
    [
        ((256, 56, 56), 100, (163, 14, 14), 31948),
        ((256, 56, 56), 960, (17, 14, 14), 3332),
        ((512, 28, 28), 100, (327, 7, 7), 16023),
        ((24, 16, 16), 100, (15, 4, 4), 240),
        ((16, 32, 32), 100, (10, 8, 8), 640),
    ],
)
def test_the_sizes_that_the_documents_tell(shape, ratio, code_shape, code_bytes):
    assert geometry(shape, ratio).code_shape == code_shape
    assert math.prod(code_shape) == code_bytes


def test_the_sizes_of_the_paper():
    """As float32 3.2 MB to 13.3 KB."""
    assert (4 * 256 * 56 * 56, 4 * math.prod(geometry((256, 56, 56), 960).code_shape)) == (
        3211264,
        13328,
    )


@pytest.mark.parametrize(("shape", "size"), [((8, 12, 12), 3), ((8, 14, 14), 7), ((8, 7, 8), 7)])
def test_height_and_width_are_halved_where_both_are_even(shape, size):
    assert geometry(shape, 5).code_shape[1] == size


@pytest.mark.parametrize(
    "shape", [(24, 16, 16), (8, 7, 7), (8, 14, 14), (8, 7, 8), (3, 4, 6), (160, 2, 2), (4, 1, 1)]
)
def test_what_comes_back_has_the_shape_of_the_features(shape):
    autoencoder = AutoEncoder(shape, 16).eval()
    with torch.no_grad():
        code = autoencoder.encoder(torch.randn(2, *shape))
        assert code.shape[1:] == autoencoder.geometry.code_shape
        assert autoencoder(torch.randn(2, *shape)).shape == (2, *shape)


@pytest.mark.parametrize(
    ("shape", "ratio", "message"),
    [
        ((64, 192), 100, r"border: found features \[64, 192\], expected a map \[C, H, W\]"),
        ((16, 8, 8), 4, "ratio: found 4, expected a number above 4, which uint8 gives"),
        ((16, 8, 8), 1025, r"at most 1024 for features \[16, 8, 8\]"),
        ((16, 8, 8), float("nan"), "ratio: found nan"),
        ((16, 8, 8), -1, "ratio: found -1"),
    ],
)
def test_what_cannot_be_is_refused(shape, ratio, message):
    with pytest.raises(ConfigError, match=message):
        geometry(shape, ratio)


def test_a_code_is_rounded_as_the_codec_rounds_it():
    codes = torch.relu(torch.randn(3, 6, 4, 4)) * torch.tensor([0.01, 1, 100]).view(3, 1, 1, 1)
    for code, found in zip(codes, rounded(codes)):
        expected = codec.decode(codec.encode(code.numpy(), "uint8"))
        step = float(code.max() - code.min()) / 255
        assert np.abs(found.numpy() - expected).max() < 1e-3 * step
        assert np.abs(found.numpy() - code.numpy()).max() > 0.1 * step


def test_a_code_of_equal_values_stays_what_it_is():
    assert torch.equal(rounded(torch.full((2, 3, 1, 1), 0.5)), torch.full((2, 3, 1, 1), 0.5))


def test_gradients_pass_as_if_nothing_was_rounded():
    code = torch.randn(2, 5, requires_grad=True)
    rounded(code).sum().backward()
    assert torch.equal(code.grad, torch.ones(2, 5))


def test_it_begins_with_the_mean_and_the_deviation_of_each_channel():
    features = torch.randn(64, 4, 8, 8) * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1)
    features += torch.tensor([-5.0, 0, 5, 50]).view(4, 1, 1)
    autoencoder = AutoEncoder((4, 8, 8), 8)
    autoencoder.begin_at(features)
    with torch.no_grad():
        found = autoencoder.train()(features)
    for expected, answer in zip(
        torch.std_mean(features, (0, 2, 3)), torch.std_mean(found, (0, 2, 3))
    ):
        assert torch.allclose(expected, answer, rtol=0.05, atol=0.05)
