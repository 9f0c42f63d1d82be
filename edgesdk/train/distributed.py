"""One training over several processes, as torchrun starts them, and the device of each.

Every process holds the whole network and takes its share of each batch; DistributedDataParallel
averages the gradients. Batch norms see their own share alone; the statistics that are kept are
those of process 0, which also writes the files.
"""

import os
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ConfigError

PATIENCE = timedelta(minutes=30)  # process 0 evaluates and writes while the others wait


class Group(NamedTuple):
    """This process is `rank` of `size`, and computes on `device`."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process reports, evaluates and writes files."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch [n, ...]; equal parts, so up to size - 1 are left out."""
        return batch[self.rank : len(batch) - len(batch) % self.size : self.size]

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.size > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def wrap(self, network: nn.Module) -> nn.Module:
        """`network`, with gradients averaged over all processes."""
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE = Group(0, 1, torch.device("cpu"))


def join(device: str = "auto") -> Group:
    """The group that torchrun's environment variables describe; one process without them.

    "auto" takes a GPU for each process if there is one, else the CPU. Raises ConfigError for
    "cuda" without a GPU for this process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        return Group(0, 1, chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    return Group(dist.get_rank(), size, chosen)


def leave(group: Group) -> None:
    """End what `join` began."""
    if group.size > 1:
        dist.destroy_process_group()


def _device(name: str, local_rank: int) -> torch.device:
    count = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and count == 0):
        return torch.device("cpu")
    if local_rank >= count:
        raise ConfigError(
            f"device cuda: found {count} usable GPUs, expected at least {local_rank + 1}; start "
            "fewer processes, or train with --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
