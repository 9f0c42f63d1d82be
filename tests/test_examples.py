"""Every example runs in a process of its own, from the repository, and passes its own check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_and_ends_in_a_check(name):
    source = (ROOT / "examples" / name).read_text()
    assert source.rstrip().splitlines()[-1].startswith("assert "), "an example ends in a check"
    done = subprocess.run(
        [sys.executable, "examples/" + name],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_list_is_complete():
    listed = (ROOT / "examples" / "README.md").read_text()
    assert [name for name in EXAMPLES if "`{}`".format(name) not in listed] == []
