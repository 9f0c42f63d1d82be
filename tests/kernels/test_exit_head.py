"""exit_head and exit_feature: affine, ReLU, average pool, linear layer, scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import entropy_error, linear_error, pooled_error, probability_error

from edgesdk.errors import ConfigError
from edgesdk.kernels import reference

# batch, channels, positions, classes: single values, odd sizes, blocks of four, large ones
SIZES = [
    (1, 1, (), 1),
    (1, 1, (1,), 2),
    (2, 3, (5,), 3),
    (3, 4, (2, 3), 4),
    (5, 7, (3, 3, 3), 9),
    (1, 16, (32, 32), 10),
    (32, 64, (8, 8), 10),
    (2, 513, (7, 7), 1001),
    (0, 4, (2, 2), 3),
]


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def make(size, seed=0):
    batch, channels, positions, classes = size
    rng = np.random.default_rng(seed)
    return {
        "features": normal(rng, batch, channels, *positions),
        "weight": normal(rng, classes, channels),
        "bias": normal(rng, classes),
        "scale": normal(rng, channels),
        "shift": normal(rng, channels),
    }


def assert_close(found, expected, tolerance):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.all(np.abs(found.astype(np.float64) - expected) <= tolerance)


def assert_scores_agree(found, given_logits, logit_error):
    """`found` are the scores of logits known up to `logit_error` [B,N]."""
    worst = logit_error.max(axis=1, initial=0)
    expected = reference.exit_scores(given_logits)
    count = given_logits.shape[1]
    assert_close(found.max_probability, expected.max_probability, probability_error(count, worst))
    assert_close(found.margin, expected.margin, 2 * probability_error(count, worst))
    assert_close(found.entropy, expected.entropy, entropy_error(count, worst))
    chosen = np.take_along_axis(given_logits, found.class_index[:, None], axis=1)[:, 0]
    assert found.class_index.dtype == np.int64
    assert np.all(chosen >= given_logits.max(axis=1) - 2 * worst)


def by_hand(features, weight, bias, scale=None, shift=None):
    """Logits, one sample and channel after the other; only the affine step is float32."""
    result = np.zeros((features.shape[0], len(bias)))
    for b, sample in enumerate(features):
        pooled = []
        for c, channel in enumerate(sample):
            value = channel if scale is None else channel * scale[c] + shift[c]
            pooled.append(np.mean([max(float(x), 0.0) for x in np.ravel(value)]))
        result[b] = weight.astype(np.float64) @ np.array(pooled) + bias
    return result


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("affine", [True, False])
def test_every_size_agrees_with_the_formula(kernels, size, affine):
    arguments = make(size)
    if not affine:
        del arguments["scale"], arguments["shift"]
    logits = by_hand(**arguments)
    error = linear_error(**arguments)
    found = kernels.exit_head(logits=True, **arguments)
    assert_close(found.logits, logits.astype(np.float32), error)
    assert_scores_agree(found, logits.astype(np.float32), error)


@given(
    st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 40), st.integers(1, 12)),
    st.integers(0, 2**32 - 1),
)
def test_native_agrees_with_the_reference(size, seed):
    native = pytest.importorskip("edgesdk.kernels._native")
    batch, channels, positions, classes = size
    arguments = make((batch, channels, (positions,), classes), seed)
    expected = reference.exit_head(logits=True, **arguments)
    found = native.exit_head(logits=True, **arguments)
    error = linear_error(**arguments)
    assert_close(found.logits, expected.logits, error)
    assert_scores_agree(found, expected.logits, error)


def test_scores_are_those_of_the_returned_logits(kernels):
    found = kernels.exit_head(logits=True, **make((4, 6, (3, 3), 10)))
    again = kernels.exit_scores(found.logits)
    for name in ("class_index", "max_probability", "margin", "entropy"):
        assert np.array_equal(getattr(found, name), getattr(again, name))


def test_logits_come_only_on_request(kernels):
    arguments = make((2, 3, (4,), 5))
    without = kernels.exit_head(**arguments)
    assert without.logits is None
    scores = kernels.exit_head(logits=True, **arguments)
    assert scores.logits.shape == (2, 5)
    assert np.array_equal(without.entropy, scores.entropy)


def test_relu_comes_after_the_affine_step(kernels):
    features = np.array([[[-1.0, 1.0]]], np.float32)
    one = np.ones(1, np.float32)
    assert kernels.exit_feature(features)[0, 0] == 0.5
    assert kernels.exit_feature(features, -one, one)[0, 0] == 1.0  # max(2, 0) and max(0, 0)
    assert kernels.exit_feature(features, one, -one)[0, 0] == 0.0


def test_features_without_positions_are_their_own_average(kernels):
    features = np.array([[1.5, -2.0, 3.25]], np.float32)
    assert np.array_equal(kernels.exit_feature(features), [[1.5, 0.0, 3.25]])


@pytest.mark.parametrize("size", SIZES)
def test_exit_feature_with_and_without_projection(kernels, size):
    arguments = make(size)
    features, scale, shift = (arguments[name] for name in ("features", "scale", "shift"))
    plain = kernels.exit_feature(features, scale, shift)
    error = pooled_error(features, scale, shift)
    expected = reference.exit_feature(features, scale, shift)
    assert_close(plain, expected, error)
    projected = kernels.exit_feature(features, scale, shift, arguments["weight"])
    expected = reference.exit_feature(features, scale, shift, arguments["weight"])
    error = linear_error(features, arguments["weight"], None, scale, shift)
    assert_close(projected, expected, error)


@pytest.mark.parametrize("channel", range(5))
@pytest.mark.parametrize("position", [0, 8, 36])
def test_nan_passes_relu_and_stays_in_its_sample(kernels, channel, position):
    arguments = make((3, 5, (37,), 4))
    clean = kernels.exit_head(**arguments)
    arguments["features"][1, channel, position] = np.nan
    found = kernels.exit_head(logits=True, **arguments)
    assert np.isnan(found.logits[1]).all()
    assert found.class_index[1] == 0
    for name in ("max_probability", "margin", "entropy"):
        assert np.isnan(getattr(found, name)[1])
        assert np.array_equal(getattr(found, name)[[0, 2]], getattr(clean, name)[[0, 2]])
    assert np.array_equal(found.class_index[[0, 2]], clean.class_index[[0, 2]])
    assert np.isnan(kernels.exit_feature(arguments["features"])[1, channel])


def test_infinite_features(kernels):
    arguments = make((2, 3, (4,), 5))
    arguments["features"][0, 1, 2] = -np.inf  # ReLU makes it 0
    del arguments["scale"], arguments["shift"]
    assert np.isfinite(kernels.exit_head(**arguments).entropy).all()
    arguments["features"][0, 1, 2] = np.inf
    assert np.isposinf(kernels.exit_feature(arguments["features"])[0, 1])
    found = kernels.exit_head(**arguments)
    assert np.isnan(found.max_probability[0])
    assert np.isfinite(found.max_probability[1])


def test_out_is_filled_and_returned(kernels):
    arguments = make((3, 4, (5,), 6))
    expected = kernels.exit_head(logits=True, **arguments)
    for logits in (None, np.full((3, 6), 7, np.float32)):
        out = type(expected)(
            np.full(3, -1, np.int64), *(np.full(3, 7, np.float32) for _ in range(3)), logits
        )
        found = kernels.exit_head(out=out, **arguments)
        for field, written, wanted in zip(found, out, expected):
            assert field is written
            assert field is None or np.array_equal(field, wanted)
    feature = np.full((3, 4), 7, np.float32)
    assert kernels.exit_feature(arguments["features"], out=feature) is feature
    assert np.array_equal(feature, kernels.exit_feature(arguments["features"]))


WRONG = {
    "features as a list": ("features", lambda a: a.tolist(), "found list"),
    "float64 features": ("features", lambda a: a.astype(np.float64), "found float64"),
    "big-endian features": ("features", lambda a: a.astype(">f4"), "found >f4"),
    "features without channels": ("features", lambda a: a[:, 0, 0].copy(), r"\[B, C, ...\]"),
    "features in another order": ("features", np.asfortranarray, "another axis order"),
    "every second feature": ("features", lambda a: a[:, :, ::2], "gaps"),
    "no positions": ("features", lambda a: a[:, :, :0].copy(), "at least one value per channel"),
    "no channels": ("features", lambda a: a[:, :0].copy(), r"shape \[3, 0, 6\]"),
    "weight of other channels": ("weight", lambda a: a[:, :3].copy(), r"expected .* \[N, 4\]"),
    "weight without classes": ("weight", lambda a: a[:0].copy(), r"shape \[0, 4\]"),
    "transposed weight": ("weight", lambda a: a.T.copy().T, "another axis order"),
    "bias of other classes": ("bias", lambda a: a[:4].copy(), r"expected .* \[5\]"),
    "float16 bias": ("bias", lambda a: a.astype(np.float16), "found float16"),
    "no bias": ("bias", lambda a: None, "found None"),
    "scale alone": ("shift", lambda a: None, "scale and shift together"),
    "shift alone": ("scale", lambda a: None, "scale and shift together"),
    "long scale": ("scale", lambda a: np.append(a, a), r"found shape \[8\]"),
    "integer shift": ("shift", lambda a: a.astype(np.int32), "found int32"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_wrong_arguments_are_named(kernels, case):
    name, spoil, message = WRONG[case]
    arguments = make((3, 4, (6,), 5))
    arguments[name] = spoil(arguments[name])
    with pytest.raises(ConfigError, match="^{}: .*{}".format(name, message)):
        kernels.exit_head(**arguments)


@pytest.mark.parametrize("field", ["class_index", "max_probability", "margin", "entropy", "logits"])
@pytest.mark.parametrize("fault", ["short", "dtype", "read-only", "strided"])
def test_wrong_out_is_named_and_untouched(kernels, field, fault):
    arguments = make((4, 2, (3,), 5))
    out = kernels.exit_head(logits=True, **arguments)
    array = getattr(out, field).copy()
    if fault == "short":
        array = array[:2].copy()
    elif fault == "dtype":
        array = array.astype(np.float64)
    elif fault == "read-only":
        array.flags.writeable = False
    else:
        array = np.repeat(array, 2, axis=0)[::2]
    before = array.copy()
    with pytest.raises(ConfigError, match="^out.{}: found".format(field)):
        kernels.exit_head(out=out._replace(**{field: array}), **arguments)
    assert np.array_equal(array, before)


def test_out_must_be_exit_scores_and_have_what_is_asked(kernels):
    arguments = make((2, 2, (3,), 5))
    with pytest.raises(ConfigError, match=r"^out: found list, expected ExitScores"):
        kernels.exit_head(out=[], **arguments)
    out = kernels.exit_head(**arguments)
    with pytest.raises(ConfigError, match=r"^out\.logits: found None"):
        kernels.exit_head(out=out, logits=True, **arguments)


def test_wrong_projection_and_feature_out(kernels):
    features = make((2, 4, (3,), 5))["features"]
    with pytest.raises(ConfigError, match=r"^projection: found shape \[5, 3\]"):
        kernels.exit_feature(features, projection=np.zeros((5, 3), np.float32))
    with pytest.raises(ConfigError, match=r"^out: found shape \[2, 3\], expected .* \[2, 4\]"):
        kernels.exit_feature(features, out=np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("size", [(1, 16, (32, 32), 10), (32, 64, (8, 8), 10)])
def test_torch_says_the_same(kernels, size):
    torch = pytest.importorskip("torch")
    arguments = make(size)
    x, weight, bias, scale, shift = (torch.from_numpy(arguments[name]) for name in arguments)
    zero, one = torch.zeros(len(scale)), torch.ones(len(scale))
    normed = torch.nn.functional.batch_norm(x, zero, one, scale, shift, eps=0.0)
    logits = torch.nn.functional.linear(torch.relu(normed).mean((2, 3)), weight, bias)
    # torch sums in float32 too: both may be off, and its batch norm rounds otherwise
    error = 3 * linear_error(**arguments) + 4 * 2.0**-24 * np.abs(logits.numpy())
    found = kernels.exit_head(logits=True, **arguments)
    assert_close(found.logits, logits.numpy(), error)
    probability = torch.softmax(torch.from_numpy(found.logits), 1)
    top = probability.topk(2, 1).values
    entropy = -(probability * probability.log()).sum(1)
    assert_close(found.max_probability, top[:, 0].numpy(), 2 * probability_error(10))
    assert_close(found.margin, (top[:, 0] - top[:, 1]).numpy(), 4 * probability_error(10))
    assert_close(found.entropy, entropy.numpy(), 2 * entropy_error(10))
