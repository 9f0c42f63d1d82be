"""Another model for a fleet that works: docs/upgrades.md, done with real processes."""

import os
import shutil
import threading
import time

import busy_bundle
import pytest
from fleet import SOURCE, Fleet, answer, single_process_answers, wait_for

import edgesdk
from edgesdk.bundle import read_bundle
from edgesdk.push import __main__ as push

SIDE = 16
HELPERS = ("a", "b")
GAP_S_MAX = 5.0  # of a machine that does other things too; docs/upgrades.md has a measured one


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The version after `busy`: it sees the same and says it in other words."""
    path = tmp_path_factory.mktemp("engines") / "busy" / "2"
    return busy_bundle.write_busy_bundle(path, side=SIDE, labels=["hell", "dunkel"])


def make_fleet(folder, busy, workers=HELPERS):
    options = 'max_batch = 4\nfolder = "shelf"'
    return Fleet(folder, busy, SIDE, workers, source_stages=None, of_workers=options)


def deliver(fleet, bundle):
    """As a person does it; the bundle where the workers have it."""
    if shutil.which("rsync") is None:
        pytest.skip("needs rsync: apt-get install rsync")
    names = [word for name in HELPERS for word in ("--name", name)]
    arguments = [bundle.path, "--cluster", fleet.path(SOURCE), "--to", "engines/busy/2"] + names
    assert push.main(arguments) == 0
    return read_bundle(os.path.join(str(fleet.folder), "shelf", "engines", "busy", "2"))


def replace_workers(fleet, bundle):
    """Restart the helpers with `bundle`, one after the other, while the source answers."""
    for name in HELPERS:
        fleet.keep_busy(0.3)
        fleet.process(name).terminate()
        while fleet.process(name).is_running:
            fleet.keep_busy(0.05)
        assert fleet.process(name).wait() == 0
        fleet.use(bundle, name)
        fleet.restart(name)
        fleet.process(name).wait_until_it_says("listens at")
    fleet.process("b").wait_until_it_says("a: up")


def is_declined(fleet, name):
    """Work a while: it must not be for us that `name` works."""
    before = fleet.pipe.stats()["neighbours"][name]["sent_count"]
    known = fleet.counters().get("greetings_rejected", 0)

    def is_rejected_again():
        fleet.keep_busy(0.2)
        return fleet.counters().get("greetings_rejected", 0) > known

    wait_for(is_rejected_again, 20, fleet.counters)
    now = fleet.pipe.stats()["neighbours"][name]
    return now["sent_count"] == before and now["state"] != "up"


def change_over(fleet, bundle):
    """The source too; how many seconds there were between its last answer and the next one's."""
    expected = single_process_answers(bundle, fleet.images)
    answered_s = []
    futures = [fleet.pipe.submit(image) for image in fleet.images]
    for future in futures:
        future.add_done_callback(lambda _: answered_s.append(time.monotonic()))
    fleet.close(drain=True)
    # Nothing was lost, and all of it is the answer of the model before.
    assert [answer(future.result(0)) for future in futures] == fleet.expected
    fleet.use(bundle, SOURCE)
    fleet.expected = expected
    fleet.open()
    fleet.submit(1)
    fleet.wait_until_done(1)
    return time.monotonic() - max(answered_s)


def test_forth_and_back_without_losing_an_image(tmp_path, busy, second, caplog):
    with make_fleet(tmp_path, busy) as fleet:
        fleet.start()
        delivered = deliver(fleet, second)
        for bundle in (delivered, busy):
            replace_workers(fleet, bundle)
            assert is_declined(fleet, "a") and is_declined(fleet, "b")
            fleet.settle()
            assert change_over(fleet, bundle) < GAP_S_MAX
            for name in HELPERS:
                fleet.wait_until(name, "up")
            fleet.keep_busy(0.5)
            fleet.settle()
            stats = fleet.pipe.stats()
            assert stats["model_id"] == bundle.manifest.model_id
            assert all(stats["neighbours"][name]["answered_count"] for name in HELPERS)
            assert fleet.counters().get("leases_expired", 0) == 0
        said = [record.getMessage() for record in caplog.records]
        reason = "model: found {}, expected {}; start both with the same bundle".format(
            second.manifest.model_id, busy.manifest.model_id
        )
        assert "source: greetings_rejected neighbour=a: " + reason in said, said


def test_the_rest_of_the_shelf_goes_on_helping(tmp_path, busy, second):
    """While one worker is of the next version already, the other one is still ours."""
    with make_fleet(tmp_path, busy) as fleet:
        fleet.start()
        fleet.process("a").terminate()
        assert fleet.process("a").wait() == 0
        fleet.use(second, "a")
        fleet.restart("a")
        assert is_declined(fleet, "a")
        before = fleet.pipe.stats()["neighbours"]["b"]["answered_count"]
        fleet.keep_busy(0.5)
        fleet.settle()
        assert fleet.pipe.stats()["neighbours"]["b"]["answered_count"] > before


def test_side_by_side_there_is_no_gap(tmp_path, busy, second):
    """A second name in the cluster file lets the next version open before the first one closes."""
    with make_fleet(tmp_path, busy, HELPERS + ("next",)) as fleet:
        fleet.start(HELPERS)
        fleet.use(second, "next")
        opened = []

        def open_next():
            opened.append(
                edgesdk.Pipeline.open(
                    cluster=fleet.path("next"), name="next", backend="onnxruntime"
                )
            )

        opening = threading.Thread(target=open_next)
        opening.start()
        while opening.is_alive():
            fleet.keep_busy(0.05)
        opening.join()
        with opened[0] as following:
            replace_workers(fleet, second)
            assert all(following.wait_until_up(name, timeout=20) for name in HELPERS)
            fleet.submit(50)  # these are still the old one's
            futures = [following.submit(image) for image in fleet.images]
            expected = single_process_answers(second, fleet.images)
            assert [answer(future.result(20)) for future in futures] == expected
            fleet.settle()
            fleet.close(drain=True)
            assert following.infer(fleet.images[0]).ok
