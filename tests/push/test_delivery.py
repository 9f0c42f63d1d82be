"""Where bundles go, what they consist of, and deliveries on this machine."""

import os

import pytest
from fleet_to_push import contents
from ssh_server import skip_unless_there

from edgesdk.bundle import read_bundle
from edgesdk.cluster import read_cluster
from edgesdk.errors import ConfigError
from edgesdk.push.delivery import Place, cargo, deliver, places


def places_of(fleet, *names, **workers):
    return places(read_cluster(fleet.describe(**workers).path), names)


class TestPlaces:
    def test_workers_at_one_place_are_named_together(self, fleet):
        far, near = 'ssh = "nano@far"', 'ssh = "near"'
        assert places_of(fleet, a=far, b=near, c=far, d=far + '\nfolder = "x"') == [
            Place(("a", "c"), "nano@far", "edgesdk"),
            Place(("b",), "near", "edgesdk"),
            Place(("d",), "nano@far", "x"),
        ]

    def test_this_machine_is_that_of_the_cluster_file(self, fleet, monkeypatch):
        monkeypatch.chdir(str(fleet.folder))
        monkeypatch.setenv("HOME", "/house")
        found = places_of(fleet, a="", b='folder = "x"', c='folder = "~/x"', d='folder = "/x"')
        assert [place.host for place in found] == [None] * 4
        beside = str(fleet.folder)
        folders = [beside + "/", beside + "/x", "/house/x", "/x"]
        assert [place.folder for place in found] == folders

    def test_other_machines_are_reached_where_the_worker_is(self, fleet):
        fleet.path.write_text(
            'bundle = "engines/mine/1"\n[[worker]]\nname = "a"\naddress = "tcp://nano-2:5600"\n'
            '[[worker]]\nname = "b"\naddress = "tcp://[fd00::1]:5600"\n'
        )
        found = places(read_cluster(fleet.path))
        assert [place.host for place in found] == ["nano-2", "[fd00::1]"]

    def test_names_choose_in_the_order_of_the_file(self, fleet):
        found = places_of(fleet, "b", "a", a="", b='ssh = "b"', c='ssh = "c"')
        assert [place.workers for place in found] == [("a",), ("b",)]


class TestCargo:
    def test_goes_to_the_same_place_beside_the_cluster_file(self, fleet, monkeypatch):
        bundle = fleet.bundle(3)
        monkeypatch.chdir(str(fleet.folder / "engines"))
        fleet.describe(a="")
        load = cargo(bundle, read_cluster("../robots.toml"))
        assert load.to == "engines/mine/3"
        assert set(load.files) == set(contents(bundle.path))
        assert all(load.files[n][0] == len(c) for n, c in contents(bundle.path).items())

    def test_outside_of_it_the_place_must_be_said(self, fleet, bundle):
        cluster = read_cluster(fleet.describe(a="").path)
        with pytest.raises(ConfigError, match=r"found outside .* or say --to engines/NAME/VERSION"):
            cargo(bundle, cluster)
        assert cargo(bundle, cluster, "engines/tiny/./1/").to == "engines/tiny/1"

    @pytest.mark.parametrize("to", ["", ".", "..", "/", "x/..", "a\nb"])
    def test_a_place_has_a_name(self, fleet, to):
        cluster = read_cluster(fleet.describe(a="").path)
        with pytest.raises(ConfigError, match="--to: found"):
            cargo(fleet.bundle(), cluster, to)


class TestHere:
    @pytest.fixture
    def load(self, fleet):
        skip_unless_there()
        fleet.describe(a="")
        return cargo(fleet.bundle(), read_cluster(fleet.path))

    def test_a_plain_copy(self, load, fleet, tmp_path):
        said = []
        found = deliver(load, Place(("a",), None, str(tmp_path / "other")), say=said.append)
        assert (found.state, found.problem, found.host) == ("delivered", None, "this machine")
        there = str(tmp_path / "other" / "engines" / "mine" / "1")
        assert read_bundle(there).manifest.model_id == load.bundle.manifest.model_id
        assert len(said) == 1 and said[0].startswith("7 of 7 files to send, ")

    def test_where_it_is_it_is_there_already(self, load, fleet):
        assert deliver(load, places(read_cluster(fleet.path))[0]).state == "already there"

    def test_a_file_that_changes_on_the_way_gives_no_bundle(self, load, tmp_path):
        changed = os.path.join(load.bundle.path, "onnx", "segment_0.onnx")
        with open(changed, "r+b") as file:
            file.write(b"changed")
        found = deliver(load, Place(("a",), None, str(tmp_path / "other")))
        assert found.state == "failed"
        assert found.problem.startswith("onnx/segment_0.onnx: found other contents than here")
        assert not (tmp_path / "other" / "engines" / "mine" / "1").exists()

    def test_without_rsync_here_it_says_what_to_install(self, load, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        found = deliver(load, Place(("a",), None, str(tmp_path / "other")))
        assert "install it: apt-get install rsync" in found.problem
