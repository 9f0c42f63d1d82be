"""Who gets features by which codec: nobody one that it has not announced."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from edgesdk.core.codec_choice import LEARN_EVERY
from edgesdk.runtime.packer import AUTO, Packer

FEATURES = np.linspace(0, 1, 64 * 16 * 16, dtype=np.float32).reshape(64, 16, 16)
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
        tensor = self.packer.encode(peer, 1, FEATURES, None)
        assert np.abs(self.packer.decode(tensor) - FEATURES).max() < 0.01
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
