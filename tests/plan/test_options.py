"""Options as values, and what is said of those that mean nothing."""

import pytest
from plan_files import INSECURE

from edgesdk.cluster import local_cluster_text, read_cluster
from edgesdk.errors import ConfigError
from edgesdk.plan import options
from edgesdk.plan.options import LinkOption


@pytest.fixture
def cluster(tmp_path):
    """The server has no link with robot-2: neither lists the other."""
    near = {"robot-1": [], "robot-2": ['neighbours = ["robot-1"]'], "server": ["neighbours = []"]}
    near["robot-1"] = ['neighbours = ["robot-2", "server"]']
    (tmp_path / "robots.toml").write_text(local_cluster_text("tiny", near, INSECURE))
    return read_cluster(str(tmp_path / "robots.toml"))


def said(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


def test_links_of_a_pair_and_of_all_others(cluster):
    found = options.link_options(
        ["robot-2:robot-1=20mbit,2ms", "1.5gbit,300us,100nJ", "robot-1:server=5Mbit"], [], cluster
    )
    assert found.of == {
        ("robot-1", "robot-2"): LinkOption(2000.0, 2.5e6),
        ("robot-1", "server"): LinkOption(None, 625e3),
    }
    assert found.others == LinkOption(300.0, 187.5e6, None, 100.0)


def test_links_of_one_medium_share_its_rate(cluster):
    found = options.link_options(["wifi,2ms"], ["wifi=40mbit"], cluster)
    assert found.others == LinkOption(2000.0, 5e6, "wifi")


@pytest.mark.parametrize(
    "link, expected",
    [
        ("20", "--link 20: found '20', expected a rate, a delay"),
        ("", "--link : found '', expected a rate, a delay"),
        ("20mbit,fast", "found 'fast', expected a rate, a delay"),
        ("0mbit", "--link 0mbit: found '0mbit', expected more than nothing"),
        ("-1ms", "found '-1ms', expected a rate"),
        ("robot-1=20mbit", "found 'robot-1', expected two workers, as in a:b=20mbit,2ms"),
        ("robot-2:server=20mbit", "found no link between robot-2 and server"),
        ("robot-1:robot-9=20mbit", "found no 'robot-9'; did you mean robot-"),
        ("robot-1:robot-2=air,2ms", "; a medium is made with --medium air=40mbit"),
    ],
)
def test_links_that_mean_nothing(cluster, link, expected):
    assert expected in said(options.link_options, [link], [], cluster)


@pytest.mark.parametrize(
    "medium", ["wifi", "wifi=", "=2mbit", "wifi=fast", "wifi=2ms", "wifi=0mbit"]
)
def test_media_that_mean_nothing(cluster, medium):
    assert said(options.link_options, [], [medium], cluster).startswith("--medium " + medium)


def test_values_by_worker_and_for_all_others(cluster):
    found = options.by_worker("--memory", ["server=1GB", "64MB"], cluster, "NAME=SIZE")
    assert found == ({"server": "1GB"}, "64MB")
    assert "found no worker 'nobody'" in said(
        options.by_worker, "--memory", ["nobody=1GB"], cluster, "NAME=SIZE"
    )


@pytest.mark.parametrize(
    "text, size", [("64MB", 64e6), ("1.5 kB", 1500), ("2GiB", 2 * 2**30), ("7b", 7), ("1kib", 1024)]
)
def test_sizes(text, size):
    assert options.memory_bytes(text) == size


@pytest.mark.parametrize("text", ["64", "MB", "-1MB", "1mbit", "64 MB MB", ""])
def test_sizes_that_mean_nothing(text):
    assert "expected a size such as 64MB" in said(options.memory_bytes, text)


def test_speeds():
    assert options.speed("2.5") == 2.5
    for text in ("0", "-1", "nan", "inf", "fast", ""):
        assert "expected a number above 0" in said(options.speed, text)


def test_pins(cluster):
    assert options.pins(["0=server", "2=robot-1"], cluster, 3) == {0: "server", 2: "robot-1"}
    assert "expected STAGE=WORKER" in said(options.pins, ["server"], cluster, 3)
    assert "found stage '3', expected a number below 3" in said(
        options.pins, ["3=server"], cluster, 3
    )
    assert "found stage '-1'" in said(options.pins, ["-1=server"], cluster, 3)
    assert "found no 'nobody'" in said(options.pins, ["0=nobody"], cluster, 3)
