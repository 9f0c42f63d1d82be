"""Pipelines of one process that are neighbours: on the tiny network, over memory or loopback."""

import time

from gated import GatedBackend

from edgesdk.addresses import free_port_pairs
from edgesdk.backends import open_backend
from edgesdk.choices import choose_plan, choose_policy
from edgesdk.cluster import read_cluster
from edgesdk.pipeline import Pipeline
from edgesdk.preprocess import Preprocessor
from edgesdk.runtime.inprocess import Hub, InProcess
from edgesdk.runtime.member import Membership

WAIT_S = 20.0  # no test waits longer for what must come
PORT = "a free port"


def eventually(condition, timeout_s=WAIT_S):
    """Wait until `condition()`."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it never came to that"
        time.sleep(0.005)


def worker(name, stages=None, neighbours=None, **values):
    """The text of a [[worker]]; values as TOML writes them."""
    values = dict(values, stages=stages, neighbours=neighbours and str(neighbours))
    address = '"tcp://127.0.0.1:{}"'.format(PORT)
    lines = ["[[worker]]", 'name = "{}"'.format(name)]
    lines += ["{} = {}".format(*pair) for pair in values.items() if pair[1] is not None]
    if "address" not in values:
        lines.append("address = " + address)
    return "\n".join(lines).replace("'", '"') + "\n"


# The camera computes nothing: whatever it is asked travels.
CAMERA = worker("camera", stages=[])
HELPER = worker("helper")
INSECURE = "[security]\ninsecure = true\n"


class Clustered:
    """Opens workers of one cluster file, and closes them. `over`: "memory" or "sockets"."""

    def __init__(self, folder, bundle, over="memory"):
        self.over = over
        self.bundle = bundle
        self.folder = folder
        self.hub = Hub()
        self.pipes = {}
        self.path = str(folder / "robots.toml")

    def describe(self, *workers, top="", security=INSECURE):
        """Write the cluster file."""
        text = "bundle = {!r}\n".format(self.bundle.path) + top + security + "".join(workers)
        for port in free_port_pairs(text.count(PORT)):
            text = text.replace(PORT, str(port), 1)
        with open(self.path, "w") as file:
            file.write(text)
        return self

    def open(
        self,
        name,
        policy=None,
        gated=False,
        bundle=None,
        plan=None,
        admission=None,
        backend="onnxruntime",
        **more,
    ):
        """The worker `name`; `gated`: its stages wait for the test, and its backend is `.gated`."""
        bundle = bundle or self.bundle
        backend = GatedBackend() if gated else open_backend(backend, 1)
        transport = None if self.over == "sockets" else self._in_process
        cluster = read_cluster(self.path)
        entry = cluster.worker(name)
        policy = cluster.policy if policy is None else policy
        membership = Membership(cluster, name, admission, transport=transport)
        more.setdefault("max_batch", entry.max_batch)
        pipe = Pipeline(
            bundle,
            choose_plan(bundle, policy, plan),
            choose_policy(bundle, policy),
            backend,
            Preprocessor(bundle.manifest.preprocessing),
            membership=membership,
            **more,
        )
        pipe.gated = backend
        self.pipes[name] = pipe
        return pipe

    def _in_process(self, worker_id):
        return InProcess(self.hub, worker_id)

    def meet(self, *names):
        """Wait until these know each other."""
        names = names or tuple(self.pipes)

        def have_met():
            for name in names:
                known = self.pipes[name].stats()["neighbours"]
                if any(known.get(n, {}).get("state") != "up" for n in names if n != name):
                    return False
            return True

        eventually(have_met)
        return [self.pipes[name] for name in names]

    def close(self):
        for pipe in self.pipes.values():
            if isinstance(pipe.gated, GatedBackend):
                pipe.gated.gate.set()
        for pipe in self.pipes.values():
            pipe.close(drain=False)
