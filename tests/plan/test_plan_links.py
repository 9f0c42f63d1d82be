"""Links as they are said, measured or guessed, in this order."""

import pytest
from plan_files import INSECURE

from edgesdk.cluster import local_cluster_text, read_cluster
from edgesdk.core.placement import Link
from edgesdk.errors import ConfigError
from edgesdk.plan.links import GUESS_BYTES_PER_S, GUESS_DELAY_US, Measured, links_of, read_measured
from edgesdk.plan.options import LinkOption, LinkOptions

NOTHING = LinkOptions({}, LinkOption())
A, B, C = 0, 1, 2


@pytest.fixture
def cluster(tmp_path):
    """a may send tasks to b and c; b to nobody; c to b."""
    names = {"a": ['neighbours = ["b", "c"]'], "b": ["neighbours = []"]}
    names["c"] = ['neighbours = ["b"]']
    (tmp_path / "robots.toml").write_text(local_cluster_text("tiny", names, INSECURE))
    return read_cluster(str(tmp_path / "robots.toml"))


def peer(**changes):
    """What stats say of a neighbour: tasks of 5000 bytes take 3 ms, small messages 1 ms."""
    known = {"link_delay_us": 3000.0, "round_trip_us": 2000.0}
    known.update(sent_bytes=500_000, sent_count=100, state="up")
    return dict(known, **changes)


def stats(worker="a", **neighbours):
    return {"worker": worker, "neighbours": neighbours or {"b": peer()}}


def test_tasks_go_to_neighbours_and_results_back(cluster):
    links, notes = links_of(cluster, NOTHING, [])
    assert {ends for ends, link in links.items() if link.takes_tasks} == {(A, B), (A, C), (C, B)}
    assert set(links) == {(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)}
    assert links[A, B] == Link(GUESS_DELAY_US, GUESS_BYTES_PER_S)
    (note,) = notes
    assert "guessed 20 Mbit/s and 2 ms" in note and "(a - b, a - c, b - c)" in note


def test_what_is_said_of_all_leaves_nothing_to_guess(cluster):
    links, notes = links_of(cluster, LinkOptions({}, LinkOption(1.0, 2.0, "air", 3.0)), [])
    assert notes == [] and links[B, A] == Link(1.0, 2.0, "air", 3.0, False)


def test_what_is_said_of_a_pair_counts_most(cluster, files):
    path = files.write_stats("a.json", stats())
    said = LinkOptions({("a", "b"): LinkOption(None, 77.0)}, LinkOption(1.0, 2.0, "air"))
    links, notes = links_of(cluster, said, [path])
    assert notes == []
    assert links[A, B] == Link(1000.0, 77.0)  # the delay as measured; not on the medium
    assert links[A, C] == Link(1.0, 2.0, "air")


def test_a_delay_without_a_rate_is_half_a_guess(cluster):
    links, notes = links_of(cluster, LinkOptions({}, LinkOption(delay_us=5.0)), [])
    assert links[A, B] == Link(5.0, GUESS_BYTES_PER_S) and len(notes) == 1


def test_measured_is_what_tasks_took_beyond_small_messages(cluster, files):
    path = files.write_stats("a.json", stats(b=peer(), c=peer(sent_count=3)))
    assert read_measured([path]) == {
        ("a", "b"): Measured(1000.0, 5000 / 2000e-6),
        ("a", "c"): Measured(1000.0, None),  # too few tasks: nobody knows how large they were
    }
    links, _ = links_of(cluster, NOTHING, [path])
    assert links[A, B] == Link(1000.0, 2.5e6)
    assert links[B, A] == Link(1000.0, 2.5e6, takes_tasks=False)  # as in the other direction
    assert links[A, C] == Link(1000.0, GUESS_BYTES_PER_S)


def test_measured_by_both_ends_each_knows_its_own_way(cluster, files):
    documents = [stats(), stats("b", a=peer(round_trip_us=1000.0, sent_count=0))]
    links, _ = links_of(cluster, NOTHING, [files.write_stats("all.json", documents)])
    assert (links[A, B].delay_us, links[B, A].delay_us) == (1000.0, 500.0)


def test_what_top_prints_is_measured_too(files):
    row = dict(peer(), source="a", target="b", bytes_per_s=5000.0, sent_per_s=1.0)
    path = files.write_stats("top.json", {"links": [row, dict(row, target="c", sent_per_s=None)]})
    assert read_measured([path]) == {
        ("a", "b"): Measured(1000.0, 2.5e6),
        ("a", "c"): Measured(1000.0, None),
    }


def test_neighbours_of_whom_nothing_is_known_are_left_out(files):
    unknown = peer(link_delay_us=0.0, round_trip_us=None)
    assert read_measured([files.write_stats("a.json", stats(b=unknown))]) == {}
    old = peer()
    del old["round_trip_us"]
    found = read_measured([files.write_stats("old.json", stats(b=old))])
    assert found == {("a", "b"): Measured(3000.0, None)}


@pytest.mark.parametrize("document", [{}, {"worker": "a"}, [7], 7, {"links": [{"source": "a"}]}])
def test_what_is_no_stats_is_refused_with_the_file(files, document):
    path = files.write_stats("x.json", document)
    with pytest.raises(ConfigError) as caught:
        read_measured([path])
    assert str(caught.value).startswith(path + ": found no stats")
    assert "Pipeline.stats()" in str(caught.value)


def test_what_is_no_json_or_no_file_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{")
    for name, said in (("x.json", "not JSON"), ("none.json", "cannot be read")):
        with pytest.raises(ConfigError, match=said):
            read_measured([str(tmp_path / name)])
