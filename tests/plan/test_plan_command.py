"""`python -m edgesdk.plan`: what it prints and writes, and one sentence for what cannot be."""

import json

import pytest
from plan_files import HEAD_US, STAGE_US

from edgesdk.placement_file import placement_of, read_placement, write_placement
from edgesdk.plan import __main__ as command

NAMES = ("robot", "nano-1", "nano-2")
FAST_LINKS = ["--link", "1gbit,100us"]


@pytest.fixture
def plan(files, capsys):
    """A function that runs the command on the files; status, standard output, standard error."""

    def run(*more):
        status = command.main(files.arguments(*more))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def planned(plan):
    """The same with --json, as an object."""

    def run(*more):
        status, out, err = plan("--json", *more)
        assert status == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def complaint(plan):
    """The one line that it says of something that cannot be."""

    def run(*more):
        status, _, err = plan(*more)
        assert status == 1
        (line,) = err.strip().splitlines()
        return line

    return run


def test_it_prints_tables_and_what_is_assumed(plan, files):
    status, out, _ = plan(*FAST_LINKS)
    assert status == 0
    assert "who goes on to the next stage: outcomes of 10 images" in out
    assert "this placement" in out and "local only" in out
    assert "no placement is better for latency" in out


def test_slow_links_keep_everything_at_home(planned):
    found = planned("--link", "1mbit,20ms")
    assert found["stages"] == {"robot": [0, 1, 2], "nano-1": [], "nano-2": []}
    total_us = 1 * (STAGE_US[0] + HEAD_US) + 0.5 * (STAGE_US[1] + HEAD_US) + 0.2 * (2000 + HEAD_US)
    assert found["expected"]["latency_us"] == pytest.approx(total_us)
    assert found["gap"] == 0


def test_a_faster_worker_gets_everything(planned):
    found = planned("--speed", "nano-2=10", *FAST_LINKS)
    assert found["stages"]["nano-2"] == [0, 1, 2]


def test_throughput_spreads_the_work(planned):
    found = planned("--objective", "throughput", *FAST_LINKS)
    assert [1] in found["stages"].values()  # it takes the longest, so nobody does more
    most_us = 0.5 * (STAGE_US[1] + HEAD_US)
    assert found["expected"]["throughput_per_s"] == pytest.approx(1e6 / most_us)


def test_energy_goes_where_it_is_little(planned, files):
    more = ["--profile", "nano-1=" + files.write("frugal.json", 5.0, 0.5)] + FAST_LINKS
    found = planned("--objective", "energy", *more)
    assert found["stages"]["nano-1"] == [0, 1, 2]
    assert found["expected"]["energy_mj"] == pytest.approx((1 + 0.5 + 0.2) * 0.5)


def test_pins_are_held(planned):
    found = planned("--pin", "1=nano-2", "--pin", "2=robot", *FAST_LINKS)
    assert found["stages"] == {"robot": [0, 2], "nano-1": [], "nano-2": [1]}


def test_a_written_placement_reads_back_and_evaluates_the_same(plan, planned, files, bundle):
    out = str(files.folder / "placement.toml")
    status, said, _ = plan("--objective", "throughput", "--out", out, *FAST_LINKS)
    assert status == 0
    assert 'before the first table: placement = "placement.toml"' in said
    held = read_placement(out, bundle.manifest, "full", NAMES).stages
    found = planned("--evaluate", out, *FAST_LINKS)
    assert found["stages"] == {name: list(stages) for name, stages in held.items()}
    assert found["remarks"] == ["as {} says".format(out)] and found["gap"] is None
    best = planned("--objective", "throughput", *FAST_LINKS)
    assert found["expected"] == best["expected"]


def test_a_cluster_file_that_names_it_is_not_told_again(plan, files):
    files.describe({"robot": [], "nano-1": []}, ['placement = "placement.toml"'])
    before = (files.folder / "robots.toml").read_bytes()
    _, said, _ = plan("--out", str(files.folder / "placement.toml"), *FAST_LINKS)
    assert "to use it" not in said
    assert (files.folder / "robots.toml").read_bytes() == before


def test_a_picture(plan, files):
    pytest.importorskip("matplotlib")
    path = files.folder / "plan.png"
    assert plan("--plot", str(path), *FAST_LINKS)[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "method, stages", [("local", [3, 0, 0]), ("offload", [0, 3, 0]), ("split", [3, 0, 0])]
)
def test_methods_by_name(planned, method, stages):
    found = planned("--method", method, "--link", "80mbit,1ms")
    assert [len(found["stages"][name]) for name in NAMES] == stages


def test_a_deadline_chooses_the_exit(planned, plan):
    near = ["--link", "1mbit,20ms"]  # nothing is gained elsewhere
    full = planned("--deadline-ms", "6.4", *near)
    assert full["remarks"] == [
        "within 6.4 ms: exit 2, right for 100.0 % of the images (outcomes), after 6.30 ms if "
        "nothing else is to be done"
    ]
    less = planned("--deadline-ms", "6.2", *near)
    assert less["remarks"][0].startswith("within 6.2 ms: exit 1, right for 80.0 %")
    assert "leave there that comes as far" in less["remarks"][1]
    assert less["expected"]["latency_us"] == pytest.approx(1100 + 0.5 * 3100)


def test_a_deadline_that_cannot_be_held(complaint):
    said = complaint("--deadline-ms", "1", "--link", "1mbit,20ms")
    assert said.startswith("ConfigError: deadline: found 1 ms, expected at least 1.1 ms")


def test_loads_at_a_rate(planned):
    found = planned("--rate-hz", "10", "--method", "local", *FAST_LINKS)
    assert found["workers"][0]["load"] == pytest.approx(found["expected"]["latency_us"] / 1e5)


@pytest.mark.parametrize(
    "more, said",
    [
        (["--memory", "1kB"], "stage 0: needs "),
        (["--memory", "1MB", "--pin", "0=nobody"], "worker: found no 'nobody'"),
        (["--source", "nobody"], "worker: found no 'nobody'"),
        (["--profile", "nobody=x.json"], "--profile nobody=x.json: found no worker 'nobody'"),
        (["--profile", "none.json"], "none.json: cannot be read"),
        (["--objective", "energy", "--profile", "DARK"], "energy: found none of robot, nano-1"),
        (["--method", "local", "--memory", "robot=1kB"], "--method local: found no worker that"),
        (["--policy", "nobody"], "policy: found 'nobody'"),
        (["--plan", "nobody"], "plan: found 'nobody'"),
        (["--evaluate", "none.toml"], "none.toml: cannot be read"),
        (["--stats", "none.json"], "none.json: cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(complaint, files, more, said):
    dark = files.write("dark.json", 1.0, None)
    assert said in complaint(*[dark if each == "DARK" else each for each in more], *FAST_LINKS)


def test_no_way_to_a_worker_says_from_where_to_whom(complaint, files):
    alone = ["neighbours = []"]
    files.describe({"robot": alone + ["stages = [0]"], "nano-1": ['neighbours = ["robot"]']})
    said = complaint(*FAST_LINKS)
    assert "stage 1: found no way from robot, where the image may be then, to nano-1" in said


def test_a_placement_with_a_stage_at_several_workers_cannot_be_evaluated(complaint, files, bundle):
    path = str(files.folder / "p.toml")
    held = {"robot": (0, 1), "nano-1": (1, 2), "nano-2": ()}
    write_placement(path, placement_of(bundle.manifest, "full", held))
    assert "found stage 1 on robot and nano-1, expected one worker" in complaint("--evaluate", path)


def test_an_evaluated_placement_must_fit(complaint, files, bundle):
    path = str(files.folder / "p.toml")
    held = {"robot": (0, 1, 2), "nano-1": (), "nano-2": ()}
    write_placement(path, placement_of(bundle.manifest, "full", held))
    assert "robot: found stages of " in complaint("--evaluate", path, "--memory", "robot=2kB")


def test_ways_to_choose_exclude_each_other(plan, capsys):
    with pytest.raises(SystemExit):
        plan("--deadline-ms", "5", "--evaluate", "p.toml")
    assert "expected one of --evaluate, --deadline-ms" in capsys.readouterr().err
