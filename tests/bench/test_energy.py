"""Energy of what runs, by a board of files: what runs changes them, and a clock that is set."""

import pytest

from edgesdk.bench import energy
from edgesdk.telemetry.board import Board

RAILS = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
READING_S = 0.002


class Nano:
    """A tree laid out as JetPack 4 documents it for a Nano, made by hand; time passes when
    something runs, sleeps or reads. Its rails show what was done last."""

    def __init__(self, root):
        self.folder = root / RAILS
        self.folder.mkdir(parents=True)
        self.now_s = 50.0
        for channel, rail in enumerate(["POM_5V_IN", "POM_5V_GPU"]):
            (self.folder / "rail_name_{}".format(channel)).write_text(rail)
        self.draw(2000)
        self.board = Board(str(root), lambda: self.now_s)
        self.reads = self.board.read_power_w
        self.board.read_power_w = self.read

    def read(self):
        self.now_s += READING_S
        return self.reads()

    def draw(self, milliwatts):
        for channel, share in enumerate((1, 0.25)):
            text = str(round(milliwatts * share))
            (self.folder / "in_power{}_input".format(channel)).write_text(text)

    def sleep(self, seconds):
        self.draw(2000)
        self.now_s += seconds

    def stage(self, milliwatts, seconds):
        def call():
            self.draw(milliwatts)
            self.now_s += seconds

        return call

    def meter(self, seconds=2.0):
        return energy.Meter(
            self.board, ("POM_5V_IN",), seconds, clock=lambda: self.now_s, sleep=self.sleep
        )


@pytest.fixture
def nano(tmp_path):
    return Nano(tmp_path)


@pytest.fixture
def meter(nano):
    meter = nano.meter()
    meter.measure_idle()
    return meter


def test_is_power_by_time_and_what_idle_draws_is_told_apart(nano, meter):
    assert meter.idle_w == [2.0]
    found = meter.energy(nano.stage(5000, 0.004), 1)
    assert found == (pytest.approx(20.0, rel=1e-3), pytest.approx(12.0, rel=1e-3))


def test_of_a_batch_is_per_item(nano, meter):
    assert meter.energy(nano.stage(5000, 0.004), 8).total_mj == pytest.approx(2.5, rel=1e-3)


def test_what_ran_before_is_not_in_it(nano, meter):
    meter.energy(nano.stage(9000, 0.004), 1)
    assert meter.energy(nano.stage(3000, 0.010), 1).total_mj == pytest.approx(30.0, rel=1e-3)


def test_a_stage_that_changes_is_its_mean(nano, meter):
    """4 W and 8 W in turns of a second, as a mean over two."""
    begin_s = nano.now_s + energy.SETTLE_S

    def call():
        nano.stage(4000 if nano.now_s < begin_s + 1 else 8000, 0.01)()

    assert meter.energy(call, 1).total_mj == pytest.approx(60.0, rel=0.1)


def test_a_stage_longer_than_all_the_time_is_measured_once(nano, meter):
    assert meter.energy(nano.stage(5000, 7.0), 1).total_mj == pytest.approx(35000, rel=1e-3)


def test_no_more_than_idle_is_lost_in_the_noise(nano, meter):
    assert meter.energy(nano.stage(1990, 0.004), 1).above_idle_mj is None


def test_readings_are_few_and_not_the_stages(nano, meter):
    before_s, calls = nano.now_s, [0]

    def call():
        calls[0] += 1
        nano.stage(5000, 0.001)()

    meter.energy(call, 1)
    read_s = nano.now_s - before_s - 0.001 * calls[0]
    assert 0 < read_s < 0.05 * (nano.now_s - before_s)


def test_sensors_that_fall_silent_give_no_figure(nano, meter):
    (nano.folder / "in_power0_input").unlink()
    nano.draw = lambda milliwatts: None
    assert meter.energy(nano.stage(5000, 0.004), 1) is None
    meter.measure_idle()
    assert meter.idle_w == [2.0]


def test_an_idle_that_is_not_known_leaves_the_total(nano):
    (nano.folder / "in_power0_input").unlink()
    draw, nano.draw = nano.draw, lambda milliwatts: None
    meter = nano.meter()
    meter.measure_idle()
    nano.draw = draw
    found = meter.energy(nano.stage(5000, 0.004), 1)
    assert (found.total_mj, found.above_idle_mj) == (pytest.approx(20.0, rel=1e-3), None)


def test_the_real_clock_measures_a_real_loop(nano, tmp_path):
    nano.draw(3000)
    meter = energy.open_meter(str(tmp_path), seconds=0.3)
    found = meter.energy(lambda: sum(range(10000)), 1)
    assert 1e-4 < found.total_mj < 3000.0 and found.above_idle_mj is None


def test_where_no_rail_tells_the_whole_there_is_no_meter(tmp_path):
    assert energy.open_meter(str(tmp_path)) is None
    (tmp_path / "sys/class/hwmon/hwmon0").mkdir(parents=True)
    (tmp_path / "sys/class/hwmon/hwmon0/name").write_text("amdgpu")
    (tmp_path / "sys/class/hwmon/hwmon0/power1_input").write_text("9000000")
    assert energy.open_meter(str(tmp_path)) is None
