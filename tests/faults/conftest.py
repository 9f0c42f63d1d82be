"""Bundles for fleets of processes."""

import pytest


@pytest.fixture(scope="session")
def busy(tmp_path_factory):
    """A network of 1.3 ms a stage whose features are 256 KiB; images of `BUSY_SIDE`."""
    import busy_bundle

    return busy_bundle.write_busy_bundle(tmp_path_factory.mktemp("engines") / "busy" / "1")
