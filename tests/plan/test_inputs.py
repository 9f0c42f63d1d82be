"""From files and options to a problem: every figure by hand, and what is assumed is said."""

import pytest
import tiny
import tiny_ensemble
from plan_files import HEAD_US, STAGE_US, outcomes

from edgesdk.core.placement import Link
from edgesdk.errors import ConfigError
from edgesdk.outcomes import write_outcomes
from edgesdk.plan.inputs import RESULT_BYTES, TASK_BYTES, Asked, gather

ROBOT, NANO_1, NANO_2 = 0, 1, 2
FLOATS = (36, 72, 72)  # what enters each stage of the tiny network


@pytest.fixture
def asked(files):
    """A function that gives what is asked: everything is known, with changes."""

    def ask(**changes):
        given = Asked(
            files.bundle.path,
            files.cluster,
            outcomes=files.outcomes,
            profile=[files.slow],
            link=["80mbit,1ms"],
            codec="raw",
            image_bytes=30.0,
        )
        return given._replace(**changes)

    return ask


@pytest.fixture
def refusal(asked):
    def refuse(**changes):
        with pytest.raises(ConfigError) as caught:
            gather(asked(**changes))
        return str(caught.value)

    return refuse


def test_the_problem_has_what_the_files_say(asked, bundle):
    found = gather(asked())
    problem, sizes = found.problem, bundle.manifest.document["files"]
    assert [stage.reach for stage in problem.stages] == pytest.approx([1.0, 0.5, 0.2])
    assert [s.input_bytes for s in problem.stages] == [TASK_BYTES + 4 * n for n in FLOATS]
    weights = sizes["onnx/segment_0.onnx"]["bytes"] + sizes["heads/exit_0.npz"]["bytes"]
    assert problem.stages[0].memory_bytes == weights + 4 * (36 + 72)
    assert [site.name for site in problem.sites] == ["robot", "nano-1", "nano-2"]
    for site in problem.sites:
        assert site.stage_us == tuple(us + HEAD_US for us in STAGE_US)
        assert (site.stage_mj, site.memory_bytes) == ((4.0, 4.0, 4.0), None)
    assert problem.links[ROBOT, NANO_1] == Link(1000.0, 1e7) and len(problem.links) == 6
    assert (problem.source, problem.result_bytes) == (ROBOT, RESULT_BYTES)
    assert (found.plan.name, found.image_bytes) == ("full", 30.0)


def test_what_is_known_needs_few_words(asked):
    assert gather(asked(profile=[])._replace(profile=asked().profile)).notes == [
        "who goes on to the next stage: outcomes of 10 images",
        "energy: all that the boards draw while they compute, idle included",
    ]


def test_what_is_assumed_is_said(asked, files):
    slow = files.write("dark.json", 1.0, None)
    notes = gather(
        asked(link=[], codec=None, image_bytes=None, profile=[slow], memory=["1MB"])
    ).notes
    said = "\n".join(notes)
    for word in (
        "features: 4 bytes a value, as the codec 'auto' may send fewer",
        "links: guessed 20 Mbit/s and 2 ms where nothing else is known (robot - nano-1, ",
        "energy: not in every profile",
        "memory: weights and the features of one image",
        "a full offload sends 36 bytes",
    ):
        assert word in said


def test_codecs_send_fewer_bytes(asked):
    for codec, size in (("float16", 2), ("uint8", 1)):
        stage = gather(asked(codec=codec)).problem.stages[1]
        assert stage.input_bytes == TASK_BYTES + size * 72


def test_the_codec_of_the_cluster_file_counts(asked, files):
    files.describe({"robot": [], "nano-1": []}, ['codec = "zstd"'])
    assert "as the codec 'zstd' may send fewer" in "\n".join(gather(asked(codec=None)).notes)


def test_profiles_and_factors_by_worker(asked, files):
    profiles = [files.slow, "nano-1=" + files.fast]
    found = gather(asked(profile=profiles, speed=["2", "nano-1=4"], memory=["5MB", "robot=7kB"]))
    sites = found.problem.sites
    assert [site.stage_us[0] for site in sites] == [550.0, 27.5, 550.0]
    assert [site.stage_mj[0] for site in sites] == [4.0, 9.0, 4.0]
    assert [site.memory_bytes for site in sites] == [7e3, 5e6, 5e6]


def test_energy_counts_if_every_worker_has_it(asked, files):
    dark = files.write("dark.json", 1.0, None)
    found = gather(asked(profile=[files.slow, "nano-1=" + dark]))
    assert [site.stage_mj for site in found.problem.sites] == [None, None, None]


def test_a_worker_without_a_profile_is_named_with_the_command(refusal, files):
    said = refusal(profile=["nano-1=" + files.fast])
    assert said.startswith("--profile: found none of robot, expected robot=FILE, or one FILE for")
    assert "python -m edgesdk.bench engine --bundle" in said


def test_a_camera_that_computes_nothing_needs_no_profile(asked, files):
    files.describe({"camera": ["stages = []"], "nano-1": []})
    found = gather(asked(profile=["nano-1=" + files.fast]))
    assert found.problem.sites[0].stage_us == (None, None, None)
    assert "camera may hold no other stages than its entry says" in "\n".join(found.notes)


def test_entries_and_pins_limit_who_holds_what(asked, files):
    files.describe({"robot": ["stages = [0, 1]"], "nano-1": [], "nano-2": []})
    sites = gather(asked(pin=["1=nano-1", "2=nano-2"])).problem.sites
    held = [[stage for stage in range(3) if site.stage_us[stage]] for site in sites]
    assert held == [[0], [0, 1], [0, 2]]


def test_the_source_may_be_any_worker(asked, refusal):
    assert gather(asked(source="nano-2")).problem.source == NANO_2
    assert "found no 'nano-3'; did you mean nano-" in refusal(source="nano-3")


def test_a_policy_of_the_command_comes_first(asked):
    found = gather(asked(policy="final", outcomes=None))
    assert [stage.reach for stage in found.problem.stages] == [1, 1, 1]
    assert "nobody leaves early" in found.notes[0]


def test_a_profile_of_another_network_is_refused(refusal, files):
    path = files.write("other.json", plan="full")
    with open(path) as file:
        text = file.read().replace(files.bundle.manifest.model_id, "beef" * 8)
    with open(path, "w") as file:
        file.write(text)
    said = refusal(profile=[path])
    assert said.startswith(path + ": found the profile of model 'beefbeef")
    assert "measure it there again" in said


def test_a_profile_of_another_plan_or_of_too_few_stages_is_refused(refusal, files):
    said = refusal(profile=[files.write("fast-plan.json", plan="fast")])
    assert "found no times of every stage of plan 'full'" in said and "fast-plan.json: " in said
    said = refusal(profile=[files.write("short.json", count=2)])
    assert "short.json: found times of 2 stages of plan 'full', expected 3" in said


def test_outcomes_of_another_network_are_refused(refusal, files, tmp_path):
    write_outcomes(str(tmp_path / "other.npz"), outcomes("beef" * 8))
    assert "found the outcomes of model beefbeef" in refusal(outcomes=str(tmp_path / "other.npz"))


def test_an_ensemble_is_refused(asked, tmp_path):
    path = tiny_ensemble.write_tiny_ensemble(tmp_path / "students" / "1").path
    with pytest.raises(ConfigError, match="found an ensemble of 2, expected a plain network"):
        gather(asked(bundle=path))


def test_images_are_those_of_the_bundle(asked):
    assert gather(asked(image_bytes=None)).image_bytes == tiny.SIZE**2
