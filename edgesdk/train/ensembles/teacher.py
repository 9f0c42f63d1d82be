"""The teacher: a trained network, frozen, and what of it each student is to learn.

The teacher's last convolution ("fconv" in NoNN) is taken behind the batch norm and ReLU that
follow the last block. These are the channels its classifier pools and reads, one for each filter;
and eq. 1 and the attention term are about activations, which before a ReLU have no sign that means
"fires". (In a WideResNet the shortcut's sum lies between the convolution and its activation.)

A partition of F filters has F / N of them, a student's feature D values. A fixed linear map leads
from one to the other: the D leading principal directions of the calibration split's activations,
not centred, which keep more of the vectors' length than any others; then a rotation drawn by the
seed, so that every value of a feature carries a like share. With D filters or fewer neither
lengths nor angles change.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...errors import ConfigError
from .. import checkpoint
from ..data import DataSet
from ..heads import ExitHead
from ..models import MultiExit, build_model
from ..recipe import epochs_before
from ..trainer import check_is_network, check_same_images
from .partition import Partition, filter_graph, partition

BATCH = 250  # images of a pass over a split


class Teacher(nn.Module):
    """`network` up to its final exit, in evaluation mode, without gradients.

    `description`: plain values that name it: settings, epochs of its run and of those that this
    started from, digest of the weights. Raises ConfigError if the final exit is no `ExitHead`.
    """

    def __init__(self, network: MultiExit, description: dict[str, Any]) -> None:
        super().__init__()
        head = network.exits[-1]
        if not isinstance(head, ExitHead):
            raise ConfigError(f"teacher: found a {type(head).__name__}, expected an ExitHead")
        self.segments = network.segments
        self.head = head
        self.description = description
        self.eval().requires_grad_(False)

    @property
    def filter_count(self) -> int:
        """Filters of the last convolution."""
        return self.head.norm.num_features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] -> logits [B, classes], mean activations of the filters [B, F]."""
        features = images
        for segment in self.segments:
            features = segment(features)
        pooled = self.head.pooled(features)
        return self.head.linear(pooled), pooled

    def activations(self, images: Tensor, reduced: bool = False) -> Tensor:
        """Mean activations float32 [n, F] on the CPU, for many images; `reduced`: in bfloat16."""
        device = self.head.linear.weight.device
        layout = torch.channels_last if reduced else torch.contiguous_format
        found = []
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            for batch in tqdm(
                images.split(BATCH), "teacher, calibration", leave=False, disable=None
            ):
                found.append(self(batch.to(device, memory_format=layout))[1].float().cpu())
        return torch.cat(found)


class Knowledge(NamedTuple):
    """Who learns what: `filters`, and the fixed map `projection`, float32 [N, D, F], which is 0
    for filters of other groups. `kept`: per group, the share of the activations' squared length
    that is still there behind the map. `graph`: float32 [F, F], what was partitioned."""

    filters: Partition
    projection: Tensor
    kept: tuple[float, ...]
    graph: Tensor

    def vectors(self, pooled: Tensor) -> Tensor:
        """The teacher's v(P): float32 [B, N, D] of mean activations [B, F]."""
        projection = self.projection.to(pooled.device)
        return (pooled.float() @ projection.flatten(0, 1).T).unflatten(1, projection.shape[:2])

    def provenance(self) -> dict[str, Any]:
        """As plain values, without the map."""
        return {**self.filters.provenance(), "kept": list(self.kept)}


def divided(activations: Tensor, student_count: int, feature_size: int, seed: int) -> Knowledge:
    """What each of `student_count` students learns, by mean activations [n, F] of many images.

    Raises what `filter_graph` and `partition` raise.
    """
    graph = filter_graph(activations.numpy())
    filters = partition(graph, student_count, seed)
    random = torch.Generator().manual_seed(seed)
    projection = torch.zeros(student_count, feature_size, activations.shape[1])
    kept = []
    for index, group in enumerate(filters.groups):
        values = activations[:, group].double()
        rows, share = _principal_rows(values, feature_size)
        noise = torch.randn(feature_size, len(rows), generator=random, dtype=torch.float64)
        rotation, _ = torch.linalg.qr(noise)  # orthonormal columns
        projection[index][:, list(group)] = (rotation @ rows).float()
        kept.append(share)
    return Knowledge(filters, projection, tuple(kept), torch.from_numpy(graph).float())


def load_teacher(directory: Path, data: DataSet) -> Teacher:
    """The network of the run in `directory`, which must have been trained on the images of `data`.

    Raises ConfigError if it was not, or is an ensemble, and what `checkpoint.load` raises.
    """
    state = checkpoint.load(directory)
    check_is_network(state, directory)
    check_same_images(state, data)
    settings = state["settings"]
    network = build_model(settings["model"], len(data.labels), data.preprocessing.shape[0])
    try:
        network.load_state_dict(state["network"])
    except RuntimeError as error:
        raise ConfigError(
            f"{directory}: found the weights of a network for other images than those of "
            f"{data.name}; expected {len(data.labels)} classes and "
            f"{data.preprocessing.shape[0]} channels; name the data that it was trained on"
        ) from error
    description = {
        "model": settings["model"],
        "epochs": settings["epochs"],
        "epochs_done": len(state["history"]),
        "epochs_before": epochs_before(settings["start"]),
        "weights": checkpoint.digest(network),
    }
    return Teacher(network, description)


def _principal_rows(values: Tensor, limit: int) -> tuple[Tensor, float]:
    """At most `limit` orthonormal rows [k, C] for `values` [n, C], and the share they keep."""
    strengths, directions = torch.linalg.eigh(values.T @ values)
    strengths, directions = strengths.flip(0).clamp_min(0), directions.flip(1)
    total = float(strengths.sum())
    kept = float(strengths[:limit].sum()) / total if total else 1.0
    return directions.T[:limit], kept
