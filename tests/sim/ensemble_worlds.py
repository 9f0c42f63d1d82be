"""Fleets of the simulator with the students of `tiny_ensemble`."""

import tiny_ensemble as te

from edgesdk.bundle import write_bundle
from edgesdk.features import write_features
from edgesdk.sim.scenario import parse_scenario

BRIGHTNESSES = tuple(each / 20 for each in range(21))


def write_mixed_ensemble(path):
    """The bundle, but its second student is a segment less deep."""
    manifest, files = te.ensemble_manifest(), te.ensemble_files()
    part = manifest["parts"][1]
    part["segments"], part["exits"] = part["segments"][:2], part["exits"][:2]
    part["plans"]["full"]["stages"] = part["plans"]["full"]["stages"][:2]
    files = {name: files[name] for name in files if "1_2." not in name}
    return write_bundle(path, manifest, files)


def fleet(folder, depths=(3, 3), **changes):
    """A camera without students, "one" and "two" with one each, and images of BRIGHTNESSES."""
    write = te.write_tiny_ensemble if depths == (3, 3) else write_mixed_ensemble
    bundle = write(folder / "bundle")
    write_features(folder / "features.npz", te.features_by_hand(BRIGHTNESSES, depths))
    document = {
        "name": "students",
        "duration_s": 10,
        "topology": "star",
        "model": {
            "bundle": bundle.path,
            "features": "features.npz",
            "multiply_adds_per_us": 0.1,
            "policy": changes.pop("policy", "difference"),
        },
        "node": [
            {"name": "camera", "stages": []},
            {"name": "one", "parts": [0]},
            {"name": "two", "parts": [1]},
        ],
        "workload": [{"source": "camera", "kind": "periodic", "rate_hz": 10}],
    }
    return bundle, parse_scenario(dict(document, **changes), str(folder))
