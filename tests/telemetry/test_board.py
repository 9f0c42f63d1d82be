"""Board: sensors of boards that are made of files, and of the machine this runs on."""

import json
import os

import pytest

from edgesdk.telemetry.board import READ_EVERY_S, Board, total_rails

I2C = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"


class Machine:
    """A tree of sysfs files, and a clock."""

    def __init__(self, root):
        self.root = root
        self.now_s = 100.0

    def write(self, folder, **files):
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def zone(self, number, kind, temp):
        return self.write(
            "sys/class/thermal/thermal_zone{}".format(number), type=kind + "\n", temp=temp + "\n"
        )

    def board(self):
        return Board(str(self.root), lambda: self.now_s)

    def read(self):
        return self.board().read()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def nano(machine):
    """A Jetson Nano with JetPack 4."""
    machine.zone(0, "AO-therm", "41500").zone(1, "CPU-therm", "33500")
    machine.zone(2, "PMIC-Die", "100000")
    for channel, (rail, milliwatts) in enumerate(
        [("POM_5V_IN", 2450), ("POM_5V_GPU", 80), ("POM_5V_CPU", 610)]
    ):
        machine.write(I2C, **{"rail_name_{}".format(channel): rail + "\n"})
        machine.write(I2C, **{"in_power{}_input".format(channel): "{}\n".format(milliwatts)})
        machine.write(I2C, **{"in_current{}_input".format(channel): "490\n"})
    return machine


class TestKnownBoards:
    def test_a_nano_with_jetpack_4(self, nano):
        read = nano.read()
        assert read["temperature_c"] == {"AO-therm": 41.5, "CPU-therm": 33.5}
        assert read["power_w"] == {"POM_5V_IN": 2.45, "POM_5V_GPU": 0.08, "POM_5V_CPU": 0.61}

    def test_an_orin_with_jetpack_6_multiplies_voltage_and_current(self, machine):
        """A channel that is not connected, and the shunts' voltages behind it, are no rails."""
        folder = "sys/class/hwmon/hwmon1"
        machine.write(folder, name="ina3221\n", in1_label="VDD_IN\n", in2_label="NC\n")
        machine.write(folder, in1_input="4960\n", curr1_input="1200\n")
        machine.write(folder, in2_input="4960\n", curr2_input="8\n")
        machine.write(folder, in7_label="sum of shunt voltages\n", in7_input="5\n")
        machine.write(folder, curr4_input="1208\n")
        machine.zone(10, "tj-thermal", "50250").zone(2, "cv0-thermal", "-256000")
        read = machine.read()
        assert read["power_w"] == {"VDD_IN": pytest.approx(5.952)}
        assert read["temperature_c"] == {"tj-thermal": 50.25}

    def test_a_pc(self, machine):
        machine.zone(0, "acpitz", "27800").zone(1, "acpitz", "29800")
        machine.zone(2, "x86_pkg_temp", "55000")
        machine.write("sys/class/hwmon/hwmon4", name="amdgpu\n", power1_label="PPT\n")
        machine.write("sys/class/hwmon/hwmon4", power1_input="9128000\n")
        machine.write("sys/class/hwmon/hwmon2", name="power_meter\n", power1_input="61000000\n")
        machine.write("sys/class/hwmon/hwmon3", name="nvme\n", temp1_input="41000\n")
        read = machine.read()
        zones = {"acpitz": 27.8, "acpitz 2": 29.8, "x86_pkg_temp": 55.0}
        assert read["temperature_c"] == zones
        assert read["power_w"] == {"power_meter": 61.0, "amdgpu PPT": 9.128}

    def test_nothing_at_all(self, machine):
        read = machine.read()
        assert read.pop("cpu_us") > 0
        assert read == {"temperature_c": {}, "power_w": {}}

    def test_the_machine_this_runs_on(self):
        read = Board().read()
        assert json.loads(json.dumps(read)) == read
        assert 1e6 < read["resident_bytes"] < 1e12
        used = sum(os.times()[:2])
        assert 0 < read["cpu_us"] <= used * 1e6 + 1


class TestGarbage:
    @pytest.mark.parametrize(
        "temp", ["", "warm", "1e3", b"\xff\xfe", b"\0", "9" * 400, "-256000", "999000", "nan"]
    )
    def test_a_zone_that_says_nonsense_is_left_out(self, machine, temp):
        machine.zone(0, "odd", "0").zone(1, "good", "42000")
        machine.write("sys/class/thermal/thermal_zone0", temp=temp)
        assert machine.read()["temperature_c"] == {"good": 42.0}

    def test_what_cannot_be_read_is_left_out(self, nano):
        """A folder in place of a file gives the error that a sleeping sensor gives."""
        (nano.root / "sys/class/thermal/thermal_zone7/temp").mkdir(parents=True)
        nano.write("sys/class/thermal/thermal_zone7", type="GPU-therm")
        os.remove(str(nano.root / I2C / "in_power1_input"))
        (nano.root / I2C / "in_power1_input").mkdir()
        read = nano.read()
        assert sorted(read["temperature_c"]) == ["AO-therm", "CPU-therm"]
        assert sorted(read["power_w"]) == ["POM_5V_CPU", "POM_5V_IN"]

    def test_names_that_are_missing_or_mixed_do_not_matter(self, machine):
        """Bus addresses are hexadecimal: their digits have no order among themselves."""
        for address in ("1-004a", "1-0040", "b-004"):
            folder = "sys/bus/i2c/drivers/ina3221x/{}/iio:device0".format(address)
            machine.write(folder, in_power0_input="1000")
        machine.write("sys/class/hwmon/hwmon0", power1_input="1000000")
        names = {"rail 0", "rail 0 2", "rail 0 3", "power"}
        assert machine.read()["power_w"] == dict.fromkeys(names, 1.0)

    @pytest.mark.parametrize("statm", ["", "100", "100 many 3", b"\xff \xff"])
    def test_a_process_that_is_not_described(self, machine, statm):
        machine.write("proc/self", statm=statm)
        assert "resident_bytes" not in machine.read()


class TestReading:
    def test_memory_is_counted_in_pages(self, machine):
        machine.write("proc/self", statm="900 417 389 5 0 123 0\n")
        assert machine.read()["resident_bytes"] == 417 * os.sysconf("SC_PAGE_SIZE")

    def test_sensors_are_read_at_most_once_a_second(self, nano):
        board = nano.board()
        assert board.read()["temperature_c"]["CPU-therm"] == 33.5
        nano.zone(1, "CPU-therm", "60000")
        nano.now_s += READ_EVERY_S / 2
        assert board.read()["temperature_c"]["CPU-therm"] == 33.5
        nano.now_s += READ_EVERY_S / 2
        assert board.read()["temperature_c"]["CPU-therm"] == 60.0

    def test_a_zone_that_wakes_is_there_again(self, nano):
        nano.zone(1, "CPU-therm", "off")
        board = nano.board()
        assert "CPU-therm" not in board.read()["temperature_c"]
        nano.zone(1, "CPU-therm", "60000")
        nano.now_s += READ_EVERY_S
        assert board.read()["temperature_c"]["CPU-therm"] == 60.0

    def test_what_a_reader_changes_stays_with_it(self, nano):
        board = nano.board()
        board.read()["power_w"].clear()
        assert board.read()["power_w"]

    def test_power_alone_is_read_whenever_it_is_asked_for(self, nano):
        board = nano.board()
        assert board.read_power_w()["POM_5V_IN"] == 2.45
        nano.write(I2C, in_power0_input="3000")
        assert board.read_power_w()["POM_5V_IN"] == 3.0


class TestTotals:
    """Rails of NVIDIA's documentation: some feed the others, some modules measure only parts."""

    @pytest.mark.parametrize(
        ("rails", "total"),
        [
            (["POM_5V_GPU", "POM_5V_IN", "POM_5V_CPU"], ["POM_5V_IN"]),
            (["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"], ["VDD_IN"]),
            (
                ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"],
                ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"],
            ),
            (["VDD_GPU_SOC", "VDD_CPU_CV"], []),
            (["amdgpu PPT"], []),
            ([], []),
        ],
    )
    def test_what_is_the_whole(self, rails, total):
        assert list(total_rails(dict.fromkeys(rails, 1.0))) == total
