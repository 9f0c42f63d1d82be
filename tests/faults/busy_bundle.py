"""A network that takes its time: `tiny`, with more channels, larger images and repeated layers.

Every channel is the image or its negative, and every layer passes all on; so answers depend on the
brightness alone, do not depend on the batch, and feel every value that travels.
"""

import io

import numpy as np
import tiny
from onnx import TensorProto, helper, numpy_helper

from edgesdk.bundle import write_bundle

IMAGE_COUNT = 64


def images(side, seed=7):
    """uint8 [IMAGE_COUNT, side, side]: noise of as many brightnesses."""
    rng = np.random.RandomState(seed)
    bright = np.linspace(8, 247, IMAGE_COUNT).reshape(-1, 1, 1)
    noise = rng.randint(-8, 9, (IMAGE_COUNT, side, side))
    order = rng.permutation(IMAGE_COUNT)
    return (bright + noise).astype(np.uint8)[order]


def write_busy_bundle(path, channels=256, side=16, repeats=2, policy=None, labels=None):
    """Write the bundle to the new folder `path`: features are 4 * channels * side**2 bytes, and a
    stage multiplies repeats * channels**2 * side**2 times. `policy`: the one it has, described;
    default that of `tiny`. Other `labels` make it another model."""
    manifest, files = tiny.tiny_manifest(), tiny.tiny_files()
    manifest["name"] = "busy"
    manifest["labels"] = labels or manifest["labels"]
    if policy is not None:
        manifest["policies"] = {manifest["default_policy"]: policy}
    manifest["preprocessing"].update(height=side, width=side)
    for index, segment in enumerate(manifest["parts"][0]["segments"]):
        segment["input_shape"] = [channels if index else 1, side, side]
        segment["output_shape"] = [channels, side, side]
        files["onnx/segment_{}.onnx".format(index)] = _segment(index, channels, side, repeats)
    for index, sharpness in enumerate(tiny.SHARPNESS):
        sign = np.where(np.arange(channels) % 2, -1.0, 1.0).astype(np.float32)
        weight = sharpness * np.stack([sign, -sign]) * 2 / channels
        files["heads/exit_{}.npz".format(index)] = _npz(
            weight=weight.astype(np.float32),
            bias=np.zeros(2, np.float32),
            scale=np.ones(channels, np.float32),
            shift=np.zeros(channels, np.float32),
        )
    return write_bundle(path, manifest, files)


def _segment(index, channels, side, repeats):
    """The first one spreads the image over all channels; then they are passed on `repeats` times.
    Where a value is 0 or 1, every order of summation gives the same."""
    odd = np.arange(channels) % 2
    layers = []
    if index == 0:
        layers.append((np.where(odd, -1.0, 1.0).reshape(channels, 1, 1, 1), odd.astype(float)))
    layers += [(np.eye(channels).reshape(channels, channels, 1, 1), np.zeros(channels))] * repeats
    names = ["features"] + ["layer_{}".format(n) for n in range(len(layers) - 1)] + ["output"]
    nodes, constants = [], []
    for number, (weight, bias) in enumerate(layers):
        inputs = [names[number], "weight_{}".format(number), "bias_{}".format(number)]
        nodes.append(helper.make_node("Conv", inputs, [names[number + 1]]))
        for name, value in zip(inputs[1:], (weight, bias)):
            constants.append(numpy_helper.from_array(value.astype(np.float32), name))
    shape_in = ("batch", channels if index else 1, side, side)
    shape_out = ("batch", channels, side, side)
    graph = helper.make_graph(
        nodes,
        "segment",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape_out)],
        constants,
    )
    return tiny.serialize(graph)


def _npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()
