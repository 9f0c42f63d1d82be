"""What a machine is and has, read from files below a root folder; nothing is changed or started.

    /etc/nv_tegra_release, /var/lib/dpkg/status    release of L4T and JetPack
    /etc/os-release, /proc/sys/kernel/osrelease    system
    /dev/nv*                                       what a program must open to reach a GPU
    /proc/meminfo, /proc/swaps, /proc/*/comm       memory, and whether a desktop runs
    /sys/class/thermal/cooling_device*, oc*_event_cnt    whether clocks are held down

What is not told is "", None or an empty list.
"""

import json
import os
import re
import shutil
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..telemetry.kernel_files import TEXT_BYTES_MAX, found, lines, text, whole
from ..telemetry.speed import read_model

PACKAGES = ("nvidia-l4t-core", "nvidia-jetpack", "python3-libnvinfer")
JETPACK_OF_L4T = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7"}
CONTAINER_FILES = (".dockerenv", "run/.containerenv")
CONTAINER_GROUPS = re.compile("docker|kubepods|containerd|lxc|podman")
GPU_FILES_JETSON = ("dev/nvhost-ctrl", "dev/nvhost-gpu", "dev/nvmap")
GPU_FILES = ("dev/nvidiactl", "dev/nvidia0")
DESKTOPS = ("Xorg", "Xwayland", "gnome-shell", "weston", "compiz")
THROTTLES = re.compile("throttle|hot-surface|balanced|processor|cpufreq|devfreq", re.IGNORECASE)


class Machine(NamedTuple):
    """`l4t` as (32, "7.1"); `packages` of `PACKAGES` that are installed, with their versions.
    `gpu_files` are those that a program must open, with whether this user may; `cuda` is the
    version of the toolkit."""

    model: str
    l4t: Optional[Tuple[int, str]]
    packages: Dict[str, str]
    os: str
    kernel: str
    is_container: bool
    gpu_files: Dict[str, bool]
    cuda: str
    has_nvcc: bool

    @property
    def is_jetson(self) -> bool:
        """Whether this is a Jetson, or a container that was given its files."""
        return _is_jetson(self.model, self.l4t)

    @property
    def jetpack(self) -> str:
        """As exactly as it is known: "4.6.1-b110", "5.x", ""."""
        exact = self.packages.get("nvidia-jetpack", "")
        major = JETPACK_OF_L4T.get(self.l4t[0]) if self.l4t else None
        return exact or (major + ".x" if major else "")


class Swap(NamedTuple):
    """`is_compressed_memory`: zram, which needs the memory that it saves."""

    path: str
    total_bytes: int
    is_compressed_memory: bool


class Room(NamedTuple):
    """Memory, swap, and the disk of the current folder, in bytes; None where it is not told."""

    memory_bytes: Optional[int]
    available_bytes: Optional[int]
    swaps: List[Swap]
    disk_free_bytes: Optional[int]
    desktop: str


class Held(NamedTuple):
    """What holds clocks down now (names of cooling devices), and how often over-current did since
    the start."""

    cooling: List[str]
    over_current_count: int


def read_machine(root: str = "/") -> Machine:
    """What this machine is."""
    packages = _packages(os.path.join(root, "var/lib/dpkg/status"))
    l4t = _l4t(text(os.path.join(root, "etc/nv_tegra_release"))) or _l4t_of(packages)
    model = read_model(root)
    names = GPU_FILES_JETSON if _is_jetson(model, l4t) else GPU_FILES
    return Machine(
        model,
        l4t,
        packages,
        _os_name(root),
        text(os.path.join(root, "proc/sys/kernel/osrelease")),
        _is_container(root),
        {"/" + name: _may_open(os.path.join(root, name)) for name in names},
        _cuda(os.path.join(root, "usr/local/cuda")),
        os.path.exists(os.path.join(root, "usr/local/cuda/bin/nvcc")),
    )


def _is_jetson(model: str, l4t: Optional[Tuple[int, str]]) -> bool:
    return "jetson" in model.lower() or l4t is not None


def _may_open(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _l4t(release: str) -> Optional[Tuple[int, str]]:
    told = re.match(r"# R(\d{1,3}) \(release\), REVISION: ([\d.]+)", release)
    return (int(told.group(1)), told.group(2)) if told else None


def _l4t_of(packages: Dict[str, str]) -> Optional[Tuple[int, str]]:
    told = re.match(r"(\d{1,3})\.([\d.]+)", packages.get("nvidia-l4t-core", ""))
    return (int(told.group(1)), told.group(2)) if told else None


def _packages(path: str) -> Dict[str, str]:
    """Those of `PACKAGES` that are installed; dpkg itself need not be called for it."""
    versions = {}
    for stanza in text(path, TEXT_BYTES_MAX).split("\n\n"):
        name = re.match(r"\s*Package: (\S+)$", stanza, re.MULTILINE)
        if name and name.group(1) in PACKAGES and "\nStatus: install ok installed" in stanza:
            version = re.search(r"^Version: (\S+)$", stanza, re.MULTILINE)
            versions[name.group(1)] = version.group(1) if version else "unknown"
    return versions


def _os_name(root: str) -> str:
    for line in lines(os.path.join(root, "etc/os-release")):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'")
    return ""


def _is_container(root: str) -> bool:
    if any(os.path.exists(os.path.join(root, name)) for name in CONTAINER_FILES):
        return True
    return any(map(CONTAINER_GROUPS.search, lines(os.path.join(root, "proc/1/cgroup"))))


def _cuda(folder: str) -> str:
    """JetPack 4 says it in version.txt, later ones in version.json."""
    told = re.match(r"CUDA Version ([\d.]+)", text(os.path.join(folder, "version.txt")))
    if told:
        return told.group(1)
    try:
        document: Any = json.loads(text(os.path.join(folder, "version.json"), TEXT_BYTES_MAX))
        return str(document["cuda"]["version"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def read_room(root: str = "/", folder: str = ".") -> Room:
    """How much memory, swap and disk there is; the disk is that of `folder`."""
    sizes = {}
    for line in lines(os.path.join(root, "proc/meminfo")):
        told = re.match(r"(\w+):\s+(\d{1,15}) kB", line)
        if told:
            sizes[told.group(1)] = int(told.group(2)) * 1024
    try:
        free: Optional[int] = shutil.disk_usage(folder).free
    except OSError:
        free = None
    return Room(
        sizes.get("MemTotal"), sizes.get("MemAvailable"), _swaps(root), free, _desktop(root)
    )


def _swaps(root: str) -> List[Swap]:
    swaps = []
    for line in lines(os.path.join(root, "proc/swaps")):
        told = re.match(r"(/\S+)\s+\w+\s+(\d{1,15})\s", line)
        if told:
            path = told.group(1)
            swaps.append(Swap(path, int(told.group(2)) * 1024, path.startswith("/dev/zram")))
    return swaps


def _desktop(root: str) -> str:
    """The program that shows one."""
    names = {text(path) for path in found(root, "proc/[0-9]*/comm")}
    return next((name for name in DESKTOPS if name in names), "")


def read_held(root: str = "/") -> Held:
    """Whether heat or current holds clocks down."""
    cooling = []
    for folder in found(root, "sys/class/thermal/cooling_device*"):
        kind = text(os.path.join(folder, "type"))
        if THROTTLES.search(kind) and (whole(os.path.join(folder, "cur_state")) or 0) > 0:
            cooling.append(kind)
    counts = map(whole, found(root, "sys/class/hwmon/hwmon*/oc*_event_cnt"))
    return Held(cooling, sum(count for count in counts if count is not None and count > 0))
