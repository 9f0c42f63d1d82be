"""A machine to deliver to, and a bundle to deliver."""

import pytest
import ssh_server
from fleet_to_push import Fleet


@pytest.fixture(scope="session")
def running_server(tmp_path_factory):
    """One sshd for all tests."""
    ssh_server.skip_unless_there()
    with ssh_server.SshServer(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def server(running_server, tmp_path):
    """It, with a home that is empty."""
    running_server.use_home(str(tmp_path / "home"))
    yield running_server
    running_server.use_home(str(tmp_path / "home"))


@pytest.fixture
def fleet(tmp_path):
    """A folder with a cluster file and a bundle, as people have it."""
    return Fleet(tmp_path / "here")
