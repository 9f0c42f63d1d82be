"""Features as they travel: what comes back, and what is refused before it can do harm."""

import sys
import threading
import tracemalloc
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk import codec
from edgesdk.core.tensor import BODY_BYTES_MAX, CODECS, LEARNED, Tensor, pack_tensor
from edgesdk.errors import BackendUnavailable, ConfigError, PeerError

PACKAGES = {"zstd": "zstandard", "lz4": "lz4"}


def needs(name):
    """Tests of a codec whose package is missing are skipped; of others nothing is needed."""
    if name not in PACKAGES:
        return ()
    missing = name not in codec.available()
    return pytest.mark.skipif(missing, reason=PACKAGES[name] + " is not installed")


ALL = [pytest.param(name, marks=needs(name)) for name in CODECS if name != LEARNED]
LOSSLESS = [pytest.param(name, marks=needs(name)) for name in ("raw", "zstd", "lz4")]
PACKED = [pytest.param(name, marks=needs(name)) for name in ("zstd", "lz4")]
needs_zstd, needs_lz4 = needs("zstd"), needs("lz4")
SHAPE = (16, 8, 8)
BYTES = 4 * 16 * 8 * 8


def features(seed=0, shape=SHAPE):
    """Half zeros, as behind a ReLU."""
    values = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    return np.maximum(values, 0)


def bits(array):
    return array.view(np.uint32).tolist()


def peak_bytes(call):
    """What `call` held at most, of memory that Python knows of; its PeerError is expected."""
    tracemalloc.start()
    try:
        with pytest.raises(PeerError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- there and back -----------------------------------------------------------------------------


def test_raw_is_the_memory_itself_on_both_sides():
    array = features()
    tensor = codec.encode(array, "raw")
    back = codec.decode(tensor)
    assert np.shares_memory(array, np.frombuffer(tensor.body, np.float32))
    assert np.shares_memory(array, back)
    assert back.shape == SHAPE and back.dtype == np.float32
    assert not back.flags.writeable and array.flags.writeable


def test_a_body_that_is_not_aligned_is_copied():
    array = features()
    body = memoryview(b"x" + array.tobytes())[1:]
    back = codec.decode(Tensor("float32", SHAPE, "raw", body))
    assert back.flags.aligned
    assert bits(back) == bits(array)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_codec_gives_back_every_bit(name):
    array = features()
    array[0, 0, :4] = [np.nan, np.inf, -np.inf, -0.0]
    tensor = codec.encode(array, name)
    assert tensor.codec == name
    assert bits(codec.decode(tensor)) == bits(array)
    assert name == "raw" or len(tensor.body) < array.nbytes


SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


@given(SHAPES, st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(-30, 30))
@pytest.mark.parametrize("name", ALL)
def test_any_finite_array_comes_back(name, shape, seed, zeros, exponent):
    random = np.random.RandomState(seed)
    array = (random.standard_normal(shape) * 10.0**exponent).astype(np.float32)
    array[random.random_sample(shape) < zeros] = 0
    tensor = codec.encode(array, name)
    assert tensor.codec in (name, "raw")
    pack_tensor(tensor, with_checksum=True)  # raises for what no peer would accept
    back = codec.decode(tensor)
    assert back.shape == shape and back.dtype == np.float32 and back.flags.c_contiguous
    if tensor.codec == "float16":
        assert np.all(np.abs(back - array) <= np.abs(array) * 2.0**-11 + 2.0**-25)
    elif tensor.codec == "uint8":
        allowed = 0.5 * tensor.scale + 1e-6 * np.abs(array).max()
        assert np.all(np.abs(back - array) <= allowed)
    else:
        assert bits(back) == bits(array)


@pytest.mark.parametrize("name", ALL)
def test_a_given_array_is_filled(name):
    array, out = features(), np.full(SHAPE, 7, np.float32)
    tensor = codec.encode(array, name)
    expected = codec.decode(tensor).copy()
    assert codec.decode(tensor, out=out) is out
    assert bits(out) == bits(expected)
    assert not np.shares_memory(out, array)


@pytest.mark.parametrize("value", [0.0, -3.25, 1e-30])
def test_equal_values_come_back_exactly_from_uint8(value):
    array = np.full((3, 5), value, np.float32)
    tensor = codec.encode(array, "uint8")
    assert (tensor.codec, tensor.scale) == ("uint8", 0.0)
    assert bits(codec.decode(tensor)) == bits(array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["float16", "uint8"])
def test_what_is_not_finite_is_never_sent_lossy(name, bad):
    array = features()
    array[3, 2, 1] = bad
    tensor = codec.encode(array, name)
    assert (tensor.codec, tensor.scale, tensor.offset) == ("raw", None, None)
    assert bits(codec.decode(tensor)) == bits(array)


@pytest.mark.parametrize(
    ("name", "values"),
    [("float16", [0.0, 65520.0]), ("float16", [-1e6, 1.0]), ("uint8", [-2e38, 2e38])],
)
def test_what_is_beyond_the_range_of_a_lossy_codec_is_sent_raw(name, values):
    array = np.array(values, np.float32)
    tensor = codec.encode(array, name)
    assert tensor.codec == "raw"
    assert bits(codec.decode(tensor)) == bits(array)


def test_the_largest_float16_is_still_sent_as_one():
    array = np.array([65504.0, -65504.0], np.float32)
    tensor = codec.encode(array, "float16")
    assert tensor.codec == "float16"
    assert bits(codec.decode(tensor)) == bits(array)


@pytest.mark.parametrize("name", PACKED)
def test_what_does_not_get_smaller_is_sent_raw(name):
    noise = np.frombuffer(np.random.RandomState(0).bytes(BYTES), np.float32)
    tensor = codec.encode(noise, name)
    assert tensor.codec == "raw"
    assert np.shares_memory(noise, np.frombuffer(tensor.body, np.float32))


def test_the_auxiliary_travels_uncopied():
    first = np.arange(10, dtype=np.float32)
    tensor = codec.encode(features(), "uint8", auxiliary=first)
    found = codec.decode_auxiliary(tensor)
    assert np.shares_memory(found, first) and not found.flags.writeable
    assert found.tolist() == first.tolist()
    assert codec.decode_auxiliary(codec.encode(features(), "raw")) is None


@pytest.mark.parametrize("body", [b"", b"12345"])
def test_an_auxiliary_of_broken_values_is_refused(body):
    tensor = codec.encode(features(), "raw")._replace(auxiliary=body)
    with pytest.raises(PeerError, match="expected whole float32 values"):
        codec.decode_auxiliary(tensor)


@pytest.mark.parametrize("name", PACKED)
def test_threads_do_not_disturb_each_other(name):
    wrong = []

    def work(seed):
        array = features(seed, (16, 32, 32))
        for _ in range(30):
            if bits(codec.decode(codec.encode(array, name))) != bits(array):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@needs_zstd
def test_zstd_works_in_memory_of_each_thread():
    """Its contexts are not made for two threads at once."""
    seen = []

    def work():
        codec.decode(codec.encode(features(), "zstd"))
        seen.append((codec._zstd.compressor, codec._zstd.decompressor))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
    assert seen[0][0] is not seen[1][0] and seen[0][1] is not seen[1][1]


# --- what cannot be encoded ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "found"),
    [
        ([1.0], "found list"),
        (np.zeros(3), r"found float64 \[3\]"),
        (np.zeros((4, 4), np.float32).T[:, :2], r"found float32 \[4, 2\], not in C order"),
        (np.zeros((), np.float32), r"found float32 \[\]"),
        (np.zeros((3, 0), np.float32), r"found float32 \[3, 0\]"),
        (np.zeros((1,) * 5, np.float32), "1 to 4 axes"),
        (np.zeros(65536, np.float32), "axes from 1 to 65535"),
        (np.zeros((65535, 33), np.float32), "at most 8388608 bytes"),
    ],
)
def test_what_no_receiver_would_take_is_refused(array, found):
    with pytest.raises(ConfigError, match="array: .*" + found):
        codec.encode(array, "raw")


@pytest.mark.parametrize("size", [0, 4097])
def test_an_auxiliary_that_no_receiver_would_take_is_refused(size):
    with pytest.raises(ConfigError, match=r"auxiliary: found float32 .* at most 16384 bytes"):
        codec.encode(features(), "raw", np.zeros(size, np.float32))


@pytest.mark.parametrize(
    "out",
    [
        np.zeros(SHAPE),
        np.zeros(BYTES // 4, np.float32),
        np.zeros((16, 8, 16), np.float32)[:, :, ::2],
        [],
    ],
    ids=["dtype", "shape", "order", "type"],
)
@pytest.mark.parametrize("name", ["raw", "float16", "uint8"])
def test_another_array_cannot_be_filled(name, out):
    with pytest.raises(ConfigError, match=r"out: found .*, expected a writable float32 array"):
        codec.decode(codec.encode(features(), name), out=out)


def test_an_unknown_codec_names_the_known_ones():
    for call in (lambda: codec.check_codec("zip"), lambda: codec.encode(features(), "zip")):
        with pytest.raises(ConfigError, match="codec: found 'zip', expected one of raw, float16"):
            call()


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_missing_package_is_named(name, monkeypatch):
    tensor = Tensor("float32", SHAPE, name, b"1234")
    for module in (PACKAGES[name], PACKAGES[name] + ".block"):
        monkeypatch.setitem(sys.modules, module, None)
    assert name not in codec.available()
    message = r'{} needs {}.*pip install "edgesdk\[{}\]"'.format(name, PACKAGES[name], name)
    for call in (
        lambda: codec.check_codec(name),
        lambda: codec.encode(features(), name),
        lambda: codec.decode(tensor),
    ):
        with pytest.raises(BackendUnavailable, match=message):
            call()


def test_what_needs_no_package_is_always_there():
    assert codec.available()[:3] == ("raw", "float16", "uint8")
    for name in codec.available():
        codec.check_codec(name)


# --- bodies that lie ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "shape", [(), (0,), (1,) * 5, (-1, -1), (65535, 65535), (3, BODY_BYTES_MAX)]
)
def test_an_impossible_shape_is_refused(name, shape):
    with pytest.raises(PeerError, match="shape: found "):
        codec.decode(codec.encode(features(), name)._replace(shape=shape))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(16, 8, 7), (17, 8, 8)])
def test_a_body_of_another_size_is_refused(name, shape):
    tensor = codec.encode(features(), name)
    with pytest.raises(PeerError, match=r"body.*: found .*, expected .*\d"):
        codec.decode(tensor._replace(shape=shape))


@pytest.mark.parametrize("changes", [{"dtype": "float16"}, {"codec": "learned"}])
def test_what_is_no_float32_is_refused(changes):
    with pytest.raises(PeerError, match=r"dtype and codec: found .*, expected float32 by one of"):
        codec.decode(codec.encode(features(), "raw")._replace(**changes))


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(None, 0.0), (1.0, None), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))],
)
def test_a_scale_that_means_nothing_is_refused(scale, offset):
    tensor = codec.encode(features(), "uint8")._replace(scale=scale, offset=offset)
    with pytest.raises(
        PeerError, match=r"scale and offset: found .*, expected a finite scale >= 0"
    ):
        codec.decode(tensor)


@pytest.mark.parametrize("name", ALL)
def test_a_body_with_gaps_is_refused(name):
    tensor = codec.encode(features(), name)
    with pytest.raises(PeerError, match="gaps between its bytes"):
        codec.decode(tensor._replace(body=memoryview(bytes(tensor.body) * 2)[::2]))


@pytest.mark.parametrize("name", PACKED)
def test_a_bomb_is_refused_before_it_is_unpacked(name):
    bomb = codec.encode(np.zeros((1024, 2048), np.float32), name)
    assert len(bomb.body) < BODY_BYTES_MAX / 200
    codec.decode(bomb)  # imports done, contexts made
    assert peak_bytes(lambda: codec.decode(bomb._replace(shape=(64,)))) < 20000


@pytest.mark.parametrize(("name", "arrays"), [("zstd", 1), ("lz4", 2)])
def test_unpacking_holds_no_more_than_declared(name, arrays):
    if name not in codec.available():
        pytest.skip(name + " is not installed")
    tensor = codec.encode(np.zeros((256, 1024), np.float32), name)
    codec.decode(tensor)
    tracemalloc.start()
    try:
        codec.decode(tensor)
        assert tracemalloc.get_traced_memory()[1] < arrays * 2**20 + 20000
    finally:
        tracemalloc.stop()


@needs_lz4
def test_a_short_lz4_block_makes_no_room_for_a_large_array():
    tensor = Tensor("float32", (1024, 2048), "lz4", b"\x10x" * 100)
    assert peak_bytes(lambda: codec.decode(tensor)) < 20000


@pytest.mark.parametrize("name", PACKED)
def test_broken_bodies_are_refused_or_give_an_array_of_the_declared_size(name):
    random = Random(5)
    tensor = codec.encode(features(), name)
    for _ in range(300):
        body = bytearray(tensor.body)
        for _ in range(random.randint(1, 3)):
            body[random.randrange(len(body))] = random.randrange(256)
        body = body[: random.choice([len(body), random.randrange(len(body))])]
        try:
            assert codec.decode(tensor._replace(body=bytes(body))).shape == SHAPE
        except PeerError as error:
            assert "found" in str(error) and "expected" in str(error)


# --- zstd frames --------------------------------------------------------------------------------

SINGLE_SEGMENT, CHECKSUM, DICTIONARY = 0x20, 0x04, 0x01
WINDOW_128_MIB = b"\x88"


def block(content, is_last=True, kind=0, size=None):
    """A block of a frame: kind 0 as it is, 1 one byte repeated."""
    size = len(content) if size is None else size
    return (size << 3 | kind << 1 | is_last).to_bytes(3, "little") + content


def frame(content_bytes, blocks, flags=SINGLE_SEGMENT, window=b"", dictionary=b""):
    """A zstd frame with a content size of four bytes, put together by hand."""
    header = bytes([0x80 | flags]) + window + dictionary + content_bytes.to_bytes(4, "little")
    return codec.ZSTD_MAGIC + header + blocks


def unpack(body, shape=SHAPE):
    return codec.decode(Tensor("float32", shape, "zstd", body))


CONTENT = features().tobytes()
WHOLE = frame(BYTES, block(CONTENT))


@needs_zstd
@pytest.mark.parametrize(
    "body",
    [
        WHOLE,
        frame(BYTES, block(CONTENT[:1000], False) + block(CONTENT[1000:])),
        frame(BYTES, block(CONTENT, False) + block(b"")),
    ],
    ids=["one block", "two blocks", "an empty last block"],
)
def test_another_encoders_frames_are_read(body):
    assert bits(unpack(body)) == bits(features())


@needs_zstd
def test_frames_of_other_levels_and_with_checksums_are_read():
    import zstandard

    for level in (-5, 3, 19):
        packer = zstandard.ZstdCompressor(level=level, write_checksum=True)
        assert bits(unpack(packer.compress(CONTENT))) == bits(features())


def without_size():
    import zstandard

    return zstandard.ZstdCompressor(write_content_size=False).compress(CONTENT)


ENDLESS = frame(BYTES, block(b"", False) * 20000 + block(CONTENT))
LIARS = [
    ("empty", b"", "begins with b''"),
    ("another format", b"\x1f\x8b" + CONTENT, "begins with"),
    ("skippable", b"\x50\x2a\x4d\x18" + BYTES.to_bytes(4, "little") + CONTENT, "begins with"),
    ("without a size", without_size, "no size, expected 4096 bytes, as declared"),
    ("too large", frame(BYTES + 4, block(CONTENT + b"1234")), "4100 bytes unpacked, expected 4096"),
    ("too small", frame(BYTES - 4, block(CONTENT[4:])), "4092 bytes unpacked, expected 4096"),
    ("huge", frame(2**32 - 1, block(b"0", kind=1, size=2**17)), "4294967295 bytes unpacked"),
    ("more than it says", frame(BYTES, block(CONTENT + b"1234")), "cannot be unpacked"),
    ("less than it says", frame(BYTES, block(CONTENT[4:])), "cannot be unpacked"),
    ("more by repetition", frame(BYTES, block(b"0", kind=1, size=2**17)), "cannot be unpacked"),
    ("a dictionary", frame(BYTES, block(CONTENT), 0x21, dictionary=b"\x07"), "the dictionary 7"),
    ("a window", frame(BYTES, block(CONTENT), 0, WINDOW_128_MIB), "a window of 134217728 bytes"),
    ("a byte more", WHOLE + b"x", "4109 bytes, expected 4108, where the frame ends"),
    ("two frames", WHOLE + WHOLE, "8216 bytes, expected 4108"),
    ("a byte less", WHOLE[:-1], "4107 bytes, expected at least 4108"),
    ("the header alone", WHOLE[:9], "9 bytes, expected at least"),
    ("half a header", WHOLE[:6], "cannot be unpacked"),
    ("no last block", frame(BYTES, block(CONTENT, False)), "expected at least"),
    ("blocks without end", ENDLESS, "blocks without end, expected few for 4096 bytes"),
    ("no checksum", frame(BYTES, block(CONTENT), SINGLE_SEGMENT | CHECKSUM), "expected 4112"),
]


@needs_zstd
@pytest.mark.parametrize(
    ("body", "message"), [liar[1:] for liar in LIARS], ids=[i[0] for i in LIARS]
)
def test_a_frame_that_lies_is_refused(body, message):
    body = body() if callable(body) else body
    with pytest.raises(PeerError) as caught:
        unpack(body)
    assert "zstd body: found " in str(caught.value) and message in str(caught.value)
    assert peak_bytes(lambda: unpack(body)) < BYTES + 20000
