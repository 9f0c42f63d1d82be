"""Broken messages by the million: `decode` accepts what `encode` would make, or raises PeerError.

    python tests/core/wire_fuzz.py --cases 1000000 --seed 1
    python tests/core/wire_fuzz.py --atheris --cases 1000000 --seed 1

The first breaks messages of `wire_golden` by its own rules, and mends most checksums afterwards, so
that the checks behind the checksum have their turn too. The second lets atheris (`pip install
atheris`) look for inputs that reach new code. Status 1 after any other exception, a message that
does not come back bit for bit, or a decode that allocates more than ALLOCATION_BYTES_MAX.
"""

import argparse
import collections
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import traceback
import tracemalloc
import zlib
from pathlib import Path

import wire_golden

from edgesdk.core import wire
from edgesdk.core.messages import ResultMessage
from edgesdk.core.tensor import TENSOR_FIELDS
from edgesdk.core.wire_format import (
    ANSWER_FIELDS,
    BODY_CHECKED,
    CHECKSUM_BYTES,
    HEADER_FIELDS,
    RESULT_FIELDS,
    TASK_CODE,
    TASK_FIELDS,
)
from edgesdk.core.wire_kinds import KINDS
from edgesdk.errors import PeerError

ALLOCATION_BYTES_MAX = 64 * 1024  # frames are there already; a message is small
SAMPLE_EVERY = 1000  # cases between two measurements of memory
MEND_SHARE = 0.8  # of the checksums
FLAGS_AT = 4

CORPUS = [[bytes(f) for f in wire_golden.frames_of(name)] for name in sorted(wire_golden.MESSAGES)]


def _places(fields):
    """(offset, bytes) of every field."""
    at, places = 0, []
    for _, form in fields:
        size = struct.calcsize("<" + form)
        places.append((at, size))
        at += size
    return places


def _places_of_result():
    """The fields of its answer besides."""
    names = [name for name, _ in RESULT_FIELDS]
    whole = _places(HEADER_FIELDS + RESULT_FIELDS)
    begin = whole[len(HEADER_FIELDS) + names.index("answer")][0]
    return whole + [(begin + at, size) for at, size in _places(ANSWER_FIELDS)]


PLACES = {kind.code: _places(HEADER_FIELDS + kind.fields) for kind in KINDS.values()}
PLACES[KINDS[ResultMessage].code] = _places_of_result()
PLACES[TASK_CODE] = _places(HEADER_FIELDS + TASK_FIELDS + TENSOR_FIELDS)
SPECIAL = (float("nan"), float("inf"), -float("inf"), -0.0, -1.0, 1e-45, 3e38)
FLOATS = [struct.pack("<f", value) for value in SPECIAL]


class Broken(Exception):
    """What should never happen; the message says which frames did it."""


def mended(frames):
    """The frames with the checksum of the first made right."""
    head = frames[0][:-CHECKSUM_BYTES]
    return [head + struct.pack("<I", zlib.crc32(head))] + frames[1:]


def flip_bits(rng, frames):
    """Up to 8 bits of one frame."""
    at = rng.randrange(len(frames))
    data = bytearray(frames[at])
    for _ in range(rng.randint(1, 8) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return frames[:at] + [bytes(data)] + frames[at + 1 :]


def truncate(rng, frames):
    """One frame ends early."""
    at = rng.randrange(len(frames))
    cut = rng.randint(0, len(frames[at]))
    return frames[:at] + [frames[at][:cut]] + frames[at + 1 :]


def change_length(rng, frames):
    """A byte more or less, at the end of a frame or in front of the checksum."""
    at = rng.randrange(len(frames))
    data = frames[at]
    end = len(data) - rng.choice((0, CHECKSUM_BYTES))
    extra = bytes([rng.randrange(256)]) if rng.random() < 0.5 else b""
    data = data[: end if extra else max(end - 1, 0)] + extra + data[end:]
    return frames[:at] + [data] + frames[at + 1 :]


def splice(rng, frames):
    """The beginning of one message and the end of another."""
    other = rng.choice(CORPUS)
    if rng.random() < 0.5:
        return frames[:1] + other[1:]
    cut = rng.randint(0, min(len(frames[0]), len(other[0])))
    return [frames[0][:cut] + other[0][cut:]] + rng.choice((frames, other))[1:]


def change_frames(rng, frames):
    """A frame twice, missing, or at another place."""
    at = rng.randrange(len(frames))
    way = rng.randrange(3)
    if way == 0:
        return frames[: at + 1] + frames[at:]
    if way == 1:
        return frames[:at] + frames[at + 1 :]
    return rng.sample(frames, len(frames))


def set_field(rng, frames):
    """A number that is rarely met, in a field of the header or of the kind's struct."""
    head = frames[0]
    places = PLACES.get(head[3] if len(head) > 3 else 0, PLACES[TASK_CODE])
    at, size = rng.choice(places)
    top = 2 ** (8 * size) - 1
    numbers = [0, 1, top, top // 2, top // 2 + 1, rng.randint(0, top), rng.randint(0, 20)]
    value = (rng.choice(numbers) & top).to_bytes(size, "little")
    if size == 4 and rng.random() < 0.3:
        value = rng.choice(FLOATS)
    elif size == 8 and rng.random() < 0.3:  # scale and offset
        value = rng.choice(FLOATS) + rng.choice(FLOATS)
    return [head[:at] + value + head[at + size :]] + frames[1:]


MUTATIONS = (flip_bits, truncate, change_length, splice, change_frames, set_field, set_field)


def mutated(rng, frames):
    """One to three mutations, then perhaps a right checksum, perhaps another type of buffer."""
    for _ in range(rng.randint(1, 3)):
        if frames:
            frames = rng.choice(MUTATIONS)(rng, frames)
    if frames and rng.random() < MEND_SHARE:
        frames = mended(frames)
    if rng.random() < 0.2:
        frames = [memoryview(frame) for frame in frames]
    return frames


def check(frames):
    """The refusal, or None for a message that was accepted and is in its one form."""
    try:
        envelope, tensor = wire.decode(frames)
    except PeerError as refusal:
        return refusal
    except Exception as error:
        raise Broken("{}\n{}".format(traceback.format_exc(), shown(frames))) from error
    checked = tensor is not None and bool(frames[0][FLAGS_AT] & BODY_CHECKED)
    if wire.encode(envelope, tensor, checked) != list(frames):
        raise Broken("comes back as other bytes: {}\n{}".format(envelope, shown(frames)))
    return None


def shown(frames):
    """The frames as hexadecimal digits."""
    return "frames: " + " ".join(bytes(frame).hex() or "(empty)" for frame in frames)


def check_memory(frames):
    """Bytes allocated at most while `frames` are decoded."""
    tracemalloc.start()
    try:
        check(frames)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > ALLOCATION_BYTES_MAX:
        raise Broken("allocates {} bytes\n{}".format(peak, shown(frames)))
    return peak


class Counts:
    """What came of the cases."""

    def __init__(self):
        self.accepted = 0
        self.peak_bytes = 0
        self.refusals = collections.Counter()  # by what was refused

    @property
    def refused(self):
        """Messages."""
        return sum(self.refusals.values())


def run(numbers, seed):
    """Break one message for every number that comes. Raises Broken."""
    rng = random.Random(seed)
    counts = Counts()
    for number in numbers:
        frames = mutated(rng, rng.choice(CORPUS))
        refusal = check(frames)
        if refusal is None:
            counts.accepted += 1
        else:
            counts.refusals[re.split(":| of ", str(refusal))[0]] += 1
        if number % SAMPLE_EVERY == 0:
            counts.peak_bytes = max(counts.peak_bytes, check_memory(frames))
    return counts


def split(data):
    """Frames from a fuzzer's bytes: a byte of choices, the length of frame 0 as u16, the rest."""
    choices, size = (data[0], int.from_bytes(data[1:3], "little")) if len(data) > 2 else (0, 0)
    frames = [data[3 : 3 + size]]
    rest = data[3 + size :]
    if choices & 2:
        cut = 12 if choices & 4 else 0
        frames += [rest[: len(rest) - cut]] + ([rest[len(rest) - cut :]] if cut else [])
    return mended(frames) if choices & 1 else frames


def run_atheris(cases, seed):
    """The status of a process of its own: libFuzzer ends the one it runs in, without tidying up."""
    with tempfile.TemporaryDirectory() as folder:
        for number, frames in enumerate(CORPUS):
            choices = 1 | (2 if len(frames) > 1 else 0) | (4 if len(frames) > 2 else 0)
            data = struct.pack("<BH", choices, len(frames[0])) + b"".join(frames)
            (Path(folder) / str(number)).write_bytes(data)
        options = ["-runs={}".format(cases), "-seed={}".format(seed), "-max_len=2048"]
        options += ["-artifact_prefix={}/".format(folder), folder]
        program = "import sys, wire_fuzz; wire_fuzz.fuzz(sys.argv)"
        place = str(Path(__file__).resolve().parent)
        path = os.pathsep.join([place] + [each for each in sys.path if each])
        environment = dict(os.environ, PYTHONPATH=path)
        return subprocess.call([sys.executable, "-c", program] + options, env=environment)


def fuzz(arguments):
    """Let atheris look, with these arguments of libFuzzer; does not return."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(arguments, lambda data: check(split(data)))
    atheris.Fuzz()


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true", help="guided by coverage")
    arguments = parser.parse_args()
    if arguments.atheris:
        return min(run_atheris(arguments.cases, arguments.seed), 1)

    import resource

    from tqdm import tqdm

    try:
        counts = run(tqdm(range(arguments.cases), unit=" messages"), arguments.seed)
    except Broken as broken:
        print("seed {}: {}".format(arguments.seed, broken))
        return 1
    for what, count in counts.refusals.most_common():
        print("{:>9}  refused: {}".format(count, what))
    print("{:>9}  refused in all".format(counts.refused))
    print("{:>9}  accepted".format(counts.accepted))
    print("{:>9}  bytes allocated by one decode at most (sampled)".format(counts.peak_bytes))
    print("{:>9}  KB resident at most".format(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    return 0


if __name__ == "__main__":
    sys.exit(main())
