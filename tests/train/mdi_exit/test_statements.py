"""What is said beside the paper follows from the numbers, and turns with them."""

from mdi_exit_cases import SETTINGS, network, point

from edgesdk.train.mdi_exit.statements import AS_PAPER, OTHERWISE, statements, why_slow
from edgesdk.train.mdi_exit.topologies import CODED_5, MESH_3, MESH_5


def said(about, say=lambda job: {}, **changes):
    """The one statement that begins so."""
    (found,) = [
        each for each in statements(network(say, **changes), SETTINGS) if each[2:].startswith(about)
    ]
    return found


def at(topology, **values):
    """Changes of every point of one topology."""
    return lambda job: values if job.topology == topology else {}


class TestMoreNodes:
    def test_where_each_adds_its_share_it_is_as_in_the_paper(self):
        text = said("More nodes")
        assert AS_PAPER in text and "5-Node-Mesh 300.0 (5.00 x)" in text

    def test_where_five_are_slower_it_says_so_and_why(self):
        text = said("More nodes", at(MESH_5, rate=90.0, bound=300.0, used=0.93))
        assert OTHERWISE in text and AS_PAPER not in text
        assert "5-Node-Mesh is 50 % slower than 3-Node-Mesh, for the channel is full (93 %" in text

    def test_within_three_percent_is_as_fast(self):
        text = said("More nodes", at(MESH_5, rate=182.0, bound=183.0, begun=183.0))
        assert "5-Node-Mesh is as fast as 3-Node-Mesh, for the source begins every image" in text
        assert "183/s" in text


def test_exits_that_gain_nothing_are_named():
    assert AS_PAPER in said("Early exits")
    text = said("Early exits", at(MESH_3, rate=70.0, used=0.99))
    assert OTHERWISE in text and "3-Node-Mesh: the channel is full" in text
    assert "Local:" not in text


class TestPoisson:
    def test_several_nodes_keep_more_accuracy(self):
        assert AS_PAPER in said("Several nodes")

    def test_or_they_do_not(self):
        text = said("Several nodes", lambda job: {"accuracy": 0.8})
        assert OTHERWISE in text and text.count("5-Node-Mesh") == 2


class TestFiveOrThree:
    def test_nowhere_behind(self):
        text = said("5-Node-Mesh behind")
        assert text.count("on no channel") == 2 and "as in Fig. 6" in text

    def test_behind_on_a_slow_channel_without_the_auto_encoder_only(self):
        def slow(job):
            is_slow = job.wifi_mbit_s == 20.0 and job.topology == MESH_5
            return {"rate": 100.0, "used": 0.97} if is_slow else {}

        text = said("5-Node-Mesh behind", slow)
        assert "by rate at 20 Mbit/s (97 % of the channel used)" in text
        assert "With the auto-encoder: on no channel" in text

    def test_behind_by_accuracy(self):
        def worse(job):
            return {"accuracy": 0.7} if job.rate_hz and job.topology == MESH_5 else {}

        text = said("5-Node-Mesh behind", worse)
        assert "by accuracy at 20, 80 Mbit/s" in text and "by rate at" not in text

    def test_another_than_five_with_the_auto_encoder_is_best(self):
        text = said("5-Node-Mesh behind", at(CODED_5, accuracy=0.5))
        assert OTHERWISE in text and "With it 5-Node-Mesh has 50.00 %" in text

    def test_without_an_auto_encoder_it_is_not_spoken_of(self):
        text = said("5-Node-Mesh behind", code=None)
        assert "too small for an auto-encoder" in text


def test_points_far_below_the_bound_are_counted():
    assert "reach 0.98 to 0.98." in said("Of the bound")
    text = said("Of the bound", at(MESH_5, rate=100.0, bound=300.0, used=0.9))
    assert "0.33 to 0.98" in text
    assert "Below 0.9 are 3 of 15 points, of 5-Node-Mesh; at 3 of them the channel is full" in text


def test_every_kind_of_reason():
    assert "stage 0 allows 100/s" in why_slow(point(99.0, 100.0, 100.0))
    assert "the channel is full" in why_slow(point(50.0, 100.0, 200.0, used=0.8))
    assert "its boards are busy" in why_slow(point(95.0, 100.0, 200.0))
    assert "holds back" in why_slow(point(50.0, 100.0, 200.0, used=0.3))
    assert "0.50 of its bound" in why_slow(point(50.0, 100.0, None, used=None))


def test_baselines_and_the_circle_are_compared():
    assert "Full offload answers 0.40 times as many" in said("What the paper does not measure")
    assert "1.00 to 1.00 of its rate" in said("3-Node-Circular")
