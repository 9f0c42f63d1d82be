"""A backend whose stages wait for the test: computes the tiny network in numpy, on command."""

import threading
import time

import numpy as np
import tiny

from edgesdk.backends import Backend, Program
from edgesdk.core.exits import MaxProbability
from edgesdk.pipeline import Pipeline
from edgesdk.preprocess import Preprocessor

BRIGHT, MEDIUM, DIM = 1.0, 0.9, 0.55  # leave at exits 0, 1 and 2 with the bundle's policy


class GatedProgram(Program):
    def __init__(self, backend, stage):
        self._backend = backend
        self._stage = stage

    def run(self, features, out):
        self._backend.entered.release()
        assert self._backend.gate.wait(20), "the test never opened the gate"
        self._backend.batches.append((self._stage, len(features)))
        if self._backend.error is not None and self._stage == self._backend.fails_at:
            raise self._backend.error
        if self._stage == 0:
            out[:, 0], out[:, 1] = features[:, 0], 1 - features[:, 0]
        else:
            out[...] = features


class GatedBackend(Backend):
    """`gate` is open at first; `entered` counts stages begun; `batches` lists (stage, size)."""

    name = "gated"

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches = []
        self.error = None
        self.fails_at = 1
        self._loaded = 0

    def load(self, path, input_shape, output_shape):
        self._loaded += 1
        return GatedProgram(self, self._loaded - 1)

    def wait_until_entered(self):
        assert self.entered.acquire(timeout=20)


def open_gated(bundle, policy=None, **options):
    """A pipeline on the tiny bundle, and the backend that holds its stages."""
    backend = GatedBackend()
    manifest = bundle.manifest
    pipe = Pipeline(
        bundle,
        manifest.parts[0].plans["full"],
        policy or MaxProbability([0.7, 0.8, 0.0]),
        backend,
        Preprocessor(manifest.preprocessing),
        **options,
    )
    return pipe, backend


def dim(count=1):
    """Images that only the final exit answers."""
    return np.stack([tiny.image(DIM)] * count)


def slow_down(pipe, stage, seconds):
    """Make a stage of `pipe` take so much longer."""
    program = pipe._executor._stages[(0, stage)].program
    run = program.run

    def slow(features, out):
        time.sleep(seconds)
        run(features, out)

    program.run = slow
