"""`python -m edgesdk.train compare`: a table, a page, a picture."""

import json

import pytest
from PIL import Image

from edgesdk.train.__main__ import main

pytestmark = pytest.mark.usefixtures("registered")

COMPARE = ["compare", "--data=tiny", "--model=tiny", "--epochs=2", "--batch=16"]


def test_the_table_and_the_page_say_the_same(tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    assert main([*COMPARE, "--strategies=joint,two-stage", *out]) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "docs" / "README.md").read_text()
    for name in ("joint", "two-stage"):
        (row,) = [line.split() for line in said.splitlines() if line.startswith(name)]
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        assert line.replace("|", " ").split() == row
    assert "python -m edgesdk.train compare --data tiny --model tiny" in page
    assert "--epochs 2 --strategies joint,two-stage" in page
    assert str(tmp_path) not in page
    with Image.open(tmp_path / "docs" / "strategies.png") as picture:
        assert picture.format == "PNG"


def test_programs_get_plain_values(tmp_path, capsys):
    assert main([*COMPARE, "--strategies=joint", "--json", "--out", str(tmp_path)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["strategies"]
    assert found["strategy"] == "joint" and len(found["accuracies"]) == 2


def test_an_unknown_strategy_is_a_sentence(tmp_path, capsys):
    assert main([*COMPARE, "--strategies=magic", "--out", str(tmp_path)]) == 1
    assert "found 'magic', expected some of joint" in capsys.readouterr().err
