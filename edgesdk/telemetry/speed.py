"""How fast this machine is set to be: the power mode of a Jetson, and the clocks.

    /proc/device-tree/model                          what board it is
    /var/lib/nvpmodel/status, /etc/nvpmodel.conf     the power mode that was set last, and all names
    /sys/devices/system/cpu/cpufreq/policy*/         kHz
    /sys/class/devfreq/*/                            Hz; of these the GPU

It only reads, and raises nothing.
"""

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

from .kernel_files import found, lines, text, whole

GPU_DEVICE = re.compile(r"\.(gpu|g[a-z]\d\db)$")  # 57000000.gpu, 17000000.gv11b, 17000000.ga10b


class PowerMode(NamedTuple):
    """What nvpmodel was last told; `name` is "" where the configuration does not name it. `names`
    of all modes, by number."""

    number: int
    name: str
    names: Dict[int, str]


class Clock(NamedTuple):
    """Of a group of processors ("cpu0", by its first one) or of the "gpu": MHz, None where it is
    not told. The governor stays between `min_mhz` and `max_mhz`; up to `limit_mhz` is possible."""

    name: str
    governor: str
    min_mhz: Optional[float]
    max_mhz: Optional[float]
    now_mhz: Optional[float]
    limit_mhz: Optional[float] = None

    @property
    def is_pinned(self) -> bool:
        """Whether it cannot move, as after jetson_clocks."""
        return self.min_mhz is not None and self.min_mhz == self.max_mhz


def read_model(root: str = "/") -> str:
    """What board this is; "" where there is no device tree."""
    return text(os.path.join(root, "proc/device-tree/model"))


def read_power_mode(root: str = "/") -> Optional[PowerMode]:
    """The power mode of a Jetson; None elsewhere."""
    status = re.search(r"pmode:\s*(\d+)", text(os.path.join(root, "var/lib/nvpmodel/status")))
    if status is None:
        return None
    names = {}
    for line in lines(os.path.join(root, "etc/nvpmodel.conf")):
        mode = re.match(r"\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", line)
        if mode:
            names[int(mode.group(1))] = mode.group(2)
    number = int(status.group(1))
    return PowerMode(number, names.get(number, ""), names)


def read_clocks(root: str = "/") -> List[Clock]:
    """The clocks of processors and GPU, as far as they are told."""
    clocks = []
    for folder in found(root, "sys/devices/system/cpu/cpufreq/policy*"):
        name = "cpu" + os.path.basename(folder)[len("policy") :]
        files = ("scaling_min_freq", "scaling_max_freq", "scaling_cur_freq", "cpuinfo_max_freq")
        values = [_mhz(os.path.join(folder, file), 1e3) for file in files]
        clocks.append(Clock(name, text(os.path.join(folder, "scaling_governor")), *values))
    for folder in found(root, "sys/class/devfreq/*"):
        if GPU_DEVICE.search(os.path.basename(folder)):
            values = [_mhz(os.path.join(folder, what + "_freq"), 1e6) for what in _DEVFREQ]
            clocks.append(Clock("gpu", text(os.path.join(folder, "governor")), *values))
    return clocks


_DEVFREQ = ("min", "max", "cur")


def _mhz(path: str, per_mhz: float) -> Optional[float]:
    value = whole(path)
    return None if value is None or value < 0 else round(value / per_mhz, 3)


def read_speed(root: str = "/") -> Dict[str, Any]:
    """Board, power mode and clocks as plain values, for those who read a result: what is not known
    is None or left out."""
    mode = read_power_mode(root)
    clocks = {}
    for clock in read_clocks(root):
        known = dict(clock._asdict())
        del known["name"]
        clocks[clock.name] = {key: value for key, value in known.items() if value is not None}
    return {
        "board": read_model(root) or None,
        "power_mode": None if mode is None else mode.name or str(mode.number),
        "clocks": clocks,
    }
