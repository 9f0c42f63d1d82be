"""Two processes: a fleet of two and torch RPC give the network's answers, and leave nothing behind.

torch RPC can be joined once in a process, so all of it is one run of the command.
"""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from edgesdk.bench import peers_hop
from edgesdk.bench.contenders import Answers
from edgesdk.bench.peers_answers import expect
from edgesdk.bench.peers_contenders import Choice
from edgesdk.bench.peers_hop import OurPair, Pair, checked, cut_of
from edgesdk.errors import BackendUnavailable, EdgeError, Expired, Failed

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(peers_hop.__file__)))
LIMIT_S = 280


def choice_of(bundle, plan="full"):
    plan = bundle.manifest.parts[0].plans[plan]
    return Choice(bundle, plan, bundle.manifest.policies["calibrated"], "calibrated", 1)


def test_the_cut_is_nearest_to_half_of_the_work(whole_bundle):
    assert cut_of(whole_bundle, choice_of(whole_bundle).plan) in (1, 2)
    with pytest.raises(BackendUnavailable, match="the plan merged has one stage: nothing to cut"):
        cut_of(whole_bundle, choice_of(whole_bundle, "merged").plan)


def test_one_wrong_answer_of_a_stream_is_found(whole_bundle, brightnesses):
    choice = choice_of(whole_bundle)
    images, labels = brightnesses.images, brightnesses.labels
    expected = expect(whole_bundle, choice.policy, choice.plan, images, labels, 1)
    wrong = labels.copy()
    wrong[5] = 1 - wrong[5]

    def answers(classes):
        classes = np.atleast_1d(classes)
        return Answers(classes, np.full(len(classes), 2, np.int64))

    def pair(stream):
        singles = iter(labels)
        return Pair("p", 2, lambda image: next(singles), lambda images: stream, answers, len)

    assert checked(pair(labels), images, labels, expected, len) == 1.0
    with pytest.raises(EdgeError, match="p: found class 0 for image 5, expected 1"):
        checked(pair(wrong), images, labels, expected, len)


@pytest.mark.parametrize("form", ["single", "stream"])
def test_a_worker_that_dies_ends_the_bench(whole_bundle, brightnesses, monkeypatch, form):
    monkeypatch.setattr(peers_hop, "REPLY_S", 3.0)
    fleet = OurPair(choice_of(whole_bundle), "final", None)
    try:
        pair = fleet.pair("p", 2)
        assert pair.answers(pair.single(brightnesses.images[0])).exit_index.tolist() == [2]
        os.kill(fleet._child.process_id, signal.SIGKILL)
        with pytest.raises((Expired, Failed)):
            pair.single(brightnesses.images[0]) if form == "single" else pair.stream(
                brightnesses.images[:3]
            )
    finally:
        fleet.close()


def test_all_pairs_of_processes():
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    command = [sys.executable, "-m", "edgesdk.bench", "peers", "--json"]
    done = subprocess.run(
        [*command, "--processes", "2", "--seconds", "0.001", "--images", "32"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = [figure["name"] for figure in found["figures"]]
    for name in ("torch RPC", "edgesdk, final exit", "edgesdk, calibrated"):
        assert name + ", two processes: p50 latency" in names
        assert name + ", two processes: stream" in names
    assert "edgesdk, final exit, two processes: images/s, times better than torch RPC" in names
    assert not [name for name in found["conditions"]["left_out"] if "two processes" in name]
    assert "two processes, cut behind exit 3" in done.stderr
