"""The tables of `bench peers`, its targets, and that a ratio must reach them with certainty."""

import numpy as np
import pytest

from edgesdk.bench import peers_report
from edgesdk.bench.peers_report import Measured
from edgesdk.bench.turns import Times


def measured(name, *rounds_us, accuracy=0.9):
    """One who took so long in each round, for one group of 32 images or for one image."""
    return Measured(name, accuracy, Times(np.array(rounds_us, float)[:, None], 1))


def named(figures, name):
    (found,) = [figure for figure in figures if figure["name"] == name]
    return found


PLAIN = measured("onnxruntime uncut", *[100.0] * 9)
SPEED = "edgesdk, calibrated: batches of 32, times better than earlyon"


def batches(*extra):
    return peers_report.batch_figures([PLAIN, *extra], "calibrated", 32)


def test_overhead_and_gain_are_held_to_their_targets():
    nobody = measured("edgesdk, nobody leaves", *[110.0] * 9)
    early = measured("edgesdk, calibrated", *[50.0] * 9, accuracy=0.88)
    found = peers_report.single_figures([PLAIN, nobody, early], "calibrated")
    overhead = named(found, "edgesdk, nobody leaves: times plain")
    assert overhead["value"] == pytest.approx(1.1)
    assert (overhead["target"], overhead["ok"]) == (1.15, True)
    lost = named(found, "edgesdk, calibrated: accuracy lost")
    assert (round(lost["value"], 6), lost["ok"]) == (2.0, False)
    gain = named(found, "edgesdk, calibrated: mean latency, times better than plain")
    assert (gain["value"], gain["ok"]) == (2.0, True)


@pytest.mark.parametrize(
    ("rounds_us", "ok"),
    [([60.0] * 9, True), ([70.0] * 9, False), ([60.0] * 5 + [90.0] * 4, False)],
    ids=["all", "none", "not surely"],
)
def test_the_whole_interval_must_reach_the_target(rounds_us, ok):
    earlyon = measured("earlyon, calibrated", *[100.0] * 9)
    figure = named(batches(measured("edgesdk, calibrated", *rounds_us), earlyon), SPEED)
    assert (figure["target"], figure["ok"]) == (1.5, ok)


def test_what_compaction_gains_is_told_alone():
    found = batches(
        measured("edgesdk, nobody leaves", *[120.0] * 9),
        measured("edgesdk, calibrated", *[60.0] * 9),
    )
    about = "edgesdk, calibrated: batches of 32, times better than if it waited"
    assert named(found, about)["value"] == pytest.approx(2.0)


def test_without_earlyon_there_is_no_ratio_to_it():
    ours = measured("edgesdk, calibrated", *[60.0] * 9)
    assert not [each for each in batches(ours) if "earlyon" in each["name"]]
    rows = peers_report.batch_rows([PLAIN, ours], "calibrated")
    assert [row[-1] for row in rows] == ["", ""]


def test_a_person_reads_tables(capsys):
    ours = measured("edgesdk, calibrated", *[50.0] * 9)
    for batch in (1, 32):
        peers_report.say([PLAIN, ours], "calibrated", batch, as_json=False)
    out = capsys.readouterr().out
    assert "one image at a time" in out and "batches of 32" in out
    assert "2.00 (2.00 to 2.00)" in out
