"""The machine of a child process, made as its environment says. At its end it tells of misuse."""

import atexit
import json
import os
import sys

from gpu_machine import Machine

_options = json.loads(os.environ["EDGESDK_TRT_DOUBLE"])
VERSION = _options.pop("version")
_broken = _options.pop("broken")
MACHINE = Machine(**{k: tuple(v) if isinstance(v, list) else v for k, v in _options.items()})
MACHINE.broken.update(_broken)


@atexit.register
def _check():
    try:
        MACHINE.check_clean()
    except AssertionError as error:
        sys.stderr.write("the double of a GPU: {}\n".format(error))
        if "EDGESDK_TRT_COMPLAINTS" in os.environ:  # for tests whose program keeps stderr to itself
            with open(os.environ["EDGESDK_TRT_COMPLAINTS"], "a") as file:
                file.write("{}\n".format(error))
