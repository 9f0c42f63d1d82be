"""Who gets features by which codec: nobody one that it has not announced."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from edgesdk import codec
from edgesdk.core.codec_choice import LEARN_EVERY
from edgesdk.core.tensor import LOSSLESS_CODECS
from edgesdk.errors import ConfigError, PeerError
from edgesdk.runtime.packer import AUTO, Packer, link_bytes_per_s

FEATURES = np.linspace(0, 1, 64 * 16 * 16, dtype=np.float32).reshape(64, 16, 16)
PLACE = (0, 1)
PLAIN, ABLE, UNKNOWN = 2, 3, 4
NAMES = {PLAIN: "plain", ABLE: "able"}
SLOW_US = 1e6  # for 64 KiB: every codec pays


def known(*codecs):
    """A neighbour at a slow link that has announced `codecs`, or has not greeted yet."""
    greeting = SimpleNamespace(codecs=codecs) if codecs else None
    link = SimpleNamespace(round_trip_us=SLOW_US)
    return SimpleNamespace(greeting=greeting, link=link, control_round_trip_us=0.0)


class Packed:
    """A packer among neighbours, and what it counted."""

    def __init__(self, name, choices=()):
        self.counted = []
        self.peers = {PLAIN: known("raw"), ABLE: known("raw", "float16", "uint8")}
        self.packer = Packer(name, choices, self.peers.get, NAMES, self.counted.append)

    def codec(self, peer):
        """By which codec features go to `peer`; they come back as they were, or nearly."""
        tensor = self.packer.encode(peer, 7, PLACE, FEATURES, None)
        assert np.abs(self.packer.decode(tensor, PLACE) - FEATURES).max() < 0.01
        return tensor.codec


def test_a_fixed_codec_goes_to_whoever_announced_it():
    packed = Packed("uint8")
    assert packed.codec(ABLE) == "uint8" and packed.counted == []


def test_others_get_raw_bodies_which_are_counted_and_logged_once(caplog):
    packed = Packed("uint8")
    packed.peers[9] = known("raw", "float16")
    with caplog.at_level(logging.WARNING, "edgesdk.network"):
        assert [packed.codec(peer) for peer in (PLAIN, ABLE, PLAIN, 9, PLAIN, 9)] == [
            "raw",
            "uint8",
            "raw",
            "raw",
            "raw",
            "raw",
        ]
    assert packed.counted == ["codec_fallbacks"] * 5
    texts = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in texts] == ["plain", "0000000000000009"]
    assert "found the codecs raw there, expected uint8" in texts[0]
    assert "raw, float16 there" in texts[1] and "uint8" in texts[1]


def test_a_neighbour_that_comes_back_with_the_codec_gets_it():
    packed = Packed("uint8")
    assert packed.codec(PLAIN) == "raw"
    packed.peers[PLAIN] = known("raw", "uint8")
    assert packed.codec(PLAIN) == "uint8"


@pytest.mark.parametrize("name", ["uint8", AUTO])
def test_whoever_is_gone_or_has_not_greeted_gets_raw_bodies_without_a_word(name, caplog):
    packed = Packed(name, ("uint8",))
    packed.peers[UNKNOWN + 1] = known()
    for peer in (UNKNOWN, UNKNOWN + 1):
        assert {packed.codec(peer) for _ in range(4 * LEARN_EVERY)} == {"raw"}
    assert packed.counted == [] and caplog.records == []


def test_raw_is_no_fallback():
    packed = Packed("raw")
    assert packed.codec(PLAIN) == packed.codec(ABLE) == "raw" and packed.counted == []


def test_auto_chooses_for_each_neighbour_from_what_it_announced(caplog):
    packed = Packed(AUTO, ("uint8",))
    plain, able = [], []
    for _ in range(20 * LEARN_EVERY):
        plain.append(packed.codec(PLAIN))
        able.append(packed.codec(ABLE))
    assert set(plain) == {"raw"}
    assert able.count("uint8") > len(able) // 2
    assert packed.counted == [] and caplog.records == []


class TestWhatLosesSomething:
    def sent_by(self, name):
        return codec.encode(FEATURES, name)

    @pytest.mark.parametrize(
        ("name", "choices", "accepted"),
        [
            (AUTO, (), []),
            (AUTO, ("zstd", "lz4"), []),
            (AUTO, ("zstd", "float16"), ["float16"]),
            ("uint8", (), ["uint8"]),
            ("raw", (), []),
        ],
    )
    def test_is_taken_only_where_it_may(self, name, choices, accepted):
        packer = Packed(name, choices).packer
        for lossy in ("float16", "uint8"):
            if lossy in accepted:
                assert packer.decode(self.sent_by(lossy), PLACE).shape == FEATURES.shape
            else:
                with pytest.raises(PeerError, match="codec: found {}, expected one".format(lossy)):
                    packer.decode(self.sent_by(lossy), PLACE)

    def test_what_loses_nothing_is_always_taken(self):
        for name in codec.available():
            if name in LOSSLESS_CODECS + ("raw",):
                found = Packed("raw").packer.decode(self.sent_by(name), PLACE)
                assert np.array_equal(found, FEATURES)


class TestTheRateOfALink:
    def test_is_what_a_body_takes_longer_than_a_heartbeat(self):
        peer = known("raw")
        assert link_bytes_per_s(peer, 1e6) == 1e6
        peer.control_round_trip_us = 5e5
        assert link_bytes_per_s(peer, 1e6) == 2e6

    def test_is_unknown_before_both_were_measured(self):
        for change in (
            {"control_round_trip_us": None},
            {"link": SimpleNamespace(round_trip_us=None)},
        ):
            peer = known("raw")
            vars(peer).update(change)
            assert link_bytes_per_s(peer, 1e6) is None
        assert link_bytes_per_s(None, 1e6) is None

    def test_coding_is_no_part_of_it(self):
        assert link_bytes_per_s(known("raw"), 1e6, coding_us=5e5) == 2e6
        assert link_bytes_per_s(known("raw"), 1e6, coding_us=SLOW_US) is None

    def test_is_unknown_where_bodies_cost_no_time(self):
        peer = known("raw")
        peer.control_round_trip_us = SLOW_US
        assert link_bytes_per_s(peer, 1e6) is None


@pytest.mark.parametrize(
    ("name", "what"), [("gzip", "found 'gzip', expected one of"), ("", "codec")]
)
def test_a_codec_that_is_none_is_refused(name, what):
    with pytest.raises(ConfigError, match=what):
        Packed(name)


def test_raw_features_are_not_copied_and_the_vector_goes_beside_them():
    beside = np.ones(3, np.float32)
    tensor = Packed("raw").packer.encode(ABLE, 7, PLACE, FEATURES, beside)
    assert np.shares_memory(np.frombuffer(tensor.body, np.float32), FEATURES)
    assert codec.decode_auxiliary(tensor).tolist() == [1, 1, 1]
    assert tensor._replace(body=None, auxiliary=None) == codec.encode(
        FEATURES, "raw", beside
    )._replace(body=None, auxiliary=None)
