"""Messages as frames: frozen bytes, one form per message, everything else refused."""

import math
import struct

import message_strategies as messages
import pytest
import wire_fuzz
import wire_golden
from hypothesis import given

from edgesdk.core import tensor as tensors
from edgesdk.core import wire, wire_format
from edgesdk.core.events import NAN, Answer, Scores
from edgesdk.core.messages import (
    FEATURE_BYTES_MAX,
    HOPS_MAX,
    ITEMS_MAX,
    STAGES_MAX,
    TEXT_MAX,
    WINDOW,
    Ack,
    Bye,
    Envelope,
    Hello,
    Progress,
    Reject,
    clipped,
)
from edgesdk.core.tensor import Tensor
from edgesdk.core.wire_kinds import KINDS
from edgesdk.errors import PeerError

FUZZ_CASES = 20000
ALL = sorted(wire_golden.MESSAGES)
RAW = Tensor("float32", (3, 2, 2), "raw", wire_golden.BODY)


def changed(name, at, data):
    """The golden frames with `data` at byte `at` of frame 0, and a right checksum."""
    frames = wire_golden.read(name)
    return wire_fuzz.mended([frames[0][:at] + data + frames[0][at + len(data) :]] + frames[1:])


def offset(fields, name):
    """Where a field of a kind's struct lies in frame 0."""
    before = [field for field, _ in fields].index(name)
    return wire_format.compiled(wire_format.HEADER_FIELDS + fields[:before]).size


def at_of_task(name):
    return offset(wire_format.TASK_FIELDS + tensors.TENSOR_FIELDS, name)


def assert_refused(frames, match):
    with pytest.raises(PeerError, match=match) as refused:
        wire.decode(frames)
    assert "found" in str(refused.value) and "expected" in str(refused.value)


class TestGolden:
    def test_no_file_is_missing(self):
        found = sorted(path.stem for path in wire_golden.FOLDER.glob("*.bin"))
        assert found == ALL, "python tests/core/wire_golden.py writes what is missing"

    def test_every_kind_is_there(self):
        kinds = {type(message) for message, _, _ in wire_golden.MESSAGES.values()}
        assert kinds == set(KINDS) | {type(wire_golden.task())}

    @pytest.mark.parametrize("name", ALL)
    def test_is_what_we_send(self, name):
        assert wire_golden.frames_of(name) == wire_golden.read(name)

    @pytest.mark.parametrize("name", ALL)
    def test_is_understood(self, name):
        found = wire.decode(wire_golden.read(name))
        assert found == (wire_golden.envelope_of(name), wire_golden.MESSAGES[name][1])

    @pytest.mark.parametrize("name", ALL)
    def test_no_part_of_it_is_understood(self, name):
        whole = wire_golden.read(name)
        for at, frame in enumerate(whole):
            for size in range(len(frame)):
                parts = whole[:at] + [frame[:size]] + whole[at + 1 :]
                with pytest.raises(PeerError):
                    wire.decode(parts)
                if at == 0 and size >= 4:
                    with pytest.raises(PeerError):
                        wire.decode(wire_fuzz.mended(parts))
        for count in range(len(whole)):
            with pytest.raises(PeerError):
                wire.decode(whole[:count])

    @pytest.mark.parametrize("name", ALL)
    def test_nothing_may_follow(self, name):
        whole = wire_golden.read(name)
        for at, frame in enumerate(whole):
            assert_refused(whole[:at] + [frame + b"\0"] + whole[at + 1 :], "frame|body|auxiliary")
        assert_refused(whole + [b"\0\0\0\0"], "frames|flags")
        longer = wire_fuzz.mended([whole[0] + bytes(4)] + whole[1:])
        assert_refused(longer, "frame 0")

    @pytest.mark.parametrize("name", ALL)
    def test_every_bit_of_the_head_is_guarded(self, name):
        head, rest = wire_golden.read(name)[0], wire_golden.read(name)[1:]
        for bit in range(8 * len(head)):
            data = bytearray(head)
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PeerError):
                wire.decode([bytes(data)] + rest)

    def test_a_file_is_never_written_again(self):
        assert wire_golden.write_missing() == []


class TestOneForm:
    @given(messages.envelopes())
    def test_plain_messages_come_back(self, envelope):
        frames = wire.encode(envelope)
        assert len(frames) == 1
        assert wire.decode(frames) == (envelope, None)
        assert wire.encode(wire.decode(frames)[0]) == frames

    @given(messages.envelopes(messages.tasks), messages.tensors(), messages.booleans)
    def test_tasks_come_back(self, envelope, tensor, checksum_body):
        frames = wire.encode(envelope, tensor, checksum_body)
        assert len(frames) == (2 if tensor.auxiliary is None else 3)
        found, features = wire.decode(frames)
        assert (found, features) == (envelope, tensor)
        assert wire.encode(found, features, checksum_body) == frames
        assert wire.decode([memoryview(frame) for frame in frames]) == (envelope, tensor)

    def test_nothing_is_lost_at_the_limits(self):
        greeting = wire_golden.GREETING._replace(stages=((65535, 65535),) * STAGES_MAX)
        for message in (
            Hello(greeting),
            Reject("\u00e4" * (TEXT_MAX // 2)),
            Progress(2**64 - 1, 2**32 - 1, HOPS_MAX, 2**64 - 1, ((2**64 - 1, 65535),) * ITEMS_MAX),
        ):
            envelope = Envelope(2**32 - 1, 0, message)
            frames = wire.encode(envelope)
            assert wire.decode(frames) == (envelope, None)
            assert len(frames[0]) <= wire_format.HEAD_BYTES_MAX
        assert len(wire.encode(Envelope(1, 0, Hello(greeting)))[0]) == wire_format.HEAD_BYTES_MAX

    def test_codecs_are_a_mask_of_their_codes(self):
        at = offset(wire_format.GREETING_FIELDS, "codecs")
        for names, mask in ((("raw",), 1), (("raw", "uint8", "lz4"), 0b10101)):
            hello = Hello(wire_golden.GREETING._replace(codecs=names))
            head = wire.encode(Envelope(1, 0, hello))[0]
            assert struct.unpack_from("<H", head, at) == (mask,)
            assert wire.decode([head])[0].message.greeting.codecs == names

    def test_the_mask_has_room_for_all_codecs(self):
        codes = list(tensors.CODECS.values())
        assert codes == sorted(codes) and codes[0] == tensors.CODECS["raw"] == 1
        assert max(codes) <= 16

    def test_a_number_of_64_bits_does_not_wrap(self):
        task = wire_golden.task(seq=2**64 - 1, oldest=2**64 - WINDOW)
        envelope = Envelope(1, 2, task)
        assert wire.decode(wire.encode(envelope, RAW))[0] == envelope

    def test_nan_has_one_form_and_one_object(self):
        task = wire_golden.task(threshold=-float("nan"))
        frames = wire.encode(Envelope(1, 2, task), RAW)
        at = at_of_task("threshold")
        assert frames[0][at : at + 4] == b"\0\0\xc0\x7f"
        assert wire.decode(frames)[0].message.threshold is NAN
        scores = Scores(1, 0.5, 0.5, 0.5, float("nan"), -float("nan"))
        result = wire_golden.result("final", Answer(0, scores))
        found = wire.decode(wire.encode(Envelope(1, 2, result)))[0].message.answer.scores
        assert found.difference is NAN and found.similarity is NAN

    def test_thresholds_are_rounded_to_float32(self):
        task = wire_golden.task(threshold=0.8)
        found = wire.decode(wire.encode(Envelope(1, 2, task), RAW))[0].message.threshold
        assert found == struct.unpack("<f", struct.pack("<f", 0.8))[0] != 0.8


class TestBuffers:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_the_body_is_never_copied(self, kind):
        body, auxiliary = kind(wire_golden.BODY), kind(bytes(8))
        tensor = RAW._replace(body=body, auxiliary=auxiliary)
        frames = wire.encode(Envelope(1, 2, wire_golden.task()), tensor, True)
        assert frames[1] is body and frames[2] is auxiliary
        found = wire.decode(frames)[1]
        assert found.body is body and found.auxiliary is auxiliary

    def test_an_array_is_a_buffer_too(self):
        numpy = pytest.importorskip("numpy")
        array = numpy.arange(12, dtype=numpy.float32).reshape(3, 2, 2)
        frames = wire.encode(Envelope(1, 2, wire_golden.task()), RAW._replace(body=array))
        assert frames[1] is array
        assert wire.decode(frames)[1].body is array
        with pytest.raises(ValueError, match="contiguous"):
            wire.encode(Envelope(1, 2, wire_golden.task()), RAW._replace(body=array.T))

    @pytest.mark.parametrize("frame", [1, 2])
    def test_a_flagged_body_is_verified(self, frame):
        frames = wire_golden.read("task-auxiliary")
        frames[frame] = frames[frame][:-1] + b"\x7f"
        assert_refused(frames, "body_checksum")

    def test_an_unflagged_body_is_not(self):
        head, body = wire_golden.read("task")
        assert wire.decode([head, bytes(len(body))])[1].body == bytes(len(body))

    def test_the_largest_body_fits_the_limits(self):
        body = bytes(tensors.BODY_BYTES_MAX)
        tensor = Tensor("uint8", (128, 65535 // 8 + 1, 8), "raw", body, auxiliary=bytes(4 * 4096))
        frames = wire.encode(Envelope(1, 2, wire_golden.task()), tensor)
        assert wire.decode(frames)[1] == tensor
        assert sum(len(frame) for frame in frames) <= wire_format.MESSAGE_BYTES_MAX


class TestRefused:
    def test_strange_frames(self):
        head = wire_golden.read("load")[0]
        assert_refused([], "frames")
        assert_refused([head] * 4, "frames")
        assert_refused([b""], "frame 0")
        assert_refused([head + bytes(2**20)], "frame 0")
        assert_refused([memoryview(bytes(2**20))], "frame 0")
        assert_refused([memoryview(head)[::2]], "contiguous")
        assert_refused(changed("load", 0, b"\0"), "magic")

    def test_other_versions_and_kinds_are_named(self):
        assert_refused(changed("load", 2, b"\x02"), "unknown wire version: found 2, expected 1")
        for code in (0, 11, 15, 18, 255):
            assert_refused(changed("load", 3, bytes([code])), "unknown kind of message")

    @pytest.mark.parametrize("message", sorted(KINDS, key=lambda kind: KINDS[kind].code))
    def test_what_a_kind_does_not_use_is_0(self, message):
        name = next(n for n in ALL if type(wire_golden.MESSAGES[n][0]) is message)
        for place in KINDS[message].unused:
            field = wire_format.HEADER_FIELDS[place][0]
            at = wire_format.compiled(wire_format.HEADER_FIELDS[:place]).size
            assert_refused(changed(name, at, b"\1"), "^{} of kind".format(field))

    @pytest.mark.parametrize("name", ALL)
    def test_unknown_flags(self, name):
        flags = wire_golden.read(name)[0][4]
        assert_refused(changed(name, 4, bytes([flags | 1 << 5])), "flags")
        assert_refused(changed(name, 5, b"\x80"), "flags")

    def test_a_task_reserves_four_bytes(self):
        for at in range(60, 64):
            assert_refused(changed("task", at, b"\1"), "reserved")

    @pytest.mark.parametrize(
        ("field", "data", "match"),
        [
            ("threshold", struct.pack("<f", math.inf), "threshold"),
            ("threshold", b"\1\0\xc0\x7f", "threshold"),
            ("threshold", b"\0\0\xc0\xff", "threshold"),
            ("scale_offset", b"\0\0\0\x80", "scale and offset"),
            ("body_bytes", b"\x2f\0\0\0", "body_bytes"),
            ("body_bytes", b"\xff\xff\xff\xff", "body_bytes"),
            ("body_checksum", b"\1", "body_checksum"),
            ("axis_0", b"\0\0", "shape"),
            ("axis_0", b"\4\0", "body"),
            ("axis_1", b"\0\0", "shape"),
            ("axis_3", b"\xff\xff", "body"),
            ("axis_0", b"\xff\xff\xff\xff\xff\xff\xff\xff", "shape.*bytes"),
            ("auxiliary_count", b"\1\0", "auxiliary_count"),
            ("dtype", b"\0", "dtype and codec"),
            ("dtype", b"\4", "dtype and codec"),
            ("codec", b"\0", "dtype and codec"),
            ("codec", b"\7", "dtype and codec"),
        ],
    )
    def test_values_of_a_task(self, field, data, match):
        assert_refused(changed("task", at_of_task(field), data), match)

    def test_a_declared_size_is_limited_whatever_the_codec(self):
        frames = changed("task-zstd", at_of_task("axis_0"), struct.pack("<3H", 128, 128, 129))
        assert_refused(frames, "shape.*bytes")

    @pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
    def test_scales(self, value):
        for name in ("task-uint8", "task-learned"):
            frames = changed(name, at_of_task("scale_offset"), struct.pack("<f", value))
            assert_refused(frames, "scale and offset")

    def test_auxiliary_counts(self):
        for count in (0, 2, 4, 65535):
            data = struct.pack("<H", count)
            assert_refused(changed("task-auxiliary", at_of_task("auxiliary_count"), data), "auxil")

    def test_counts_above_their_limit(self):
        for name, fields, field, limit in (
            ("hello", wire_format.GREETING_FIELDS, "stage_count", STAGES_MAX),
            ("assign", wire_format.ASSIGN_FIELDS, "stage_count", STAGES_MAX),
            ("assigned-nothing", wire_format.ASSIGN_FIELDS, "stage_count", STAGES_MAX),
            ("progress", wire_format.PROGRESS_FIELDS, "item_count", ITEMS_MAX),
            ("reject", wire_format.REJECT_FIELDS, "reason_bytes", TEXT_MAX),
            ("result", wire_format.RESULT_FIELDS, "tail_bytes", FEATURE_BYTES_MAX),
        ):
            data = struct.pack("<H", limit + 1)
            assert_refused(changed(name, offset(fields, field), data), field)
            data = struct.pack("<H", limit)
            assert_refused(changed(name, offset(fields, field), data), "frame 0")

    @pytest.mark.parametrize("name", ["hello", "welcome"])
    @pytest.mark.parametrize("mask", [0, 0b10, 0b11110, 1 | 1 << 6, 1 | 1 << 15, 0xFFFF])
    def test_codecs_without_raw_or_unknown(self, name, mask):
        at = offset(wire_format.GREETING_FIELDS, "codecs")
        assert_refused(changed(name, at, struct.pack("<H", mask)), "codecs: found 0x")

    @pytest.mark.parametrize(
        ("at", "data", "match"),
        [
            (64, bytes(8), "assignment: found 0"),
            (74, struct.pack("<HHHH", 0, 3, 0, 3), "stages: found .* each once"),
            (74, struct.pack("<HHHH", 0, 3, 0, 0), "stages: found .* each once"),
        ],
    )
    def test_assignments_that_count_from_0_or_are_in_disorder(self, at, data, match):
        assert_refused(changed("assign", at, data), match)

    @pytest.mark.parametrize("name", ["task", "result"])
    def test_numbers_outside_the_window(self, name):
        for seq, oldest in ((1, 0), (1, 2), (WINDOW + 1, 1)):
            assert_refused(changed(name, 32, struct.pack("<QQ", seq, oldest)), "seq")

    @pytest.mark.parametrize("name", ["task", "result", "progress"])
    def test_hops_in_a_circle(self, name):
        assert_refused(changed(name, 6, bytes([HOPS_MAX + 1])), "hop")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("max_probability", math.nan),
            ("max_probability", math.inf),
            ("margin", math.nan),
            ("entropy", -math.inf),
            ("difference", -math.inf),
            ("similarity", math.inf),
            ("similarity", -math.inf),
        ],
    )
    def test_scores(self, field, value):
        names = [name for name, _ in wire_format.ANSWER_FIELDS]
        before = wire_format.ANSWER_FIELDS[: names.index(field)]
        at = offset(wire_format.RESULT_FIELDS, "answer") + wire_format.compiled(before).size
        assert_refused(changed("result", at, struct.pack("<f", value)), field)

    def test_other_values_of_a_result(self):
        fields = wire_format.RESULT_FIELDS
        at = offset(fields, "answer")
        assert_refused(changed("result", at + 18, b"\1\0\xc0\x7f"), "NaN")
        assert_refused(changed("result-failed", at, b"\1"), "answer")
        assert_refused(changed("result", offset(fields, "reason"), b"\0"), "reason")
        code = bytes([len(wire_format.REASONS) + 1])
        assert_refused(changed("result", offset(fields, "reason"), code), "reason")
        assert_refused(changed("result-failed", offset(fields, "tail_bytes") + 2, b"\xff"), "UTF")

    def test_a_text_is_shorter_than_a_feature(self):
        """The length that a result allows is that of a feature; a text has its own limit."""
        head = bytearray(wire_golden.read("result-failed")[0])
        at = offset(wire_format.RESULT_FIELDS, "tail_bytes")
        length = TEXT_MAX + 1
        long = bytes(head[:at]) + struct.pack("<H", length) + b"x" * length + bytes(4)
        assert_refused(wire_fuzz.mended([long]), "bytes of detail")

    def test_a_text_and_an_answer_do_not_go_together(self):
        both = wire_golden.result("final", wire_golden.ANSWER, "why")
        with pytest.raises(ValueError, match="none beside an answer"):
            wire.encode(Envelope(1, 2, both))

    def test_values_of_an_ack(self):
        assert_refused(changed("ack", 64, bytes(8)), "base")
        assert_refused(changed("ack", 80, b"\1"), "refused")
        assert_refused(changed("ack", 88, struct.pack("<Q", 69990 + WINDOW)), "newest")


class TestProgrammingErrors:
    @pytest.mark.parametrize(
        "message",
        [
            "hello",
            Reject("x" * (TEXT_MAX + 1)),
            Reject("\ud800"),
            Hello(wire_golden.GREETING._replace(model_id=b"short")),
            Hello(wire_golden.GREETING._replace(stages=((0, 0),) * (STAGES_MAX + 1))),
            Hello(wire_golden.GREETING._replace(worker=-1)),
            Hello(wire_golden.GREETING._replace(codecs=())),
            Hello(wire_golden.GREETING._replace(codecs=("zstd",))),
            Hello(wire_golden.GREETING._replace(codecs=("raw", "zip"))),
            Hello(wire_golden.GREETING._replace(codecs=("zstd", "raw"))),
            Hello(wire_golden.GREETING._replace(codecs=("raw", "raw"))),
            Ack(1, 3, 1, 1, 0, 0, 0, 0, 0),
            wire_golden.result("because", None),
            wire_golden.result("final", Answer(0, Scores(0, NAN, 0.5, 0.5))),
            wire_golden.result("final", Answer(0, Scores(0, 1e39, 0.5, 0.5))),
            Progress(1, 1, 1, 1, ((1, 1),) * (ITEMS_MAX + 1)),
            Progress(1, 1, HOPS_MAX + 1, 1, ()),
        ],
        ids=repr,
    )
    def test_messages_that_cannot_be_sent(self, message):
        with pytest.raises(ValueError):
            wire.encode(Envelope(1, 0, message))

    @pytest.mark.parametrize(
        "changes",
        [
            {"seq": 0},
            {"seq": 2**64},
            {"oldest": 1},
            {"hop": HOPS_MAX + 1},
            {"part": 65536},
            {"threshold": math.inf},
            {"threshold": 1e39},
            {"policy_state": (2**31, 0)},
        ],
        ids=repr,
    )
    def test_tasks_that_cannot_be_sent(self, changes):
        with pytest.raises(ValueError, match="Task cannot be sent"):
            wire.encode(Envelope(1, 2, wire_golden.task(**changes)), RAW)

    @pytest.mark.parametrize(
        "changes",
        [
            {"dtype": "float64"},
            {"codec": "jpeg"},
            {"codec": "learned"},
            {"codec": "learned", "body": b"", "scale": 1.0, "offset": 0.0},
            {"codec": "learned", "dtype": "uint8", "scale": 1.0, "offset": 0.0},
            {"shape": ()},
            {"shape": (1, 1, 3, 2, 2)},
            {"shape": (3, 2, 0)},
            {"shape": (-3, -2, 2)},
            {"shape": (65536, 1, 1)},
            {"shape": (3, 2, 3)},
            {"codec": "zstd", "body": b""},
            {"codec": "lz4", "shape": (128, 128, 129)},
            {"scale": 1.0},
            {"codec": "uint8", "body": bytes(12)},
            {"codec": "uint8", "body": bytes(12), "scale": 1.0},
            {"codec": "uint8", "body": bytes(12), "scale": -1.0, "offset": 0.0},
            {"codec": "uint8", "body": bytes(12), "scale": 1.0, "offset": NAN},
            {"auxiliary": b""},
            {"auxiliary": bytes(6)},
            {"auxiliary": bytes(4 * 4097)},
        ],
        ids=repr,
    )
    def test_tensors_that_cannot_be_sent(self, changes):
        with pytest.raises(ValueError, match="Task cannot be sent"):
            wire.encode(Envelope(1, 2, wire_golden.task()), RAW._replace(**changes))

    def test_a_tensor_goes_with_a_task_and_nothing_else(self):
        with pytest.raises(ValueError, match="tensor"):
            wire.encode(Envelope(1, 2, wire_golden.task()))
        with pytest.raises(ValueError, match="tensor"):
            wire.encode(Envelope(1, 2, Bye(True)), RAW)

    def test_a_hello_knows_no_receiver(self):
        with pytest.raises(ValueError, match="to_session"):
            wire.encode(Envelope(1, 2, Hello(wire_golden.GREETING)))

    @given(messages.st.text())
    def test_any_text_can_be_clipped(self, text):
        reason = clipped(text)
        assert len(reason.encode("utf-8")) <= TEXT_MAX
        assert wire.decode(wire.encode(Envelope(1, 2, Reject(reason))))[0].message.reason == reason


class TestFuzz:
    def test_nothing_but_peer_errors(self):
        counts = wire_fuzz.run(range(FUZZ_CASES), seed=1)
        assert counts.accepted + counts.refused == FUZZ_CASES
        assert counts.accepted > FUZZ_CASES // 50
        reached = set(counts.refusals)
        assert {"frames", "magic", "seq", "hop", "flags", "reserved", "reason", "answer"} <= reached
        assert {"threshold", "shape", "body", "body_checksum", "dtype and codec"} <= reached
        assert {"margin", "stage_count", "Ack.newest", "auxiliary"} <= reached
        assert "codecs" in reached

    def test_the_fuzzer_notices(self, monkeypatch):
        monkeypatch.setattr(wire, "decode", lambda frames: 1 / 0)
        with pytest.raises(wire_fuzz.Broken, match="ZeroDivisionError"):
            wire_fuzz.run(range(1), seed=1)
