"""What each of several processes runs in test_distributed.py: a tiny training, its end as a file.

python -m torch.distributed.run --nproc_per_node=2 tiny_processes.py RUN_DIRECTORY EPOCHS
"""

import sys
from pathlib import Path

import torch
from tiny_training import TINY, tiny_network

from edgesdk.train import distributed
from edgesdk.train.recipe import Settings
from edgesdk.train.trainer import Trainer, fit

if __name__ == "__main__":
    directory, epochs = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    group = distributed.join("cpu")
    torch.manual_seed(group.rank)  # processes that began differently must still agree
    trainer = Trainer(tiny_network(), TINY, Settings("tiny", "tiny", epochs, 0, 16), group)
    fit(trainer, directory, resume=True)
    torch.save(
        {"network": trainer.network.state_dict(), "history": trainer.history},
        directory / f"rank{group.rank}.pt",
    )
    distributed.leave(group)
