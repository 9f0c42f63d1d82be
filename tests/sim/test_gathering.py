"""Ensembles in the simulator: exits and answers as with real students, whatever happens."""

import numpy as np
import pytest
import tiny
import tiny_ensemble as te
from ensemble_worlds import BRIGHTNESSES, fleet

from edgesdk import CosineDifference, MaxProbability, Pipeline
from edgesdk.core.events import Classify, Deliver
from edgesdk.sim.checkers import Checks
from edgesdk.sim.gathering import classify, exits_of, features_at
from edgesdk.sim.recorder import Recorder
from edgesdk.sim.report import (
    Run,
    exit_header,
    exit_rows,
    figures,
    source_header,
    source_rows,
    summarise,
)
from edgesdk.sim.simulator import Simulator

SECOND = 1_000_000
CRASH = {"kind": "crash", "where": "two", "at_s": 5}


class Outcomes(Checks):
    """Every outcome with the number of its image, under all checks."""

    def __init__(self, scenario):
        super().__init__(scenario)
        self.found = []

    def on_event(self, node, event, actions, now_us):
        super().on_event(node, event, actions, now_us)
        for action in actions:
            if isinstance(action, Deliver):
                image = self._bodies[node].image_of(action.outcome.item)
                self.found.append((image, action.outcome))


def outcomes(scenario, seed=1):
    """(image, outcome) of every item, and the totals."""
    checks = Outcomes(scenario)
    simulator = Simulator(scenario, seed, checks)
    checks.watch(simulator)
    totals = simulator.run(20 * SECOND)
    checks.check_end()
    return checks.found, totals


def reported(scenario):
    recorder = Recorder(SECOND)
    simulator = Simulator(scenario, 1, recorder)
    recorder.watch(simulator)
    return summarise(Run(scenario, simulator.run(), recorder.ended, recorder.queue_samples), 0)


def brightness(scenario, image):
    """Student 0 says it at its first exit."""
    return float(scenario.model.features.students[0][image, 0, 0])


class TestTokens:
    FEATURES = te.features_by_hand(BRIGHTNESSES, (3, 2))

    def test_are_as_long_as_the_real_features_and_all_different(self):
        found = {
            token
            for part, depth in enumerate((3, 2))
            for exit_index in range(depth)
            for token in features_at(self.FEATURES, range(21), part, exit_index)
        }
        assert len(found) == 21 * 5 and {len(token) for token in found} == {4 * te.FEATURE_SIZE}

    def test_say_which_exit_they_are_of(self):
        (first,) = features_at(self.FEATURES, [7], 0, 2)
        (second,) = features_at(self.FEATURES, [7], 1, 1)
        assert exits_of(self.FEATURES, 7, (first, second)) == (2, 1)
        assert exits_of(self.FEATURES, 7, (None, second)) == (None, 1)

    @pytest.mark.parametrize(("image", "part"), [(8, 0), (7, 1)])
    def test_one_of_another_image_or_student_is_a_mistake_of_the_core(self, image, part):
        (other,) = features_at(self.FEATURES, [image], part, 1)
        with pytest.raises(AssertionError, match="student 0 of image 7"):
            exits_of(self.FEATURES, 7, (other, None))

    def test_the_classifier_says_what_it_says_of_the_features(self):
        image = 18
        (first,) = features_at(self.FEATURES, [image], 0, 2)
        told = classify(self.FEATURES, image, Classify(5, (first, None)))
        logits = te.logits(te.feature(BRIGHTNESSES[image], 0, 2), np.array(te.MISSING))
        assert (told.item, told.scores.class_index) == (5, int(logits.argmax()))
        probability = (np.exp(logits) / np.exp(logits).sum()).max()
        assert told.scores.max_probability == pytest.approx(probability, rel=1e-5)


@pytest.mark.parametrize("depths", [(3, 3), (3, 2)], ids=["equal", "mixed"])
@pytest.mark.parametrize(
    "policy",
    [CosineDifference([1.0, 1.2, 1.0]), MaxProbability(0.995)],
    ids=lambda policy: policy.kind,
)
def test_exits_and_answers_are_those_of_a_pipeline(tmp_path, depths, policy):
    bundle, scenario = fleet(tmp_path, depths, policy=policy.describe())
    found, _ = outcomes(scenario)
    assert {image for image, _ in found} == set(range(len(BRIGHTNESSES)))
    exits = set()
    with Pipeline.open(bundle.path, policy=policy, backend="onnxruntime") as pipe:
        for image, outcome in found[: len(BRIGHTNESSES)]:
            answer, real = outcome.answer, pipe.infer(tiny.image(brightness(scenario, image)))
            assert (answer.exit_index, outcome.reason) == (real.exit_index, real.reason)
            assert answer.scores.class_index == real.class_index
            assert answer.scores.max_probability == pytest.approx(real.max_probability, abs=1e-4)
            exits.add(answer.exit_index)
    assert policy.kind == "difference" or len(exits) > 1


def test_only_features_travel_back_with_their_real_size(tmp_path):
    _, scenario = fleet(tmp_path)
    found, totals = outcomes(scenario)
    for direction in totals.directions:
        if direction.name in ("one->camera", "two->camera"):
            assert direction.messages["ResultMessage"] == len(found) == 100
            assert direction.bytes["ResultMessage"] == len(found) * (100 + 4 * te.FEATURE_SIZE)
        elif direction.name in ("camera->one", "camera->two"):
            assert direction.bytes["Task"] == len(found) * (64 + 4 * 36)


class TestAStudentThatIsKilled:
    def test_is_waited_for_until_the_core_gives_it_up_and_then_no_more(self, tmp_path):
        _, scenario = fleet(tmp_path, fault=[CRASH])
        found, totals = outcomes(scenario)
        assert len(found) == 100 and {outcome.status for _, outcome in found} == {"result"}
        late = [outcome for _, outcome in found if outcome.reason == "degraded"]
        assert 50 <= len(late) <= 52
        waited = [outcome for outcome in late if outcome.latency_us > SECOND / 10]
        assert 18 <= len(waited) <= 27  # of 10 in a second
        assert waited == late[: len(waited)]
        assert 2 * SECOND <= waited[0].latency_us < 3 * SECOND
        assert totals.sources[0].open_count == totals.sources[0].lost_count == 0

    def test_is_not_waited_for_beyond_the_deadline(self, tmp_path):
        """And not until then, once it is given up."""
        workload = {"source": "camera", "kind": "periodic", "rate_hz": 10, "deadline_ms": 300}
        _, scenario = fleet(tmp_path, fault=[CRASH], workload=[dict(workload, on_deadline="best")])
        found, _ = outcomes(scenario)
        late = [(image, outcome) for image, outcome in found if outcome.reason == "degraded"]
        assert 50 <= len(late) <= 52
        waited = [outcome for _, outcome in late if outcome.latency_us > 290_000]
        assert 18 <= len(waited) <= 27
        for image, outcome in late:
            assert outcome.latency_us <= 300_100
            m = brightness(scenario, image)
            logits = te.logits(te.feature(m, 0, 2), np.array(te.MISSING))
            assert outcome.answer.scores.class_index == int(logits.argmax())

    def test_is_back_when_it_starts_again(self, tmp_path):
        _, scenario = fleet(tmp_path, fault=[dict(CRASH, at_s=2, duration_s=4)])
        found, _ = outcomes(scenario)
        reasons = [outcome.reason for _, outcome in found]
        assert len(found) == 100 and "degraded" in reasons and reasons[-1] == "final"

    def test_fails_for_good_if_it_was_alone(self, tmp_path):
        crashes = [dict(CRASH, where=where) for where in ("one", "two")]
        _, scenario = fleet(tmp_path, fault=crashes)
        simulator = Simulator(scenario, 1)
        (source,) = simulator.run().sources
        assert source.ended["failed.attempts"] >= 50 and source.open_count == 0

    def test_whose_stages_fail_is_given_up_at_once(self, tmp_path):
        fault = {"kind": "fail", "where": "two", "at_s": 5, "factor": 1.0}
        _, scenario = fleet(tmp_path, fault=[fault])
        found, _ = outcomes(scenario)
        late = [outcome for _, outcome in found if outcome.reason == "degraded"]
        assert len(late) == 50 and all(outcome.latency_us < SECOND for outcome in late)


def test_items_that_come_together_are_classified_together(tmp_path):
    nodes = [{"name": "camera", "max_batch": 8}]
    workload = [{"source": "camera", "kind": "poisson", "rate_hz": 2000, "item_count": 200}]
    _, scenario = fleet(tmp_path, node=nodes, workload=workload, topology="chain")
    found, totals = outcomes(scenario)
    assert len(found) == 200 and totals.nodes[0].held_count == 0


class TestReport:
    @pytest.fixture
    def report(self, tmp_path):
        return reported(fleet(tmp_path, fault=[CRASH])[1])

    def test_counts_degraded_answers(self, report):
        assert report.sources[0].degraded_count in (50, 51, 52)
        row = dict(zip(source_header(report), source_rows(report)[0]))
        assert (row["results"], row["degraded"]) == ("100", str(report.sources[0].degraded_count))

    def test_says_where_each_student_left(self, report):
        assert exit_header(report)[1:] == ("0", "1", "2")
        whole, first, second = exit_rows(report)
        assert whole[0] == "camera" and whole[3] == "100.0 %"  # the deepest is student 0
        assert first == ("camera, student 0", "0.0 %", "0.0 %", "100.0 %")
        assert second[0] == "camera, student 1" and 0.4 < float(second[2].split()[0]) / 100 < 0.51

    def test_figures_have_names_of_their_own(self, report):
        names = [name for name, _, _ in figures(report)]
        assert len(set(names)) == len(names)
        assert {"camera: degraded", "camera: student 1 left at exit 1"} <= set(names)

    def test_the_bound_is_that_of_the_busiest_student(self, tmp_path):
        _, scenario = fleet(tmp_path)
        found = reported(scenario)
        first, second = scenario.model.parts
        busiest_us = max(sum(first.stage_us), sum(second.stage_us[:2]))
        assert found.total.bound_per_s == pytest.approx(1e6 / busiest_us)
