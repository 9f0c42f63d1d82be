"""bench ensemble: real students in real processes; counts and marks, never speeds."""

import json

import pytest
import tiny
import tiny_ensemble

from edgesdk import BundleError, ConfigError, Expired, Failed, Result
from edgesdk.backends import open_backend
from edgesdk.bench import __main__ as bench
from edgesdk.bench import ensemble, ensemble_command, ensemble_fleet
from edgesdk.bench.ensemble import measure
from edgesdk.bench.ensemble_fleet import Fleet, write_pace
from edgesdk.bench.timing import Interval

pytest.importorskip("zmq")

IMAGE_COUNT = 20
DIFFERENCE, FINAL = "difference", "final"
# Where the students of the tiny ensemble leave, by policy: all images at one exit.
EXITS = {FINAL: (2, 2), DIFFERENCE: (2, 1)}


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    return tiny_ensemble.write_tiny_ensemble(tmp_path_factory.mktemp("engines") / "students" / "1")


@pytest.fixture
def images(brightnesses):
    return brightnesses.images, brightnesses.labels.tolist()


def shares_of(exits):
    return [[float(index == left) for index in range(3)] for left in exits]


@pytest.fixture(scope="module")
def found(students):
    """Every second image is bright; one of the labels is wrong."""
    images = [tiny.image(0.9), tiny.image(0.1)] * 5
    labels = [0, 1] * 4 + [0, 0]
    return measure(students.path, images, labels, image_count=IMAGE_COUNT, slower=50)


@pytest.fixture(scope="module")
def killed(students):
    images = [tiny.image(0.9), tiny.image(0.1)]
    found = measure(
        students.path,
        images,
        [0, 1],
        image_count=8,
        slower=50,
        kill=1,
        deadline_ms=1500,
    )
    return found.killed


class TestMeasured:
    def test_every_policy_answers_the_same_images(self, found):
        assert [one.policy for one in found.policies] == [FINAL, DIFFERENCE]
        assert found.image_count == IMAGE_COUNT
        for one in found.policies:
            assert len(one.latencies_us) == IMAGE_COUNT and one.degraded_count == 0
            assert one.accuracy == 0.9

    def test_where_students_left_is_counted(self, found):
        for one in found.policies:
            assert one.exit_shares == shares_of(EXITS[one.policy])

    def test_an_image_travels_to_each_student_and_a_feature_comes_back(self, found):
        image_bytes = tiny.SIZE**2
        assert found.image_bytes == image_bytes
        assert found.sent_image_bytes == 2 * 4 * image_bytes
        assert found.map_bytes == 2 * 2 * 4 * image_bytes
        for one in found.policies:
            assert one.sent_bytes > found.sent_image_bytes
            assert one.received_bytes > 2 * 4 * tiny_ensemble.FEATURE_SIZE

    def test_final_is_what_the_others_are_compared_with(self, found):
        final, other = found.policies
        assert final.to_final == (1.0, 1.0, 1.0)
        assert other.to_final.low < other.to_final.value < other.to_final.high
        assert other.to_final.value == pytest.approx(other.mean_us / final.mean_us)
        assert min(final.latencies_us) <= final.at_share(0.5) <= final.at_share(0.95)

    def test_a_student_takes_as_long_as_its_device(self, students, tmp_path):
        """No speed of ours: what is waited for."""
        times = [
            ensemble_fleet.StageTime(part, "full", stage, 1, 10_000.0, 10_000.0, 1.0, 1.0)
            for part in range(2)
            for stage in range(3)
        ]
        model_id = students.manifest.model_id
        profile = ensemble_fleet.Profile(model_id, "slow", "onnxruntime", {}, times)
        ensemble_fleet.write_profile(str(tmp_path / "pace.json"), profile)
        with Fleet(str(tmp_path), students, FINAL, str(tmp_path / "pace.json")) as fleet:
            assert fleet.answer(tiny.image(0.9)).latency_us >= 30_000
            assert fleet.students().paced_count == 6


class TestAKilledStudent:
    def test_all_images_are_answered_without_it(self, killed):
        assert (killed.policy, killed.student, killed.deadline_ms) == (DIFFERENCE, 1, 1500)
        assert killed.answered_count >= 8 and killed.unanswered_count == 0
        assert killed.answered_count - 3 <= killed.degraded_count <= killed.answered_count
        assert killed.waited_count <= killed.answered_count

    def test_what_the_other_says_counts(self, killed):
        assert killed.accuracy == 1.0  # 0.9 and 0.1 are easy

    def test_it_comes_back(self, killed):
        assert 0 < killed.back_s < ensemble.BACK_S


class TestTheFleet:
    @pytest.fixture
    def fleet(self, students, tmp_path):
        pace = str(tmp_path / "pace.json")
        write_pace(pace, students, [FINAL], open_backend(None, 1), 2.0)
        with Fleet(str(tmp_path), students, FINAL, pace) as made:
            yield made

    def test_a_student_that_is_gone_is_named(self, fleet, monkeypatch):
        monkeypatch.setattr(ensemble_fleet, "ANSWER_S", 0.5)
        fleet.kill(1)
        with pytest.raises(Failed, match="student-1 of 'final' does not say how it is"):
            fleet.students()

    def test_one_that_does_not_come_is_an_error_with_its_words(self, students, tmp_path):
        with pytest.raises(Failed, match=r"not every student of 'final'.*nowhere\.json"):
            Fleet(str(tmp_path), students, FINAL, str(tmp_path / "nowhere.json"))

    def test_one_that_does_not_come_back_is_an_error(self, fleet, monkeypatch, images):
        monkeypatch.setattr(ensemble, "BACK_S", 0.5)
        monkeypatch.setattr(fleet, "start", lambda student: None)
        stream = zip(*images)
        with pytest.raises(Failed, match=r"student 1 is not back after 0\.5 s"):
            ensemble._kill(fleet, 1, 100.0, 1.0, stream, lambda count: count < 1)


class TestWhatIsCounted:
    def outcome(self, latency_us, degraded=True, label=0):
        return Result(0, 0, "", label, 1.0, 1.0, 0.0, 2, "", degraded, latency_us, "")

    def test_of_a_kill(self):
        outcomes = [
            self.outcome(30_000, degraded=False, label=1),
            self.outcome(99_000),
            self.outcome(100_000, label=1),
            self.outcome(110_001),
            Expired("late", 4, 4, "deadline", 200_000),
            Failed("broke", 5, 5, "error", 1),
        ]
        found = ensemble._kill_run(FINAL, 0, 100.0, outcomes, [0, 0, 0, 0, 0, 0, 0], 1.5)
        assert (found.answered_count, found.degraded_count) == (4, 3)
        assert (found.waited_count, found.late_count, found.unanswered_count) == (2, 1, 2)
        assert found.accuracy == pytest.approx(2 / 3) and found.worst_us == 110_001

    def test_time_ends_a_run_but_not_before_one_image(self):
        goes_on = ensemble._bound(0.0, None)
        assert goes_on(0) and not goes_on(1)
        goes_on = ensemble._bound(0.0, 3)
        assert goes_on(2) and not goes_on(3)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"policies": ["fast"]}, "policy: found 'fast'"),
            ({"kill": 2}, "kill: found student 2 of 2"),
            ({"kill": -1}, "kill: found student -1 of 2"),
        ],
    )
    def test_options(self, students, images, options, match):
        with pytest.raises(ConfigError, match=match):
            measure(students.path, *images, **options)

    def test_a_plain_network(self, bundle, images):
        with pytest.raises(ConfigError, match="found a plain network, expected an ensemble"):
            measure(bundle.path, *images)

    def test_no_bundle(self, tmp_path, images):
        with pytest.raises(BundleError):
            measure(str(tmp_path / "none"), *images)

    @pytest.mark.parametrize(
        "options", [["--images", "0"], ["--slower", "inf"], ["--deadline-ms", "0"]]
    )
    def test_numbers(self, options, capsys):
        with pytest.raises(SystemExit) as ended:
            bench.main(["ensemble", "somewhere", *options])
        assert ended.value.code == 2 and options[0] in capsys.readouterr().err


def test_default_policies_are_named_once(students):
    assert ensemble.default_policies(students) == [FINAL, DIFFERENCE]


def test_in_one_go(students, brightnesses, monkeypatch, capsys):
    monkeypatch.setattr(ensemble_command, "read_test_images", lambda data, labels: brightnesses)
    arguments = ["--json", "--images", "3", "--slower", "20", "--kill", "--deadline-ms", "1500"]
    arguments += ["--policies", "difference"]
    assert bench.main(["ensemble", students.path, *arguments]) == 0
    out, err = capsys.readouterr()
    found = {each["name"]: each["value"] for each in json.loads(out)["figures"]}
    assert found["images of each policy"] == 3
    for policy, exits in EXITS.items():
        for student, left in enumerate(exits):
            assert found["{}: student {} left at exit {}".format(policy, student, left)] == 1
    assert found["killed: unanswered"] == 0 and found["killed: degraded"] >= 1
    assert "2 students, each in a process paced 20 times slower" in err
    assert "student 0 was killed under 'difference', deadline 1500 ms" in err


def test_a_person_sees_answers_that_lacked_a_student():
    one = ensemble.PolicyRun(FINAL, [1000], Interval(1, 1, 1), 1.0, 9, 9, [[0.0, 1.0]], 7, 0.0)
    found = ensemble.Measured([one], 1, 2.0, 36, 288, 576)
    assert "7 ANSWERS WITHOUT ALL STUDENTS" in "\n".join(ensemble_command.lines(found))
    assert "WITHOUT" not in "\n".join(
        ensemble_command.lines(found._replace(policies=[one._replace(degraded_count=0)]))
    )
