"""`python -m edgesdk.train reproduce distree`, from images to the page, on the tiny network."""

import json

import pytest

from edgesdk.train.__main__ import main

pytestmark = pytest.mark.usefixtures("registered")

TINY = ["--data=tiny", "--teacher-model=tiny", "--model=tiny", "--live-images=0"]
SHORT = ["--teacher-epochs=6", "--epochs=12", "--students=1,2", "--scaling-epochs=2"]


def reproduce(out, *more):
    return main(["reproduce", "distree", *TINY, *SHORT, "--out", str(out), *more])


def test_one_command_leads_from_images_to_the_page(tmp_path, capsys):
    assert reproduce(tmp_path / "out") == 0
    page = (tmp_path / "out" / "page" / "README.md").read_text()
    print(page)
