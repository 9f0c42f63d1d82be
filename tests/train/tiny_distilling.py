"""A teacher and students small enough for tests; as a program, a run that can be killed.

python tiny_distilling.py DIRECTORY EPOCHS
"""

import sys
from functools import partial
from pathlib import Path

import torch
from tiny_training import TINY, tiny_network

from edgesdk.train import models
from edgesdk.train.ensembles.distiller import Distiller
from edgesdk.train.ensembles.students import build_ensemble
from edgesdk.train.ensembles.teacher import Teacher
from edgesdk.train.recipe import Distillation, Settings
from edgesdk.train.trainer import fit

TEACHER = {"model": "tiny", "epochs": 0, "epochs_done": 0, "weights": "tiny"}


def register(patch=None):
    """Let commands and ensembles find the tiny network by its name."""
    if patch is None:
        models.MODELS["tiny"] = partial(tiny_network)
    else:
        patch.setitem(models.MODELS, "tiny", partial(tiny_network))


def tiny_distiller(
    epochs=3, seed=0, depths=(2, 1), data=TINY, teacher=TEACHER, answers=None, **changed
):
    """An untrained teacher: what it says is arbitrary, and the same every time."""
    own = {name: value for name, value in changed.items() if name in Distillation._fields}
    rest = {name: value for name, value in changed.items() if name not in own}
    torch.manual_seed(100)
    network = tiny_network()
    settings = Settings("tiny", "tiny", epochs, seed, 16, **rest)
    return Distiller(
        build_ensemble("tiny", len(data.labels), 1, depths, seed),
        Teacher(network, teacher),
        data,
        settings,
        Distillation(depths, teacher, **own),
        answers=answers,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    register()
    fit(tiny_distiller(int(sys.argv[2])), Path(sys.argv[1]), resume=True)
