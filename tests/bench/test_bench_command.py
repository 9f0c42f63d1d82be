"""`python -m edgesdk.bench`: one JSON object, exit statuses, help."""

import json
import os
import sys

import pytest

from edgesdk import kernels
from edgesdk.bench import __main__ as bench
from edgesdk.bench import kernels as bench_kernels
from edgesdk.bench import torch_eager


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Two small cases, no torch, and the process stays on its cores."""
    cases = [case for case in bench_kernels.cases() if case.operation == "exit_scores"][:2]
    monkeypatch.setattr(bench_kernels, "cases", lambda: cases)
    monkeypatch.setattr(torch_eager, "load", lambda threads: None)
    monkeypatch.setattr(bench, "pin", lambda threads: None)


def test_json_is_the_only_thing_on_standard_output(capsys):
    assert bench.main(["kernels", "--json", "--seconds", "0.001"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert sorted(found) == ["conditions", "figures", "versions"]
    assert found["versions"]["kernels"] == kernels.implementation
    assert found["conditions"]["threads"] == 1
    for figure in found["figures"]:
        assert sorted(figure) == ["name", "ok", "target", "unit", "value"]
    assert "torch is not installed" in err


def test_a_person_sees_a_table(capsys):
    assert bench.main(["kernels", "--seconds", "0.001"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("edgesdk ")
    assert "seed 0" in out.splitlines()[0]
    assert "exit_scores 1x10" in out


def test_a_wrong_kernel_ends_with_status_1_and_one_line(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "exit_scores", lambda logits: logits * float("nan"))
    assert bench.main(["kernels", "--json", "--seconds", "0.001"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("KernelError: exit_scores 1x10: found a relative error")


def test_progress_is_shown_on_a_terminal_only(capsys, monkeypatch):
    bench._progress("1/2 something")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bench._progress("1/2 something")
    assert "1/2 something" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["kernels", "--threads", "0"], ["kernels", "--seconds", "-1"]],
    ids=" ".join,
)
def test_wrong_arguments_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_help_has_an_example_and_every_bench(capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "example:" in out
    assert all(name in out for name in bench.BENCHES)
    assert os.linesep in out
