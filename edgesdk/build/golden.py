"""The child's task "golden": what the stages of a bundle answer, computed on the CPU.

The inputs are pictures drawn from a seed, through the bundle's own preprocessing and then from
stage to stage, so every stage sees values as large as it will meet.
"""

import os
import time
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from ..backends import Backend, open_backend
from ..bundle import Bundle, read_bundle
from ..core.spec import FULL_PLAN, Preprocessing
from ..errors import BackendUnavailable
from ..golden import Golden, write_golden
from ..preprocess import Preprocessor
from .planning import StageFile, renamed

CPU_BACKENDS = ("onnxruntime", "torch")  # the better one first
SAMPLE_COUNT = 4
SEED = 20211  # any number; files of two builds are then alike


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Write an .npz of `features` and `features_out` for each of `files` of the bundle in folder
    `bundle` into `folder`, beside where its engine will be. Raises BackendUnavailable if nothing
    computes on the CPU."""
    begin = time.monotonic()
    bundle = read_bundle(request["bundle"])
    files = [stage_file(each) for each in request["files"]]
    backend = cpu_backend()
    for file, golden in golden_outputs(bundle, files, backend):
        path = os.path.join(request["folder"], *renamed(file.onnx, ".npz").split("/"))
        write_golden(path, golden)
    return {"backend": backend.name, "seconds": time.monotonic() - begin}


def stage_file(plain: Dict[str, Any]) -> StageFile:
    """From the plain values of a request."""
    shapes = {name: tuple(plain[name]) for name in ("input_shape", "output_shape")}
    return StageFile(**dict(plain, **shapes))


def cpu_backend() -> Backend:
    """The better of those that are installed. Raises BackendUnavailable if there is none."""
    missing = []
    for name in CPU_BACKENDS:
        try:
            return open_backend(name)
        except BackendUnavailable as error:
            missing.append(str(error))
    raise BackendUnavailable(
        "nothing on the CPU can compute what the engines should: {}; or build without the check: "
        "--unchecked".format("; ".join(missing))
    )


def golden_outputs(
    bundle: Bundle, files: List[StageFile], backend: Backend
) -> Iterator[Tuple[StageFile, Golden]]:
    """What each of `files` makes of the features in front of it, or of their code."""
    borders = [_borders(bundle, part, backend) for part in range(len(bundle.manifest.parts))]
    for file in files:
        features = borders[file.part][file.border]
        if file.encoder:
            code, shape = file.input_shape, file.output_shape
            encoder = file._replace(onnx=file.encoder, input_shape=shape, output_shape=code)
            features = run(bundle, backend, encoder, features)
        yield file, Golden(features, run(bundle, backend, file, features))


def run(bundle: Bundle, backend: Backend, file: StageFile, features: np.ndarray) -> np.ndarray:
    """What a backend makes of `features`."""
    program = backend.load(bundle.file(file.onnx), file.input_shape, file.output_shape)
    out = np.empty((len(features),) + tuple(file.output_shape), np.float32)
    program.run(features, out)
    return out


def _borders(bundle: Bundle, part: int, backend: Backend) -> List[np.ndarray]:
    """The features in front of every segment, and behind the last."""
    spec = bundle.manifest.parts[part]
    preprocess = Preprocessor(bundle.manifest.preprocessing)
    found = [preprocess(list(pictures(bundle.manifest.preprocessing)))]
    for stage in spec.plans[FULL_PLAN].stages:
        segment = spec.segments[stage.first_segment]
        shapes = segment.input_shape, segment.output_shape
        file = StageFile(stage.file, part, stage.first_segment, shapes[0], shapes[1], "")
        found.append(run(bundle, backend, file, found[-1]))
    return found


def pictures(spec: Preprocessing) -> Iterator[np.ndarray]:
    """uint8 [H,W] or [H,W,3]: noise, each in patches twice as wide as those before."""
    random = np.random.RandomState(SEED)
    for number in range(SAMPLE_COUNT):
        width = 2**number
        shape = [-(-size // width) for size in (spec.height, spec.width)]
        shape += [] if spec.color == "gray" else [3]
        patches = random.randint(0, 256, shape).astype(np.uint8)
        picture = patches.repeat(width, axis=0).repeat(width, axis=1)
        yield np.ascontiguousarray(picture[: spec.height, : spec.width])
