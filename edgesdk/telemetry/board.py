"""The board under this process, as far as Linux tells: temperatures, power, memory, processor time.

Sensors are files below /sys. Which there are is found out once; on a machine that shows none of
them the answer is short, and nothing is ever raised: a worker must not stop for a thermometer.

    /sys/class/thermal/thermal_zone*/{type,temp}                  millidegrees
    /sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input   mW; INA3221 of JetPack 4
    /sys/class/hwmon/hwmon*/{in,curr}*_input                      mV, mA; INA3221 of JetPack 5 and 6
    /sys/class/hwmon/hwmon*/power*_input                          uW; any other
"""

import os
import re
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from .kernel_files import found, text

READ_EVERY_S = 1.0  # a reading of an INA3221 takes a millisecond of its bus
CELSIUS_MIN, CELSIUS_MAX = -60.0, 200.0  # beyond is no board: a zone that is off says -256
WATT_MAX = 10_000.0
CONSTANT_ZONES = ("PMIC-Die",)  # says the same whatever happens, on every Jetson
UNCONNECTED = "NC"  # the rail of a channel that leads nowhere
INA3221_CHANNELS = ("1", "2", "3")  # what hwmon numbers above is derived from these
FEEDS = ("POM_5V_IN", "VDD_IN", "power_meter")  # rails that feed everything else
# Of modules that measure no such rail: those that are parts of no other one.
SUMMED = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)


class Sensor(NamedTuple):
    """A quantity: the product of what stands in `paths`, times `scale`."""

    name: str
    paths: Tuple[str, ...]
    scale: float


class Board:
    """Reads the sensors below `root`, at most once a second by `clock` (seconds)."""

    def __init__(self, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._zones = _distinct(_zones(root))
        self._rails = _distinct(list(_rails_jetpack_4(root)) + list(_rails_hwmon(root)))
        self._statm = os.path.join(root, "proc/self/statm")
        self._due_s = clock()
        self._sensed: Dict[str, Any] = {}

    def read(self) -> Dict[str, Any]:
        """`temperature_c` by zone, `power_w` by rail (with the rail that feeds the board, where it
        is measured, the others are parts of it), `resident_bytes` and `cpu_us` (user and system) of
        this process. What is not known is left out. Raises nothing."""
        now_s = self._clock()
        if now_s >= self._due_s:
            self._due_s = now_s + READ_EVERY_S
            self._sensed = self._sense()
        read = {name: value.copy() for name, value in self._sensed.items()}
        read.update(_process(self._statm))
        return read

    def read_power_w(self) -> Dict[str, float]:
        """Power by rail, as `read` gives it, but measured now: it takes a millisecond per rail."""
        return _values(self._rails, 0.0, WATT_MAX)

    def _sense(self) -> Dict[str, Any]:
        return {
            "temperature_c": _values(self._zones, CELSIUS_MIN, CELSIUS_MAX),
            "power_w": self.read_power_w(),
        }


def total_rails(power_w: Dict[str, float]) -> Sequence[str]:
    """Those of the rails whose sum is what the board or module draws; none, where nothing of the
    kind is known to be among them."""
    for feed in FEEDS:
        if feed in power_w:
            return (feed,)
    return next((rails for rails in SUMMED if set(rails) <= set(power_w)), ())


def _process(statm: str) -> Dict[str, int]:
    times = os.times()
    read = {"cpu_us": round((times[0] + times[1]) * 1e6)}
    pages = text(statm).split()
    if len(pages) > 1 and pages[1].isdigit():
        read["resident_bytes"] = int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    return read


def _values(sensors: Sequence[Sensor], least: float, most: float) -> Dict[str, float]:
    values = {}
    for sensor in sensors:
        try:
            value = sensor.scale
            for path in sensor.paths:
                value *= int(text(path))
        except ValueError:  # a zone that sleeps cannot be read; it may wake
            continue
        if least <= value <= most:
            values[sensor.name] = round(value, 3)
    return values


# --- finding --------------------------------------------------------------------------------------


def _zones(root: str) -> Iterator[Sensor]:
    for folder in found(root, "sys/class/thermal/thermal_zone*"):
        kind = text(os.path.join(folder, "type"))
        if kind and kind not in CONSTANT_ZONES:
            yield Sensor(kind, (os.path.join(folder, "temp"),), 1e-3)


def _rails_jetpack_4(root: str) -> Iterator[Sensor]:
    for path in found(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input"):
        folder, channel = os.path.dirname(path), _number(path)
        name = text(os.path.join(folder, "rail_name_" + channel)) or "rail " + channel
        if name != UNCONNECTED:
            yield Sensor(name, (path,), 1e-3)


def _rails_hwmon(root: str) -> Iterator[Sensor]:
    for folder in found(root, "sys/class/hwmon/hwmon*"):
        chip = text(os.path.join(folder, "name"))
        if chip == "ina3221":
            for channel in INA3221_CHANNELS:
                name = text(os.path.join(folder, "in{}_label".format(channel)))
                paths = ["{}{}_input".format(what, channel) for what in ("in", "curr")]
                if name and name != UNCONNECTED:
                    yield Sensor(name, tuple(os.path.join(folder, p) for p in paths), 1e-6)
            continue
        for path in found(folder, "power*_input"):
            label = text(os.path.join(folder, "power{}_label".format(_number(path))))
            yield Sensor(" ".join(filter(None, (chip, label))) or "power", (path,), 1e-6)


def _distinct(sensors: Iterable[Sensor]) -> List[Sensor]:
    """The same, under names that occur once: a second "acpitz" is "acpitz 2"."""
    counts: Dict[str, int] = {}
    distinct = []
    for sensor in sensors:
        counts[sensor.name] = counts.get(sensor.name, 0) + 1
        if counts[sensor.name] > 1:
            sensor = sensor._replace(name="{} {}".format(sensor.name, counts[sensor.name]))
        distinct.append(sensor)
    return distinct


def _number(path: str) -> str:
    """The channel of a file: "0" of in_power0_input."""
    return "".join(re.findall("[0-9]+", os.path.basename(path))[:1])
