"""Stages compiled for one device, kept in their bundle, and found again only where they fit.

    BUNDLE/compiled/KEY/engine.json                what is there, and what it was made from
    BUNDLE/compiled/KEY/onnx/segment_0.engine      beside the ONNX file's name
    BUNDLE/compiled/KEY/onnx/segment_0.npz         golden `features` and `features_out`

KEY is the name of an `EngineKey`: an engine runs on the TensorRT and the GPU that it was built
with, nowhere else, so keys are compared before a byte of an engine is read. `python -m
edgesdk.build` writes all of it. `docs/building.md` describes engine.json.
"""

import glob
import hashlib
import json
import os
import re
import shlex
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .bundle import MANIFEST
from .errors import EngineError
from .files import write_atomically
from .manifest import FILE_PATH, sha256
from .schema import Field

FORMAT = "edgesdk-engines"
FORMAT_VERSION = 1
FOLDER = "compiled"
DOCUMENT = "engine.json"
DOCUMENT_BYTES_MAX = 1 << 20  # one of a thousand engines has less than half of it
PRECISIONS = ("fp32", "fp16", "int8")


class Device(NamedTuple):
    """What an engine is tied to: version of TensorRT ("8.2.1"), name of the GPU ("NVIDIA Tegra
    X1") and its compute capability, (5, 3)."""

    tensorrt: str
    gpu: str
    compute_capability: Tuple[int, int]

    def __str__(self) -> str:
        """TensorRT 8.2.1 on NVIDIA Tegra X1 (5.3)"""
        return "TensorRT {} on {} ({}.{})".format(self.tensorrt, self.gpu, *self.compute_capability)


class EngineKey(NamedTuple):
    """What tells sets of engines apart. `precision` is one of `PRECISIONS`; `max_batch`: the
    largest batch that they take; `flags`: other choices of whoever built them, sorted."""

    device: Device
    precision: str
    max_batch: int
    flags: Tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the set's folder: trt8.2.1-sm53-fp16-b32-1a2b3c4d."""
        version = re.sub(r"[^0-9A-Za-z.]", "_", self.device.tensorrt)
        digest = sha256(json.dumps(_plain_key(self), sort_keys=True).encode("utf-8"))
        return "trt{}-sm{}{}-{}-b{}-{}".format(
            version, *self.device.compute_capability, self.precision, self.max_batch, digest[:8]
        )

    def __str__(self) -> str:
        """TensorRT 8.2.1 on NVIDIA Tegra X1 (5.3), fp16, batch up to 32"""
        words = [str(self.device), self.precision, "batch up to {}".format(self.max_batch)]
        return ", ".join(words + list(self.flags))


class Engine(NamedTuple):
    """One stage. `onnx`: its file, relative to the bundle, and `onnx_sha256` what was in it.
    `file` and `golden` (or None): relative to the set's folder. `seconds` to build it;
    `skipped_tactic_count`: for lack of memory, so it may be slower than it could be. `error`: of
    its outputs against the golden ones, by their largest value; None if that was not checked.
    `conditions`: power mode, clocks, memory for the builder, as plain values for people."""

    onnx: str
    onnx_sha256: str
    file: str
    sha256: str
    bytes: int
    golden: Optional[str]
    layer_count: int
    seconds: float
    skipped_tactic_count: int
    error: Optional[float]
    conditions: Dict[str, Any]


class EngineSet(NamedTuple):
    """Engines of one key. `built_at`: when the last of them was, seconds since 1970."""

    key: EngineKey
    built_at: float
    engines: Tuple[Engine, ...]

    def engine(self, onnx: str) -> Optional[Engine]:
        """Of an ONNX file relative to the bundle, or None."""
        return next((engine for engine in self.engines if engine.onnx == onnx), None)


class FoundEngine(NamedTuple):
    """An engine that fits. `path`: its file; `golden`: of an .npz with `features` and
    `features_out`, or None. `bundle`: its folder; `built`: the set that it belongs to."""

    path: str
    precision: str
    max_batch: int
    golden: Optional[str]
    engine: Engine
    built: EngineSet
    bundle: str


def build_command(bundle: str, *options: str) -> str:
    """What to type to have the engines of the bundle in folder `bundle` built."""
    words = ["python -m edgesdk.build", shlex.quote(bundle)]
    return " ".join(words + list(options))


def folder_of(bundle: str, key: EngineKey) -> str:
    """Where the engines of `key` are kept."""
    return os.path.join(bundle, FOLDER, key.name)


def find_engine(onnx_path: str, device: Device) -> FoundEngine:
    """The engine of a bundle's ONNX file for `device`: of several precisions the one built last.

    Raises EngineError, with the command that builds it, if there is none, if the ONNX file has
    changed since, or if the file is in no bundle.
    """
    bundle, onnx = _in_bundle(onnx_path)
    found, damaged = read_sets(bundle)
    fitting = [each for each in found if each.key.device == device and each.engine(onnx)]
    digest = _sha256_of(onnx_path)
    for each in sorted(fitting, key=lambda built: built.built_at, reverse=True):
        engine = each.engine(onnx)
        if engine is not None and engine.onnx_sha256 == digest:
            return found_engine(bundle, each, engine)
    if fitting:
        raise EngineError(
            "{}: the ONNX file has changed since its engine was built: found sha256 {}..., needed "
            "{}...; {}".format(
                onnx_path, digest[:12], _digest_in(fitting[-1], onnx)[:12], _rebuild(bundle)
            )
        )
    raise EngineError(
        "{}: no engine for this device: found {}; needed {}; {}".format(
            onnx_path, _in_words(found, onnx, damaged), device, _rebuild(bundle)
        )
    )


def found_engine(bundle: str, built: EngineSet, engine: Engine) -> FoundEngine:
    """Where `engine`, one of the set `built` of the bundle in folder `bundle`, has its files."""
    folder, key = folder_of(bundle, built.key), built.key
    golden = None if engine.golden is None else os.path.join(folder, *engine.golden.split("/"))
    path = os.path.join(folder, *engine.file.split("/"))
    return FoundEngine(path, key.precision, key.max_batch, golden, engine, built, bundle)


def read_engine(found: FoundEngine) -> bytes:
    """What is in the file of an engine. Raises EngineError if it is not what was built."""
    again = build_command(found.bundle, "--force")
    try:
        with open(found.path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise EngineError(
            "{}: the engine cannot be read ({}); build it again: {}".format(
                found.path, error.strerror, again
            )
        ) from None
    if len(content) != found.engine.bytes:
        raise EngineError(
            "{}: the engine has changed: found {} bytes, needed {}; build it again: {}".format(
                found.path, len(content), found.engine.bytes, again
            )
        )
    if sha256(content) != found.engine.sha256:
        raise EngineError(
            "{}: the engine has changed: found sha256 {}..., needed {}...; build it again: "
            "{}".format(found.path, sha256(content)[:12], found.engine.sha256[:12], again)
        )
    return content


def write_set(folder: str, built: EngineSet) -> None:
    """Write engine.json into `folder`, where the engines are. Raises EdgeError if that fails."""
    document: Dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
    document.update(
        key=_plain_key(built.key),
        built_at=built.built_at,
        engines=[dict(engine._asdict()) for engine in built.engines],
    )
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(os.path.join(folder, DOCUMENT), text.encode("utf-8"))


def read_set(folder: str) -> EngineSet:
    """The engine.json in `folder`. Raises EngineError that begins with its path if it is not what
    `write_set` writes; the engines themselves are not looked at."""
    path = os.path.join(folder, DOCUMENT)
    try:
        if os.path.getsize(path) > DOCUMENT_BYTES_MAX:
            raise ValueError("larger than {} bytes".format(DOCUMENT_BYTES_MAX))
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        return _read(Field(document, "", EngineError))
    except (OSError, ValueError, RecursionError, EngineError) as error:
        cause = getattr(error, "strerror", None) or error
        raise EngineError("{}: {}; build the engines again".format(path, cause)) from None


def read_sets(bundle: str) -> Tuple[List[EngineSet], List[str]]:
    """Every set of engines in a bundle, and why others that are there cannot be read."""
    found, damaged = [], []
    pattern = os.path.join(glob.escape(bundle), FOLDER, "[!.]*", DOCUMENT)
    for path in sorted(glob.glob(pattern)):
        folder = os.path.dirname(path)
        try:
            built = read_set(folder)
        except EngineError as error:
            damaged.append(str(error))
            continue
        if built.key.name == os.path.basename(folder):
            found.append(built)
        else:
            damaged.append("{}: engines of {}, which is another folder's".format(path, built.key))
    return found, damaged


def _in_bundle(onnx_path: str) -> Tuple[str, str]:
    """The folder of the bundle that a file is in, and the file's name there."""
    path = os.path.abspath(os.fspath(onnx_path))
    folder = os.path.dirname(path)
    while not os.path.exists(os.path.join(folder, MANIFEST)):
        if folder == os.path.dirname(folder):
            raise EngineError(
                "{}: found no {} in any folder above, needed a bundle: its engines are kept in it; "
                "export it: python -m edgesdk.train export".format(onnx_path, MANIFEST)
            )
        folder = os.path.dirname(folder)
    return folder, os.path.relpath(path, folder).replace(os.sep, "/")


def _sha256_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise EngineError(
            "{}: the ONNX file cannot be read ({}); copy the bundle again".format(
                path, error.strerror
            )
        ) from None


def _digest_in(built: EngineSet, onnx: str) -> str:
    engine = built.engine(onnx)
    return "" if engine is None else engine.onnx_sha256


def _in_words(found: List[EngineSet], onnx: str, damaged: List[str]) -> str:
    """Which sets there are, and which of them lack this stage."""
    words = [
        str(each.key) + ("" if each.engine(onnx) else " (without this stage)") for each in found
    ]
    return "; ".join(words + damaged) or "none"


def _rebuild(bundle: str) -> str:
    return "build it here: " + build_command(bundle)


def _plain_key(key: EngineKey) -> Dict[str, Any]:
    return {
        "tensorrt": key.device.tensorrt,
        "gpu": key.device.gpu,
        "compute_capability": list(key.device.compute_capability),
        "precision": key.precision,
        "max_batch": key.max_batch,
        "flags": list(key.flags),
    }


def _read(root: Field) -> EngineSet:
    root.get("format").choice([FORMAT])
    version = root.get("format_version")
    if version.whole(1) != FORMAT_VERSION:
        raise version.fail("{}, the format this edgesdk reads".format(FORMAT_VERSION))
    return EngineSet(
        key=_read_key(root.get("key")),
        built_at=root.get("built_at").number(0),
        engines=tuple(_read_engine(field) for field in root.get("engines").items()),
    )


def _read_key(field: Field) -> EngineKey:
    capability = field.get("compute_capability")
    numbers = tuple(item.whole() for item in capability.items())
    if len(numbers) != 2:
        raise capability.fail("two numbers")
    device = Device(field.get("tensorrt").text(), field.get("gpu").text(), (numbers[0], numbers[1]))
    return EngineKey(
        device,
        field.get("precision").choice(PRECISIONS),
        field.get("max_batch").whole(1),
        tuple(flag.text() for flag in field.get("flags").items()),
    )


def _read_engine(field: Field) -> Engine:
    golden, error = field.get("golden"), field.get("error")
    return Engine(
        onnx=_path_in(field.get("onnx")),
        onnx_sha256=field.get("onnx_sha256").text(),
        file=_path_in(field.get("file")),
        sha256=field.get("sha256").text(),
        bytes=field.get("bytes").whole(1),
        golden=None if golden.value is None else _path_in(golden),
        layer_count=field.get("layer_count").whole(),
        seconds=field.get("seconds").number(0),
        skipped_tactic_count=field.get("skipped_tactic_count").whole(),
        error=None if error.value is None else error.number(0),
        conditions={name: value.value for name, value in field.get("conditions").entries()},
    )


def _path_in(field: Field) -> str:
    """A path that stays in its folder."""
    if not FILE_PATH.fullmatch(field.text()):
        raise field.fail("a path inside the folder, such as onnx/segment_0.onnx")
    return field.text()
