"""History: who answers and who does not, since when, and what the others say."""

import copy

import pytest
from documents import link, status

from edgesdk.top.history import RESTARTED_S, History
from edgesdk.top.rows import LEAVING, RESTARTED, SILENT, UP

WALL_S = 1_700_000_000.0


def told(*rounds, every_s=2.0):
    """A history of these answers."""
    history = History(["a", "b"])
    for index, answers in enumerate(rounds):
        history.add(answers, 5.0 + index * every_s, WALL_S + index * every_s)
    return history


def states(history):
    return [row.state for row in history.picture().workers]


def test_a_round_of_answers_gives_rates():
    history = told(
        {"a": status(10), "b": status(20)}, {"a": status(12, exits=(4, 0)), "b": status(22)}
    )
    picture = history.picture()
    assert [row.name for row in picture.workers] == ["a", "b"]
    assert picture.workers[0].answers_per_s == 2.0
    assert picture.notes == []
    runs = {"model_id": "01234567", "plan": "full", "policy": "margin, thresholds 0.75 0"}
    assert picture.runs == dict(runs, backend="onnxruntime", kernels="native")


def test_one_that_never_answered_is_said_to_be_so():
    picture = told({"a": status(10), "b": None}).picture()
    assert (picture.workers[1].state, picture.workers[1].heard_ago_s) == (SILENT, None)
    (note,) = picture.notes
    assert note.startswith("b has not answered yet; asked since ")


def test_one_that_stopped_is_silent_since_its_last_answer(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    answer = status(10, neighbours={"b": link("greeting", lost_because="silent")})
    rounds = [{"a": answer, "b": status(10)}] + [{"a": answer, "b": None}] * 3
    picture = told(*rounds).picture()
    assert (picture.workers[1].state, picture.workers[1].heard_ago_s) == (SILENT, 6.0)
    (note,) = picture.notes
    assert note.startswith("b has not answered since ")
    assert note.endswith("; its neighbours say: greeting (lost: silent)")


def test_one_that_comes_back_counts_over_the_gap():
    rounds = [{"b": status(10, exits=(10, 0))}, {"b": None}, {"b": status(14, exits=(18, 0))}]
    row = told(*rounds).picture().workers[1]
    assert (row.state, row.answers_per_s) == (UP, 2.0)


def test_a_restart_is_said_for_some_time():
    begin = [{"a": status(100)}, {"a": status(1)}]
    count = int(RESTARTED_S // 2) + 1
    later = [{"a": status(3 + 2 * index)} for index in range(count)]
    assert [states(told(*begin + later[:n]))[0] for n in (0, 1, count)] == [
        RESTARTED,
        RESTARTED,
        UP,
    ]


def test_that_one_leaves_is_known_from_its_neighbours():
    assert states(told({"a": status(neighbours={"b": link("leaving")}), "b": status()})) == [
        UP,
        LEAVING,
    ]


def test_what_is_not_the_same_everywhere_is_said():
    picture = told({"a": status(), "b": dict(status(), plan="merged")}).picture()
    assert picture.notes == ["not the same plan everywhere: a has full; b has merged"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exit_counts", "many"),
        ("exit_counts", [None]),
        ("stages", 3),
        ("latency", []),
        ("latency", {"buckets": [[1]]}),
        ("latency", {"buckets": [["a", "b"]]}),
        ("neighbours", []),
        ("neighbours", {"b": 3}),
        ("board", None),
        ("counters", [1]),
        ("policy", [{}]),
    ],
)
def test_an_answer_of_another_form_breaks_nothing(key, value):
    """Another version, or somebody who plays: the others are shown, and so is the reason."""
    odd = dict(status(12), **{key: value})
    picture = told({"a": status(10), "b": status(10)}, {"a": odd, "b": status(12)}).picture()
    assert picture.workers[1].state == UP
    if picture.workers[0].state == SILENT:
        assert any(note.startswith("a answers what cannot be read here") for note in picture.notes)


def test_an_answer_that_cannot_be_read_is_known_as_such():
    picture = told({"a": dict(status(), exit_counts="many"), "b": status()}).picture()
    assert (picture.workers[0].state, len(picture.notes)) == (SILENT, 1)
    assert "another version" in picture.notes[0]


def test_no_worker_commands_the_terminal():
    odd = status(neighbours={"b": link("\x1b[2Jup", lost_because="\x1b]0;title\x07")})
    odd["plan"] = "\x1b[31mred\r\n"
    before = copy.deepcopy(odd)
    picture = told({"a": odd, "b": None}).picture()
    text = repr(picture)
    assert "\\x1b" not in text and "\\r" not in text and "?[2Jup" in text
    assert odd == before
