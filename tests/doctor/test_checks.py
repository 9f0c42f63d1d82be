"""What files mean: notes and problems, each with what to do. Machines are made by hand."""

import answers
import boards
import pytest

from edgesdk.doctor import checks
from edgesdk.doctor.checks import CPU, NOTE, OK, PROBLEM, TENSORRT, Check, judged
from edgesdk.doctor.machine import Held, Swap

GIB = 1 << 30


def nano(tmp_path, **others):
    return answers.facts(boards.nano(tmp_path), answers.NANO, **others)


def orin(tmp_path, **others):
    return answers.facts(boards.orin(tmp_path), answers.NANO, **others)


def pc(tmp_path, **others):
    return answers.facts(boards.pc(tmp_path), answers.PC, **others)


@pytest.mark.parametrize(
    ("make", "known", "use"),
    [
        (boards.nano, answers.NANO, TENSORRT),
        (boards.container, answers.PC, TENSORRT),
        (boards.pc, answers.PC, CPU),
    ],
)
def test_a_jetson_is_for_tensorrt_and_others_for_the_cpu(make, known, use, tmp_path):
    assert checks.default_use(answers.facts(make(tmp_path), known)) == use


class TestOrder:
    def look(self, name, level, advice="do"):
        def look(facts, use):
            return Check(name, level, "found", advice, "command")

        return look

    def test_what_stops_comes_first_and_equals_keep_their_order(self, tmp_path):
        looks = [self.look(*each) for each in [("a", OK), ("b", NOTE), ("c", PROBLEM), ("d", NOTE)]]
        checks_found = judged(pc(tmp_path), CPU, looks)
        assert [check.name for check in checks_found] == ["c", "b", "d", "a"]

    def test_what_would_be_a_problem_for_another_use_is_not_needed(self, tmp_path):
        found = judged(pc(tmp_path), CPU, [self.look("a", OK)])
        assert found == [Check("a", OK, "not needed; found")]

    @pytest.mark.parametrize(("command", "is_said"), [("sudo x", True), ("pip x", False)])
    def test_who_is_in_a_container_changes_the_machine_outside(self, tmp_path, command, is_said):
        facts = answers.facts(boards.container(tmp_path), answers.PC)
        (found,) = judged(facts, CPU, [lambda *_: Check("a", NOTE, "x", "Do it.", command)])
        assert found.advice == "Do it." + checks.OUTSIDE * is_said

    def test_a_look_that_fails_does_not_stop_the_others(self, tmp_path):
        def odd_thing(facts, use):
            raise KeyError("zone")

        failed, good = judged(pc(tmp_path), CPU, [self.look("a", OK, ""), odd_thing])
        assert (failed.name, failed.level, good.name) == ("odd thing", NOTE, "a")
        assert "KeyError: 'zone'" in failed.found


class TestIdentity:
    def test_a_nano(self, tmp_path):
        assert checks.identity(nano(tmp_path), CPU).found == (
            "NVIDIA Jetson Nano Developer Kit, JetPack 4.6.1-b110, L4T 32.7.1, Ubuntu 18.04.6 LTS, "
            "Linux 4.9.253-tegra"
        )

    def test_a_container(self, tmp_path):
        facts = answers.facts(boards.container(tmp_path), answers.PC)
        found = checks.identity(facts, CPU).found
        assert found.startswith("a Jetson, JetPack 4.x, L4T 32.7.1") and "in a container" in found

    def test_python_says_where_it_is(self, tmp_path):
        python = answers.PYTHON_36._replace(path="/opt/venv/bin/python", is_environment=True)
        found = checks.python(nano(tmp_path, python=python), CPU).found
        assert found == "3.6.9, /opt/venv/bin/python (virtual environment)"


class TestRoom:
    def test_a_nano_as_it_comes_builds_engines_badly(self, tmp_path):
        facts = nano(tmp_path)
        swap = checks.swap(facts, TENSORRT)
        assert (swap.level, swap.found) == (NOTE, "1.9 GiB zram") and "'Killed'" in swap.advice
        assert "fallocate -l 4G" in swap.command
        assert swap.command.endswith("systemctl disable nvzramconfig")
        desktop = checks.desktop(facts, TENSORRT)
        assert desktop.level == NOTE and "multi-user.target" in desktop.command
        assert checks.memory(facts, TENSORRT).level == OK

    def test_swap_matters_to_builds_on_small_boards_only(self, tmp_path):
        assert checks.swap(nano(tmp_path / "a"), CPU).level == OK
        assert checks.swap(orin(tmp_path / "b"), TENSORRT).level == OK
        facts = nano(tmp_path / "c")
        room = facts.room._replace(swaps=[Swap("/swapfile", 4 * GIB, False)])
        found = checks.swap(facts._replace(room=room), TENSORRT)
        assert (found.level, found.found) == (OK, "4.0 GiB /swapfile")

    def test_without_any_swap_there_is_no_zram_to_switch_off(self, tmp_path):
        facts = nano(tmp_path)
        found = checks.swap(facts._replace(room=facts.room._replace(swaps=[])), TENSORRT)
        assert (found.level, found.found) == (NOTE, "none") and "zram" not in found.advice
        assert "nvzram" not in found.command

    def test_a_desktop_of_a_pc_is_welcome(self, tmp_path):
        assert checks.desktop(pc(tmp_path), CPU) == Check("desktop", OK, "Xorg")

    @pytest.mark.parametrize(
        ("use", "free_mib", "level"),
        [(TENSORRT, 1000, NOTE), (CPU, 1000, OK), (CPU, 200, NOTE), (TENSORRT, 1100, OK)],
    )
    def test_memory_for_a_build_or_a_run(self, tmp_path, use, free_mib, level):
        facts = nano(tmp_path)
        room = facts.room._replace(available_bytes=free_mib << 20)
        assert checks.memory(facts._replace(room=room), use).level == level

    def test_disk(self, tmp_path):
        facts = nano(tmp_path)
        full = facts.room._replace(disk_free_bytes=GIB)
        assert checks.disk(facts, CPU) == Check("disk", OK, "10.0 GiB free here")
        assert checks.disk(facts._replace(room=full), CPU).level == NOTE

    def test_what_is_not_told_is_no_fault(self, tmp_path):
        facts = nano(tmp_path)
        room = facts.room._replace(memory_bytes=None, disk_free_bytes=None)
        facts = facts._replace(room=room)
        for look in (checks.memory, checks.disk):
            assert look(facts, TENSORRT).level == OK and look(facts, TENSORRT).found == "not told"

    @pytest.mark.parametrize(
        ("count", "text"), [(0, "0 MiB"), (5 << 20, "5 MiB"), (GIB, "1.0 GiB")]
    )
    def test_sizes(self, count, text):
        assert checks.size(count) == text


class TestSpeed:
    def test_a_mode_below_maxn(self, tmp_path):
        found = checks.power_mode(orin(tmp_path), TENSORRT)
        assert (found.level, found.found) == (NOTE, "MODE_30W (2)")
        assert found.command == "sudo nvpmodel -m 0"

    def test_maxn_and_modes_without_one(self, tmp_path):
        assert checks.power_mode(nano(tmp_path / "a"), CPU) == Check("power mode", OK, "MAXN (0)")
        facts = answers.facts(boards.xavier(tmp_path / "b"), answers.NANO)
        assert checks.power_mode(facts, CPU).level == OK

    def test_maxn_super_counts(self, tmp_path):
        tree = boards.orin(tmp_path).modes(1, {0: "15W", 1: "25W", 2: "MAXN_SUPER"})
        facts = answers.facts(tree, answers.NANO)
        assert checks.power_mode(facts, CPU).command == "sudo nvpmodel -m 2"

    def test_clocks_that_follow_the_load(self, tmp_path):
        found = checks.clocks(nano(tmp_path), CPU)
        assert found.level == NOTE and found.command == "sudo jetson_clocks"
        assert found.found == "cpu0 102-1479 MHz (schedutil), gpu 77-922 MHz (nvhost_podgov)"

    def test_clocks_that_are_pinned(self, tmp_path):
        facts = answers.facts(boards.xavier(tmp_path), answers.NANO)
        found = checks.clocks(facts, CPU)
        assert found.level == OK and found.found.startswith("pinned: cpu0 1907 MHz (schedutil)")

    def test_clocks_of_a_pc_may_move(self, tmp_path):
        assert checks.clocks(pc(tmp_path), CPU).level == OK

    def test_many_clocks_are_few_words(self, tmp_path):
        tree = boards.pc(tmp_path)
        for policy in range(1, 64):
            tree.cpu(policy, "powersave", 400000, 4700000, 800000, 4700000)
        facts = answers.facts(tree, answers.PC)
        assert len(facts.clocks) == 64 and len(checks.clocks(facts, CPU).found) < 200

    def test_heat(self, tmp_path):
        found = checks.heat(orin(tmp_path), CPU)
        assert found.level == NOTE and found.found == (
            "tj-thermal 98.5 C; clocks are held down: cpu-throttle-alert; "
            "over-current 4 times since the start"
        )
        assert "fan" in found.advice

    def test_over_current_is_the_supply(self, tmp_path):
        found = checks.heat(nano(tmp_path, held=Held([], 2)), CPU)
        assert found.level == NOTE and "supply" in found.advice

    def test_a_cool_board_and_one_without_thermometers(self, tmp_path):
        assert checks.heat(nano(tmp_path), CPU) == Check("heat", OK, "AO-therm 41.5 C")
        sensed = {"temperature_c": {}, "power_w": {}}
        facts = nano(tmp_path, sensed=sensed)
        assert checks.heat(facts, CPU).found == "no thermometer"
        assert checks.sensors(facts, CPU).level == NOTE
        assert checks.sensors(pc(tmp_path / "b", sensed=sensed), CPU).level == OK

    def test_sensors_are_those_that_telemetry_reads(self, tmp_path):
        found = checks.sensors(nano(tmp_path), CPU).found
        assert found == "2 thermometers; POM_5V_CPU 0.61 W, POM_5V_GPU 0.08 W, POM_5V_IN 2.45 W"

    def test_the_time(self, tmp_path):
        facts = nano(tmp_path)
        assert checks.clock(facts, CPU).level == OK
        assert checks.clock(facts._replace(is_clock_synchronised=None), CPU).found == "not told"
        unset = facts._replace(is_clock_synchronised=False)
        assert checks.clock(unset, CPU).command == "sudo timedatectl set-ntp true"
        inside = unset._replace(machine=unset.machine._replace(is_container=True))
        assert checks.clock(inside, CPU).level == OK
