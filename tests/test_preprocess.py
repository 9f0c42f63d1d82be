"""What `Preprocessor` does to a frame: layout, colour, crop, resize, and what it refuses.

Most models here have mean 0 and deviation 1/255, so that their input is the pixel value itself.
"""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk import preprocess as module
from edgesdk.core.spec import Preprocessing
from edgesdk.errors import ConfigError
from edgesdk.preprocess import LUMA_RGB, Preprocessor

EPSILON = float(np.finfo(np.float32).eps)
SIZES = [(1, 1), (1, 7), (5, 1), (3, 3), (8, 8), (7, 10), (13, 5), (16, 24)]


def pixel_model(color="rgb", size=(8, 8), resize="refuse", crop="none", frames="rgb"):
    channel_count = 1 if color == "gray" else 3
    mean, std = (0.0,) * channel_count, (1 / 255,) * channel_count
    return Preprocessor(Preprocessing(color, size[0], size[1], resize, crop, mean, std), frames)


def random_frame(*shape):
    return np.random.RandomState(sum(shape)).randint(0, 256, shape).astype(np.uint8)


def resize_tolerance(frame):
    """Bound on the rounding of two float32 dot products of h and w terms, in pixel values."""
    height, width = frame.shape[:2]
    return (height + width + 4) * EPSILON * 255


# Layout and normalisation


def test_every_level_of_every_channel_becomes_level_over_255_minus_mean_over_std():
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    preprocess = Preprocessor(Preprocessing("rgb", 16, 16, "refuse", "none", mean, std))
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)

    found = preprocess(np.stack([levels, levels[::-1], levels.T], axis=2))[0]

    for channel, plane in enumerate((levels, levels[::-1], levels.T)):
        exact = (plane / 255.0 - mean[channel]) / std[channel]
        # Two rounded constants, one product, one sum; each term is below 1 / std.
        assert np.abs(found[channel] - exact).max() <= 2 * EPSILON / std[channel]


def test_the_result_is_float32_in_c_order_with_a_batch_axis():
    batch = pixel_model(size=(4, 6))(random_frame(4, 6, 3))
    assert batch.shape == (1, 3, 4, 6)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous


def test_shape_is_channels_height_width():
    assert pixel_model("rgb", (4, 6)).shape == (3, 4, 6)
    assert pixel_model("gray", (4, 6)).shape == (1, 4, 6)


def test_write_fills_the_given_array_and_leaves_the_frame_alone():
    frame = random_frame(8, 8, 3)
    before = frame.copy()
    frame.flags.writeable = False
    out = np.full((3, 8, 8), np.nan, np.float32)
    pixel_model().write(frame, out)
    assert np.array_equal(out, frame.transpose(2, 0, 1))
    assert np.array_equal(frame, before)


def test_write_of_an_exact_frame_allocates_no_image():
    preprocess, frame = pixel_model(size=(256, 256)), random_frame(256, 256, 3)
    out = np.empty(preprocess.shape, np.float32)
    preprocess.write(frame, out)
    tracemalloc.start()
    preprocess.write(frame, out)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < frame.nbytes, "numpy's casting buffers are smaller than a copy would be"


def test_frames_may_be_views_in_any_memory_order():
    frame = random_frame(16, 16, 3)
    for view in (frame[::2, ::-2], frame[8:, :8], np.asfortranarray(frame[:8, :8])):
        assert np.array_equal(pixel_model()(view)[0], view.transpose(2, 0, 1))


# Colour


@pytest.mark.parametrize("model", ["rgb", "bgr"])
@pytest.mark.parametrize("size", [(8, 8), (5, 11)], ids=["exact", "resized"])
def test_a_frame_in_the_other_colour_order_gives_what_the_flipped_frame_gives(model, size):
    frame = random_frame(size[0], size[1], 3)
    as_rgb = pixel_model(model, resize="area", frames="rgb")
    as_bgr = pixel_model(model, resize="area", frames="bgr")
    assert np.array_equal(as_bgr(frame), as_rgb(frame[:, :, ::-1]))
    assert not np.array_equal(as_bgr(frame), as_rgb(frame))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_frame_in_the_models_own_colour_order_keeps_its_channels(order):
    frame = random_frame(8, 8, 3)
    assert np.array_equal(pixel_model(order, frames=order)(frame)[0], frame.transpose(2, 0, 1))


@pytest.mark.parametrize(("frames", "weights"), [("rgb", LUMA_RGB), ("bgr", LUMA_RGB[::-1])])
def test_a_gray_model_reads_the_luma_of_a_colour_frame(frames, weights):
    frame = random_frame(8, 8, 3)
    found = pixel_model("gray", frames=frames)(frame)[0, 0]
    exact = sum(weight * frame[:, :, c].astype(float) for c, weight in enumerate(weights))
    assert np.abs(found - exact).max() <= 4 * EPSILON * 255


def test_the_luma_of_a_gray_pixel_is_its_level():
    assert sum(Fraction(str(weight)) for weight in LUMA_RGB) == 1


def test_luma_before_and_after_a_resize_is_the_same():
    frame = random_frame(9, 13, 3)
    luma = pixel_model("gray", (9, 13))(frame)[0, 0]
    resized = pixel_model("gray", (3, 4), "area")(frame)[0, 0]
    assert np.abs(resized - slow_area(luma, 3, 4)).max() <= resize_tolerance(frame)


def test_a_colour_model_sees_a_gray_frame_in_every_channel_with_the_channels_own_mean():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    preprocess = Preprocessor(Preprocessing("rgb", 8, 8, "refuse", "none", mean, std))
    gray = random_frame(8, 8)
    assert np.array_equal(preprocess(gray), preprocess(np.stack([gray] * 3, axis=2)))


# Crop


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((8, 12), slice(0, 8), slice(2, 10)),
        ((12, 8), slice(2, 10), slice(0, 8)),
        ((8, 11), slice(0, 8), slice(1, 9)),  # an odd remainder leaves more on the right
        ((8, 8), slice(0, 8), slice(0, 8)),
    ],
)
def test_the_centre_crop_keeps_the_middle(size, rows, columns):
    frame = random_frame(size[0], size[1], 3)
    found = pixel_model(crop="center")(frame)[0]
    assert np.array_equal(found, frame[rows, columns].transpose(2, 0, 1))


def test_the_centre_crop_has_the_models_aspect_ratio_not_its_size():
    frame = random_frame(20, 60)
    found = pixel_model("gray", (4, 8), "area", "center")(frame)[0, 0]
    assert np.abs(found - slow_area(frame[:, 10:50], 4, 8)).max() <= resize_tolerance(frame)


def test_without_a_crop_the_whole_frame_is_squeezed():
    frame = random_frame(20, 60)
    found = pixel_model("gray", (4, 8), "area", "none")(frame)[0, 0]
    assert np.abs(found - slow_area(frame, 4, 8)).max() <= resize_tolerance(frame)


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (1, 1), (2, 999)])
def test_the_crop_of_a_very_long_frame_keeps_at_least_one_pixel(size):
    level = np.full(size, 77, np.uint8)
    found = pixel_model("gray", (4, 64), "area", "center")(level)
    assert np.abs(found - 77).max() <= resize_tolerance(level)


# Resize


def slow_area(image, height, width):
    """Each target pixel is the mean of the source area under it, pixel by pixel."""

    def overlaps(target, source):
        for t in range(target):
            start, end = Fraction(t * source, target), Fraction((t + 1) * source, target)
            shares = [(s, min(end, s + 1) - max(start, s)) for s in range(source)]
            yield [(s, float(share / (end - start))) for s, share in shares if share > 0]

    rows = list(overlaps(height, image.shape[0]))
    columns = list(overlaps(width, image.shape[1]))
    return np.array(
        [
            [
                sum(a * b * float(image[y, x]) for y, a in row for x, b in column)
                for column in columns
            ]
            for row in rows
        ]
    )


def slow_bilinear(image, height, width):
    """Each target pixel's centre falls between four source centres; outside, the edge repeats."""

    def sample(y, x):
        y0, x0 = int(np.floor(y)), int(np.floor(x))
        total = 0.0
        for j, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
            for i, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
                j_inside = min(max(j, 0), image.shape[0] - 1)
                i_inside = min(max(i, 0), image.shape[1] - 1)
                total += wy * wx * float(image[j_inside, i_inside])
        return total

    y_step, x_step = image.shape[0] / height, image.shape[1] / width
    return np.array(
        [
            [sample((t + 0.5) * y_step - 0.5, (u + 0.5) * x_step - 0.5) for u in range(width)]
            for t in range(height)
        ]
    )


@pytest.mark.parametrize("target", SIZES)
@pytest.mark.parametrize("source", SIZES)
@pytest.mark.parametrize(("resize", "slow"), [("area", slow_area), ("bilinear", slow_bilinear)])
def test_resizing_is_its_definition(resize, slow, source, target):
    frame = random_frame(*source)
    found = pixel_model("gray", target, resize)(frame)[0, 0]
    assert np.abs(found - slow(frame, *target)).max() <= resize_tolerance(frame)


@pytest.mark.parametrize("resize", ["area", "bilinear"])
def test_the_channels_of_a_colour_frame_are_resized_apart(resize):
    frame = random_frame(13, 9, 3)
    found = pixel_model("rgb", (5, 4), resize)(frame)[0]
    for channel in range(3):
        alone = pixel_model("gray", (5, 4), resize)(frame[:, :, channel])[0, 0]
        assert np.abs(found[channel] - alone).max() <= 2 * resize_tolerance(frame)


@pytest.mark.parametrize("resize", ["refuse", "area", "bilinear"])
@pytest.mark.parametrize("size", SIZES)
def test_a_frame_of_the_models_size_is_not_touched(resize, size):
    frame = random_frame(*size)
    assert np.array_equal(pixel_model("gray", size, resize)(frame)[0, 0], frame)


sides = st.integers(1, 48)


@given(sides, sides, sides, sides, st.integers(0, 255), st.sampled_from(["area", "bilinear"]))
def test_one_level_stays_that_level(height, width, target_height, target_width, level, resize):
    frame = np.full((height, width), level, np.uint8)
    found = pixel_model("gray", (target_height, target_width), resize)(frame)
    assert np.abs(found - level).max() <= resize_tolerance(frame)


@given(sides, sides, sides, sides)
def test_area_averaging_keeps_the_mean(height, width, target_height, target_width):
    frame = random_frame(height, width)
    found = pixel_model("gray", (target_height, target_width), "area")(frame)
    assert abs(found.mean(dtype=float) - frame.mean()) <= resize_tolerance(frame)


@given(sides, sides, sides, sides, st.sampled_from(["area", "bilinear"]))
def test_a_mirrored_frame_gives_the_mirrored_input(
    height, width, target_height, target_width, resize
):
    frame = random_frame(height, width)
    preprocess = pixel_model("gray", (target_height, target_width), resize)
    mirrored = preprocess(frame[::-1, ::-1])[0, 0, ::-1, ::-1]
    assert np.abs(mirrored - preprocess(frame)[0, 0]).max() <= 2 * resize_tolerance(frame)


def pillow_resized(frame, size, filter_name):
    """Pillow in its float mode, which does not round to whole levels."""
    image = pytest.importorskip("PIL.Image")
    float_image = image.fromarray(frame.astype(np.float32))
    return np.asarray(float_image.resize(size[::-1], getattr(image, filter_name)))


@pytest.mark.parametrize("factors", [(1, 2), (2, 2), (3, 5), (15, 20)])
def test_area_by_whole_factors_is_pillows_box(factors):
    frame = random_frame(8 * factors[0], 6 * factors[1])
    found = pixel_model("gray", (8, 6), "area")(frame)[0, 0]
    assert np.abs(found - pillow_resized(frame, (8, 6), "BOX")).max() <= resize_tolerance(frame)


@pytest.mark.parametrize("source", [(1, 1), (3, 4), (7, 5), (16, 15)])
def test_enlarging_bilinear_is_pillows_bilinear(source):
    frame = random_frame(*source)
    found = pixel_model("gray", (16, 31), "bilinear")(frame)[0, 0]
    pillow = pillow_resized(frame, (16, 31), "BILINEAR")
    assert np.abs(found - pillow).max() <= resize_tolerance(frame)


def test_the_callers_resize_overrides_the_bundles():
    spec = Preprocessing("gray", 4, 4, "refuse", "none", (0.0,), (1 / 255,))
    frame = random_frame(8, 8)
    with pytest.raises(ConfigError):
        Preprocessor(spec)(frame)
    allowed = Preprocessor(spec, resize="area")
    assert allowed.resize == "area"
    assert np.array_equal(allowed(frame), pixel_model("gray", (4, 4), "area")(frame))
    with pytest.raises(ConfigError):
        Preprocessor(spec._replace(resize="area"), resize="refuse")(frame)


def test_the_weights_of_a_resize_are_computed_once_and_cannot_be_changed():
    weights = module._weights("area", 8, 31)
    assert module._weights("area", 8, 31) is weights
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1


# float32 in the model's layout


def test_float32_in_the_models_layout_is_copied_unchanged():
    preprocess = Preprocessor(Preprocessing("rgb", 4, 6, "area", "none", (0.5,) * 3, (0.2,) * 3))
    ready = np.random.RandomState(0).randn(3, 4, 6).astype(np.float32)
    ready[0, 0, :3] = [-0.0, np.finfo(np.float32).max, np.finfo(np.float32).tiny / 2]
    batch = preprocess(ready)
    assert batch[0].tobytes() == ready.tobytes()
    assert not np.shares_memory(batch, ready)


@pytest.mark.parametrize(("bad", "count"), [([np.nan], 1), ([np.inf, -np.inf, np.nan], 3)])
def test_values_that_are_not_finite_are_counted(bad, count):
    ready = np.zeros((3, 8, 8), np.float32)
    ready.reshape(-1)[: len(bad)] = bad
    with pytest.raises(ConfigError, match="found {} values that are NaN or inf.*192".format(count)):
        pixel_model()(ready)


# Single images and batches


@pytest.mark.parametrize(
    ("images", "count", "was_single"),
    [
        (np.zeros((8, 8), np.uint8), 1, True),
        (np.zeros((8, 8, 3), np.uint8), 1, True),
        (np.zeros((9, 3), np.uint8), 1, True),
        (np.zeros((3, 8, 8), np.float32), 1, True),
        (np.zeros((1, 8, 8, 3), np.uint8), 1, False),
        (np.zeros((5, 8, 8, 3), np.uint8), 5, False),
        (np.zeros((5, 8, 8), np.uint8), 5, False),
        (np.zeros((1, 8, 8), np.uint8), 1, False),
        (np.zeros((2, 8, 5), np.uint8), 2, False),  # the narrowest gray images of a batch array
        (np.zeros((3, 9, 9), np.uint8), 3, False),
        (np.zeros((5, 3, 8, 8), np.float32), 5, False),
        (np.zeros((0, 8, 8, 3), np.uint8), 0, False),
        ([], 0, False),
        ([np.zeros((8, 8), np.uint8)], 1, False),
        ((np.zeros((9, 7, 3), np.uint8), np.zeros((3, 8, 8), np.float32)), 2, False),
    ],
    ids=lambda value: "{}{}".format(value.dtype, value.shape) if hasattr(value, "dtype") else None,
)
def test_frames_splits_what_it_is_given(images, count, was_single):
    singles, single = pixel_model().frames(images)
    assert (len(singles), single) == (count, was_single)
    assert all(np.shares_memory(a, b) for a, b in zip(singles, [images] if single else images))


@pytest.mark.parametrize("shape", [(4, 9, 7, 3), (4, 9, 7)])
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_batch_gives_what_its_images_give(shape, color):
    preprocess, batch = pixel_model(color, resize="bilinear"), random_frame(*shape)
    one_by_one = np.concatenate([preprocess(image) for image in batch])
    assert np.array_equal(preprocess(batch), one_by_one)
    assert np.array_equal(preprocess(list(batch)), one_by_one)


def test_the_images_of_a_list_may_differ_in_size_and_kind():
    preprocess = pixel_model(resize="area")
    images = [random_frame(8, 8, 3), random_frame(20, 11), np.ones((3, 8, 8), np.float32)]
    found = preprocess(images)
    assert found.shape == (3, 3, 8, 8)
    assert all(np.array_equal(found[i], preprocess(image)[0]) for i, image in enumerate(images))


def test_three_gray_frames_of_the_models_size_go_in_as_a_list():
    frames = random_frame(3, 8, 8)
    with pytest.raises(ConfigError, match="moveaxis"):
        pixel_model()(frames)
    assert np.array_equal(pixel_model()(list(frames))[:, 1], frames)


# Refusals: every message says what was found, what was expected and what to do


FRAME = "uint8 [H,W] or [H,W,3]"
READY = "float32 [3,8,8]"
SWAPPED = np.dtype(np.float32).newbyteorder()  # not this machine's byte order
REFUSED = [
    (np.zeros((8, 8, 3), np.float64), "float64 [8,8,3]", READY, "astype(numpy.float32)"),
    (np.zeros((3, 8, 8), np.float64), "float64 [3,8,8]", READY, "astype(numpy.float32)"),
    (np.zeros((3, 8, 8), np.float16), "float16 [3,8,8]", READY, "astype(numpy.float32)"),
    (np.zeros((3, 8, 8), SWAPPED), "f4 [3,8,8]", READY, "astype(numpy.float32)"),
    (np.zeros((8, 8, 3), np.float32), "float32 [8,8,3]", READY, "transpose(2, 0, 1)"),
    (np.zeros((3, 9, 8), np.float32), "float32 [3,9,8]", READY, "uint8 frame itself"),
    (np.zeros((8, 8), np.float32), "float32 [8,8]", READY, "uint8 frame itself"),
    (np.zeros((3, 8, 8), np.uint8), "uint8 [3,8,8]", FRAME, "moveaxis(image, -3, -1)"),
    (np.zeros((2, 3, 8, 8), np.uint8), "uint8 [2,3,8,8]", FRAME, "moveaxis(image, -3, -1)"),
    (np.zeros((8, 8, 1), np.uint8), "uint8 [8,8,1]", FRAME, "image[..., 0]"),
    (np.zeros((8, 8, 4), np.uint8), "uint8 [8,8,4]", FRAME, "image[..., :3]"),
    (np.zeros((2, 8, 8, 4), np.uint8), "uint8 [2,8,8,4]", FRAME, "image[..., :3]"),
    (np.zeros(64, np.uint8), "uint8 [64]", FRAME, "one image, a batch"),
    (np.zeros((1, 2, 8, 8, 3), np.uint8), "uint8 [1,2,8,8,3]", FRAME, "one leading axis"),
    (np.uint8(3), "a uint8", FRAME, "numpy.asarray"),
    (np.zeros((8, 8, 3), np.int64), "int64 [8,8,3]", FRAME, "astype(numpy.uint8)"),
    (np.zeros((8, 8, 3), np.uint16), "uint16 [8,8,3]", FRAME, "astype(numpy.uint8)"),
    (np.zeros((8, 8), bool), "bool [8,8]", FRAME, "astype(numpy.uint8)"),
    (np.zeros((0, 8), np.uint8), "uint8 [0,8]", FRAME, "empty"),
    (np.zeros((8, 0, 3), np.uint8), "uint8 [8,0,3]", FRAME, "empty"),
    (np.zeros((2, 0, 8, 3), np.uint8), "image 0: found uint8 [0,8,3]", FRAME, "empty"),
    (None, "a NoneType", FRAME, "numpy.asarray"),
    ("frame.png", "a str", FRAME, "numpy.asarray"),
    (b"\xff\xd8", "a bytes", FRAME, "numpy.asarray"),
    ([[1, 2], [3, 4]], "image 0: found a list", FRAME, "numpy.asarray"),
    ([np.zeros((8, 8), np.uint8), None], "image 1: found a NoneType", FRAME, "numpy.asarray"),
    ([np.zeros((2, 8, 8, 3), np.uint8)], "image 0: found uint8 [2,8,8,3]", FRAME, "a batch"),
    (np.zeros((9, 8, 3), np.uint8), "9 x 8 pixels", "expected 8 x 8", 'resize="area"'),
    (np.full((3, 8, 8), np.nan, np.float32), "192 values", "finite float32", "normalisation"),
]


@pytest.mark.parametrize(("images", "found", "expected", "remedy"), REFUSED)
def test_a_refusal_says_found_expected_and_what_to_do(images, found, expected, remedy):
    with pytest.raises(ConfigError) as refusal:
        pixel_model()(images)
    message = str(refusal.value)
    assert found in message
    assert expected in message
    assert remedy in message


@pytest.mark.parametrize("image", [image for image, _, _, _ in REFUSED if type(image) is not list])
def test_write_refuses_what_a_call_refuses(image):
    out = np.full((3, 8, 8), 7, np.float32)
    with pytest.raises(ConfigError):
        pixel_model().write(image, out)
    assert (out == 7).all(), "a refused image must not leave half an input behind"


def test_a_size_that_is_refused_after_the_crop_says_so():
    with pytest.raises(ConfigError, match=r"found 20 x 20 pixels .* after the centre crop"):
        pixel_model(crop="center")(random_frame(20, 40, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "rbg"}, 'color: found \'rbg\'; expected "rgb" or "bgr"'),
        ({"color": "gray"}, 'color: found \'gray\'; expected "rgb" or "bgr"'),
        ({"resize": "cubic"}, 'resize: found \'cubic\'; expected "refuse" or "area" or'),
    ],
)
def test_options_are_checked_when_they_are_given(options, message):
    with pytest.raises(ConfigError) as refusal:
        Preprocessor(Preprocessing("gray", 8, 8, "refuse", "none", (0.0,), (1.0,)), **options)
    assert message in str(refusal.value)
