"""Power mode and clocks of machines made of files (by hand: see boards.py)."""

import json

import boards
import pytest

from edgesdk.telemetry.speed import read_clocks, read_model, read_power_mode, read_speed


def test_a_nano(tmp_path):
    root = boards.nano(tmp_path).path
    assert read_model(root) == "NVIDIA Jetson Nano Developer Kit"
    assert read_power_mode(root) == (0, "MAXN", boards.MODES_NANO)
    cpu, gpu = read_clocks(root)
    assert cpu == ("cpu0", "schedutil", 102.0, 1479.0, 1036.8, 1479.0)
    assert gpu == ("gpu", "nvhost_podgov", 76.8, 921.6, 76.8, None)
    assert not cpu.is_pinned and not gpu.is_pinned


def test_a_xavier_whose_clocks_are_pinned(tmp_path):
    """Its mode's status also names that of the fan."""
    root = boards.xavier(tmp_path).path
    assert read_power_mode(root)[:2] == (8, "MODE_20W_6CORE")
    clocks = read_clocks(root)
    assert [clock.name for clock in clocks] == ["cpu0", "cpu2", "cpu4", "gpu"]
    assert all(clock.is_pinned for clock in clocks)


def test_an_orin_that_is_held_below_what_it_can(tmp_path):
    root = boards.orin(tmp_path).path
    assert read_power_mode(root)[:2] == (2, "MODE_30W")
    assert read_clocks(root)[0].max_mhz < read_clocks(root)[0].limit_mhz


@pytest.mark.parametrize("make", [boards.pc, boards.container])
def test_others_have_no_power_mode(make, tmp_path):
    root = make(tmp_path).path
    assert read_power_mode(root) is None and read_model(root) == ""
    assert read_speed(root)["board"] is None and read_speed(root)["power_mode"] is None


def test_speed_is_plain_json_and_leaves_out_what_is_not_known(tmp_path):
    found = read_speed(boards.nano(tmp_path).path)
    assert json.loads(json.dumps(found)) == found
    assert found["power_mode"] == "MAXN"
    assert found["clocks"]["gpu"] == {
        "governor": "nvhost_podgov",
        "min_mhz": 76.8,
        "max_mhz": 921.6,
        "now_mhz": 76.8,
    }


def test_this_machine():
    assert sorted(json.loads(json.dumps(read_speed()))) == ["board", "clocks", "power_mode"]


class TestGarbage:
    def test_a_mode_that_the_configuration_does_not_name_is_a_number(self, tmp_path):
        tree = boards.nano(tmp_path).modes(7, boards.MODES_NANO)
        assert read_power_mode(tree.path)[:2] == (7, "")
        assert read_speed(tree.path)["power_mode"] == "7"
        tree.remove("etc/nvpmodel.conf")
        assert read_power_mode(tree.path) == (7, "", {})

    @pytest.mark.parametrize("status", ["", "pmode:", "pmode:x", b"\xff\0\xff"])
    def test_a_status_that_is_none(self, tmp_path, status):
        tree = boards.nano(tmp_path).write("var/lib/nvpmodel/status", status)
        assert read_power_mode(tree.path) is None

    @pytest.mark.parametrize("value", ["", "<unsupported>", "-1", b"\xff"])
    def test_frequencies_that_are_none(self, tmp_path, value):
        tree = boards.nano(tmp_path)
        for name in ("min", "max", "cur"):
            tree.write("sys/class/devfreq/57000000.gpu/{}_freq".format(name), value)
        gpu = read_clocks(tree.path)[1]
        assert gpu[2:] == (None, None, None, None) and not gpu.is_pinned
        assert read_speed(tree.path)["clocks"]["gpu"] == {"governor": "nvhost_podgov"}
