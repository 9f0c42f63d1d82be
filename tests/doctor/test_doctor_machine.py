"""What machines of files (made by hand: see boards.py) are and have."""

import os
import random

import boards
import pytest

from edgesdk.doctor import machine
from edgesdk.doctor.machine import Swap, read_held, read_machine, read_room

KIB = 1024
EVERY = [boards.nano, boards.xavier, boards.orin, boards.pc, boards.container]


class TestKnownMachines:
    def test_a_nano(self, tmp_path):
        found = read_machine(boards.nano(tmp_path).path)
        assert found.model == "NVIDIA Jetson Nano Developer Kit" and found.is_jetson
        assert (found.l4t, found.jetpack) == ((32, "7.1"), "4.6.1-b110")
        assert found.packages["python3-libnvinfer"] == "8.2.1-1+cuda10.2"
        assert (found.os, found.kernel) == ("Ubuntu 18.04.6 LTS", "4.9.253-tegra")
        assert (found.cuda, found.has_nvcc, found.is_container) == ("10.2.300", True, False)
        assert list(found.gpu_files) == ["/dev/nvhost-ctrl", "/dev/nvhost-gpu", "/dev/nvmap"]
        assert all(found.gpu_files.values())

    def test_a_nano_has_zram_and_a_desktop(self, tmp_path):
        room = read_room(boards.nano(tmp_path).path)
        assert room.memory_bytes == 4059712 * KIB and room.available_bytes == 1572864 * KIB
        assert room.swaps[0] == Swap("/dev/zram0", 507460 * KIB, True) and len(room.swaps) == 4
        assert room.desktop == "Xorg"

    def test_a_xavier_without_the_package_jetpack(self, tmp_path):
        found = read_machine(boards.xavier(tmp_path).path)
        assert (found.l4t, found.jetpack, found.cuda) == ((35, "2.1"), "5.x", "11.4.19")
        room = read_room(str(tmp_path))
        assert room.swaps == [Swap("/mnt/4GB.swap", 4 << 30, False)] and room.desktop == ""
        assert read_held(str(tmp_path)) == ([], 0)

    def test_an_orin_that_is_hot(self, tmp_path):
        found = read_machine(boards.orin(tmp_path).path)
        assert (found.l4t, found.jetpack, found.cuda) == ((36, "3.0"), "6.0+b106", "12.2.1")
        assert read_held(str(tmp_path)) == (["cpu-throttle-alert"], 4)

    def test_a_pc(self, tmp_path):
        found = read_machine(boards.pc(tmp_path).path)
        assert not found.is_jetson and not found.is_container
        assert (found.model, found.l4t, found.jetpack, found.cuda) == ("", None, "", "")
        assert found.gpu_files == {"/dev/nvidiactl": False, "/dev/nvidia0": False}

    def test_a_container_on_a_jetson(self, tmp_path):
        """The device tree is hidden from containers; the release file is mounted there."""
        found = read_machine(boards.container(tmp_path).path)
        assert found.is_container and found.is_jetson and found.model == ""
        assert found.gpu_files["/dev/nvhost-gpu"] is False

    def test_the_machine_this_runs_on(self):
        found = read_machine()
        assert found.kernel == os.uname().release
        room = read_room()
        assert 0 < room.available_bytes <= room.memory_bytes
        assert room.disk_free_bytes > 0
        assert read_held().over_current_count >= 0


def test_the_release_is_known_from_a_package_where_the_file_is_gone(tmp_path):
    tree = boards.nano(tmp_path).remove("etc/nv_tegra_release")
    assert read_machine(tree.path).l4t == (32, "7.1")


def test_packages_that_were_removed_do_not_count(tmp_path):
    tree = boards.nano(tmp_path)
    stanza = "Package: python3-libnvinfer\nStatus: deinstall ok config-files\nVersion: 8.2\n"
    assert read_machine(tree.write("var/lib/dpkg/status", stanza).path).packages == {}


@pytest.mark.parametrize("line", ["0::/docker/a1b2", "4:memory:/kubepods/pod1", "1:cpu:/lxc/box"])
def test_control_groups_tell_containers_too(tmp_path, line):
    tree = boards.pc(tmp_path).write("proc/1/cgroup", "12:pids:/\n" + line + "\n")
    assert read_machine(tree.path).is_container


def test_devices_that_are_lit_or_fans_that_turn_are_not_held(tmp_path):
    tree = boards.pc(tmp_path).cooling(3, "LCD", 40).cooling(4, "Fan", 1).cooling(5, "Processor", 2)
    tree.cooling(6, "thermal-cpufreq-0", -1)  # off, as some drivers say it
    assert read_held(tree.path) == (["Processor"], 0)


def test_a_folder_that_is_gone_has_no_disk(tmp_path):
    assert read_room(str(tmp_path), str(tmp_path / "gone")).disk_free_bytes is None


def test_nothing_at_all_is_no_error(tmp_path):
    found = read_machine(str(tmp_path))
    assert not found.is_jetson and found.os == found.kernel == found.jetpack == ""
    assert read_room(str(tmp_path))[:3] == (None, None, [])
    assert read_held(str(tmp_path)) == ([], 0)


def everything(root):
    """All that is read of a machine."""
    return (read_machine(root), read_room(root), read_held(root))


def files_of(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0" * 50, b"9" * 5000, b"{" * 5000, b"[" * 100000, b"%s{}\n" * 9]
)
def test_garbage_in_every_file_is_no_error(make, content, tmp_path):
    make(tmp_path)
    for path in files_of(tmp_path):
        path.write_bytes(content)
    found, room, _ = everything(str(tmp_path))
    assert found.packages == {} and found.l4t is None and room.swaps == []


@pytest.mark.parametrize("make", EVERY)
def test_what_cannot_be_read_is_no_error(make, tmp_path):
    """A folder in place of a file gives the error that a file without rights gives; the tests may
    run as root, who may read all."""
    make(tmp_path)
    for path in files_of(tmp_path):
        path.unlink()
        path.mkdir()
    found, room, held = everything(str(tmp_path))
    assert found.l4t is None and room.memory_bytes is None and held.cooling == []


@pytest.mark.parametrize("make", EVERY)
def test_files_that_were_cut_or_flipped_are_no_error(make, tmp_path):
    make(tmp_path)
    draw = random.Random(7)
    for _ in range(20):
        for path in files_of(tmp_path):
            content = bytearray(path.read_bytes())
            if content:
                content[draw.randrange(len(content))] = draw.randrange(256)
                path.write_bytes(bytes(content[: draw.randrange(len(content)) + 1]))
        everything(str(tmp_path))


def test_a_version_file_of_another_shape_is_no_version(tmp_path):
    for text in ('{"cuda": 3}', "[]", "3", '{"cuda": {}}', "null"):
        tree = boards.xavier(tmp_path).write("usr/local/cuda/version.json", text)
        assert machine._cuda(str(tmp_path / "usr/local/cuda")) == ""
        assert read_machine(tree.path).cuda == ""
