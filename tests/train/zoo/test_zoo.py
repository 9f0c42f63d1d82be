"""Networks known by name against what was published of them."""

import pytest
import torch
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.layer_costs import NORMS, cost, plain_rule
from edgesdk.train.zoo.mobilenet_v2 import InvertedResidual, MobileNetV2
from edgesdk.train.zoo.resnet50 import Bottleneck, ResNet50
from edgesdk.train.zoo.vision_transformer import Attention, VisionTransformer

# Of ImageNet, 1000 classes and 224 pixels: parameters to the last, multiply-adds of convolutions,
# linear layers and attention in millions as the papers and their authors' code give them.
PUBLISHED = {
    "MobileNetV2": (MobileNetV2(1000), 3_504_872, 300.8),
    "ResNet-50": (ResNet50(1000), 25_557_032, 4089.2),
    # The paper's has a class token: 192 parameters and 192 positions more, and one token.
    "ViT-Ti/16": (VisionTransformer(1000, 3, 224, 16), 5_717_416 - 2 * 192, 1258.0),
}


def without_norms(layer, output):
    """The usual way to count: norms are folded into the convolutions before them."""
    assert plain_rule(layer, output) == (output.numel() if isinstance(layer, NORMS) else 0)
    return 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_those_published(name):
    module, parameters, millions = PUBLISHED[name]
    assert sum(p.numel() for p in module.parameters()) == parameters
    found = cost(module.eval(), torch.zeros(1, 3, 224, 224), without_norms, name) / 1e6
    assert found == pytest.approx(millions, rel=0.02 if name.startswith("ViT") else 1e-3)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (MobileNetV2(10, 1, small=True).features, (1280, 2, 2)),
        (MobileNetV2(10, 1).features, (1280, 1, 1)),
        (ResNet50(10, 1, small=True).stem, (64, 16, 16)),
        (ResNet50(10, 1).stem, (64, 8, 8)),
    ],
)
def test_the_small_form_keeps_maps_of_32_pixels_large(module, shape):
    assert tuple(module.eval()(torch.zeros(1, 1, 32, 32)).shape[1:]) == shape


@pytest.mark.parametrize(("stride", "channels"), [(1, 6), (1, 8), (2, 6)])
def test_an_inverted_residual_has_its_shortcut_where_the_shape_stays(stride, channels):
    block = InvertedResidual(6, channels, stride, 2).eval()
    nn.init.zeros_(block.layers[-1][1].weight)
    features = torch.randn(2, 6, 8, 8)
    given = block(features)
    assert given.shape == (2, channels, 8 // stride, 8 // stride)
    assert torch.equal(given, features if (stride, channels) == (1, 6) else torch.zeros_like(given))


def test_a_bottleneck_without_its_residual_is_its_activated_shortcut():
    block = Bottleneck(16, 4, 1).eval()
    nn.init.zeros_(block.residual[-1].weight)
    features = torch.randn(2, 16, 5, 5)
    assert torch.equal(block(features), features.relu())
    assert Bottleneck(8, 4, 2).eval()(torch.randn(1, 8, 6, 6)).shape == (1, 16, 3, 3)


def test_attention_is_what_torch_computes_in_one_call():
    torch.manual_seed(0)
    layer = Attention(tokens=5, width=12, heads=3).eval()
    features = torch.randn(2, 5, 12)
    queries, keys, values = (
        part.reshape(2, 5, 3, 4).transpose(1, 2) for part in layer.joint(features).chunk(3, dim=2)
    )
    mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
    expected = layer.out(mixed.transpose(1, 2).reshape(2, 5, 12))
    assert torch.allclose(layer(features), expected, atol=1e-6)


def test_patches_are_tokens_in_reading_order():
    module = VisionTransformer(3, 1, 8, 4, width=6, depth=1, heads=2)
    nn.init.zeros_(module.position)
    read = []
    module.blocks.register_forward_pre_hook(lambda layer, inputs: read.append(inputs[0]))
    images = torch.zeros(1, 1, 8, 8)
    images[0, 0, 0:4, 4:8] = 1  # the patch at the top right is token 1
    module(images)
    blank = module.patches.bias
    changed = [(token - blank).abs().max() > 1e-6 for token in read[0][0]]
    assert changed == [False, True, False, False]


@pytest.mark.parametrize("sizes", [(30, 4, 12, 2), (32, 4, 13, 2)])
def test_sizes_of_a_transformer_divide_each_other(sizes):
    size, patch, width, heads = sizes
    with pytest.raises(ConfigError, match="expected multiples"):
        VisionTransformer(3, 1, size, patch, width, 1, heads)
