"""Who is linked with whom, and who may send what."""

import pytest
from test_boards import answers

from edgesdk.sim.scenario_files import images_of
from edgesdk.train.mdi_exit.boards import board_of
from edgesdk.train.mdi_exit.topologies import (
    CIRCLE_3,
    CODED_3,
    DATA_5,
    LOCAL,
    MESH_3,
    MESH_5,
    OFFLOAD,
    at_rate,
    at_threshold,
    scenario_of,
)


@pytest.fixture
def scenario(bundle):
    board, images = board_of(bundle, 31_000, 10), images_of([answers((0.6, 0.7, 0.9))])

    def made(topology, drive=None, wifi_mbit_s=8.0):
        drive = drive or at_threshold(0.8, 10.0)
        return scenario_of(topology, board, images, drive, 2.0, wifi_mbit_s, 99)

    return made


def ways(scenario):
    """(from, to) of everybody who may send tasks."""
    return {
        (name, link.second if name == link.first else link.first)
        for link in scenario.links
        for name in link.offload
    }


def test_meshes_send_both_ways_and_the_circle_one(scenario):
    assert len(ways(scenario(MESH_5))) == 20 and not ways(scenario(LOCAL))
    assert len(ways(scenario(MESH_3))) == 6
    names = ("source", "worker-1", "worker-2")
    assert ways(scenario(CIRCLE_3)) == set(zip(names, names[1:] + names[:1]))


def test_data_distributed_workers_are_sent_inputs_and_send_nothing(scenario):
    found = scenario(DATA_5)
    assert ways(found) == {("source", f"worker-{index}") for index in range(1, 5)}
    assert found.offloading.offload_inputs and not scenario(MESH_5).offloading.offload_inputs


def test_a_camera_that_computes_nothing_sends_compressed_images(scenario):
    found = scenario(OFFLOAD)
    assert [node.stages for node in found.nodes] == [(), None]
    assert found.nodes[1].speed == 10.0
    assert found.model.parts[0].feature_bytes[0] == 99
    assert scenario(MESH_3).model.parts[0].feature_bytes[0] == 144


def test_one_channel_or_links_of_their_own(scenario):
    shared = scenario(MESH_3)
    assert [medium.bytes_per_s for medium in shared.media] == [1e6]
    assert {link.medium for link in shared.links} == {"wifi"}
    assert not scenario(MESH_3, wifi_mbit_s=None).media
    assert {link.jitter_us for link in scenario(MESH_3, wifi_mbit_s=None).links} == {0}


def test_who_adapts_what(scenario):
    fixed = scenario(MESH_3, at_threshold(0.8, 10.0))
    assert (fixed.admission.kind, fixed.admission.interarrival_us) == ("rate", 100_000)
    assert fixed.workloads[0].kind == "admission"
    off = scenario(MESH_3, at_threshold(None, 10.0))
    assert off.model.policy.kind == "final"
    assert off.model.parts[0].stage_us[0] < fixed.model.parts[0].stage_us[0]  # no early head
    poisson = scenario(MESH_3, at_rate(5.0))
    assert (poisson.admission.kind, poisson.workloads[0].rate_hz) == ("threshold", 5.0)


def test_codes_travel_behind_the_first_exit(scenario):
    sizes = [scenario(each).model.parts[0].feature_bytes for each in (MESH_3, CODED_3)]
    assert sizes == [(144, 288, 288), (144, 10, 288)]
