"""Several processes train one network, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_processes
import torch

from edgesdk.errors import ConfigError
from edgesdk.train import checkpoint, distributed
from edgesdk.train.distributed import ALONE, Group

PATIENCE_S = 200
CPU = torch.device("cpu")


def run_two(directory, epochs):
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        + [tiny_processes.__file__, str(directory), str(epochs)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [torch.load(directory / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def ends(directory):
    return run_two(directory, 6)


def test_processes_end_with_the_same_weights(ends):
    for name in dict(ends[0]["network"]):
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(ends[0]["network"][name], ends[1]["network"][name]), name


def test_processes_agree_on_what_came_out(ends):
    assert ends[0]["history"] == ends[1]["history"]
    assert len(ends[0]["history"]) == 6
    losses = [record["train_loss"] for record in ends[0]["history"]]
    assert losses[-1] < losses[0]


def test_one_of_them_writes_one_run(ends, directory):
    state = checkpoint.load(directory)
    assert state["history"] == ends[0]["history"]
    assert all(torch.equal(state["network"][n], v) for n, v in ends[0]["network"].items())
    written = {path.name for path in directory.iterdir()} - {"rank0.pt", "rank1.pt"}
    assert written == {"checkpoint.pt", "curves.png", "log.jsonl"}


@pytest.mark.slow
def test_the_seed_decides_the_weights_of_several_processes_too(ends, tmp_path):
    again = run_two(tmp_path, 6)
    assert again[0]["history"] == ends[0]["history"]
    assert all(torch.equal(again[0]["network"][n], v) for n, v in ends[0]["network"].items())


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 12])
def test_shares_are_equal_and_disjoint(size, count):
    batch = torch.arange(count)
    shares = [Group(rank, size, CPU).share(batch).tolist() for rank in range(size)]
    assert {len(share) for share in shares} == {count // size}
    together = [value for share in shares for value in share]
    assert sorted(together) == list(range(count - count % size))


def test_one_process_does_everything_itself():
    network, values = torch.nn.Linear(2, 2), torch.ones(3)
    assert ALONE.leads
    assert ALONE.wrap(network) is network
    assert torch.equal(ALONE.total(values), values)
    ALONE.wait()
    distributed.leave(ALONE)


def test_only_the_first_process_leads():
    assert [Group(rank, 3, CPU).leads for rank in range(3)] == [True, False, False]


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert distributed.join("cpu") == ALONE


def test_auto_takes_the_gpu_of_the_process_if_there_are_some(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert distributed.join("auto").device == CPU
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.join("auto").device == torch.device("cuda", 1)
    assert chosen == [1]
    assert distributed.join("cpu").device == CPU


@pytest.mark.parametrize(("count", "local_rank"), [(0, 0), (1, 1), (2, 5)])
def test_more_processes_than_gpus_are_refused(monkeypatch, count, local_rank):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    expected = f"found {count} usable GPUs, expected at least {local_rank + 1}; start fewer"
    with pytest.raises(ConfigError, match=expected):
        distributed.join("cuda")
