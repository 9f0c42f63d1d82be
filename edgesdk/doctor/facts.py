"""All that is known about a machine, gathered; nothing is judged here."""

import ctypes
import importlib.util
import os
import platform
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from .. import kernels
from ..telemetry.board import Board
from ..telemetry.kernel_files import lines
from ..telemetry.speed import Clock, PowerMode, read_clocks, read_power_mode
from . import machine, probes
from .libraries import Answer, ask
from .machine import Held, Machine, Room

STATE_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex
_TIMEX_BYTES = 1024  # more than any struct timex; zeros ask and change nothing


class Python(NamedTuple):
    """The interpreter that runs. `sees_system_packages`: no virtual environment hides them."""

    version: str
    path: str
    architecture: str
    is_environment: bool
    sees_system_packages: bool


class Facts(NamedTuple):
    """`kernels` is "native" or "reference", `kernels_failure` why native ones could not be loaded,
    and `has_cuda_kernels`: those for a GPU were built, whether they can be loaded or not.
    `libraries` by the names of `probes.PROBES`. `sensed` is what `telemetry.board.Board` reads.
    `environment` has the variables that matter here and are set."""

    machine: Machine
    python: Python
    kernels: str
    kernels_failure: Optional[str]
    has_cuda_kernels: bool
    libraries: Dict[str, Answer]
    environment: Dict[str, str]
    room: Room
    power_mode: Optional[PowerMode]
    clocks: List[Clock]
    held: Held
    sensed: Dict[str, Any]
    is_clock_synchronised: Optional[bool]


VARIABLES = ("OPENBLAS_CORETYPE", "EDGESDK_KERNELS", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD")


def gather(
    root: str = "/",
    asking: Callable[[str], Answer] = ask,
    progress: Callable[[str], None] = lambda name: None,
) -> Facts:
    """Facts of the machine whose files are below `root` and whose libraries `asking` knows.
    `progress` is told the name of each that is asked. Raises nothing that a file or a library could
    cause."""
    libraries = {}
    for name in probes.PROBES:
        progress(name)
        libraries[name] = asking(name)
    return Facts(
        machine.read_machine(root),
        read_python(),
        kernels.implementation,
        kernels.native_failure,
        importlib.util.find_spec("edgesdk.kernels._cuda") is not None,
        libraries,
        {name: os.environ[name] for name in VARIABLES if name in os.environ},
        machine.read_room(root),
        read_power_mode(root),
        read_clocks(root),
        machine.read_held(root),
        Board(root).read(),
        is_clock_synchronised(),
    )


def read_python() -> Python:
    """The interpreter that runs this."""
    is_environment = sys.prefix != sys.base_prefix
    configuration = os.path.join(sys.prefix, "pyvenv.cfg")
    shares = "include-system-site-packages=true"
    has_system = not is_environment or any(
        line.replace(" ", "").lower() == shares for line in lines(configuration)
    )
    return Python(
        platform.python_version(), sys.executable, platform.machine(), is_environment, has_system
    )


def is_clock_synchronised() -> Optional[bool]:
    """What the kernel was told by whichever service sets its clock; None where it does not say."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError, TypeError):
        return None
    return None if state < 0 else state != STATE_UNSYNCHRONISED
