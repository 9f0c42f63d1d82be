"""The processes and links of a scenario, for real: workers that are paced, proxies between them.

The model of the scenario becomes a network of `busy_bundle` with as large features, its times the
profiles that workers are paced by, and its links the cluster files of their ends.
"""

import os
import sys
from itertools import cycle
from random import Random

import busy_bundle
from fleet import Lanes, Process, environment, free_port_pairs, single_process_answers
from proxy import TO_TARGET

from edgesdk.core.spec import FULL_PLAN
from edgesdk.errors import ConfigError
from edgesdk.profiles import Profile, StageTime, write_profile

LOOPBACK_US = 500  # a link that is no slower than this needs no proxy
FLOAT_BYTES = 4


class Network:
    """A bundle that does what `model` says, with images that leave where those of `model` do."""

    def __init__(self, model, folder):
        side, channels = _shape(model)
        described = model.policy.describe()
        self.bundle = busy_bundle.write_busy_bundle(
            os.path.join(folder, "busy", "1"), channels, side, repeats=1, policy=described
        )
        images = busy_bundle.images(side)
        expected = single_process_answers(self.bundle, images)
        by_exit = {}
        for image, answer in zip(images, expected):
            by_exit.setdefault(answer[4], []).append((image, answer))
        exits = [_exit_of(model, image) for image in model.images]
        for index in sorted(set(exits) - set(by_exit)):
            raise refusal(
                "model.exit_shares: some leave at exit {}, but of the images that there are none "
                "does, with {}".format(index, model.policy)
            )
        turns = {index: cycle(found) for index, found in by_exit.items()}
        self._items = [next(turns[index]) for index in exits]

    def image(self, number):
        """What item `number` is: an image, and what one process alone says of it."""
        return self._items[number % len(self._items)]


class Direction:
    """One direction of a link that has proxies, and the faults that it suffers."""

    def __init__(self, link, port, target_port):
        self.lanes = Lanes(port, target_port)
        self._bytes_per_s = link.bytes_per_s
        self._cut_count, self._divisors = 0, []
        # An exponential tail becomes an even one of the same mean.
        self.lanes.delay((link.delay_us + link.jitter_us) / 1e6, link.jitter_us / 1e6, TO_TARGET)
        self._throttle()

    def cut(self):
        """Nothing arrives until as many `heal`."""
        self._cut_count += 1
        self.lanes.hold()

    def heal(self):
        """One cut is over."""
        self._cut_count -= 1
        if not self._cut_count:
            self.lanes.let_go()

    def divide_rate(self, divisor):
        """Divide the rate, besides other divisions."""
        self._divisors.append(divisor)
        self._throttle()

    def end_divide_rate(self, divisor):
        """Take one `divide_rate` back."""
        self._divisors.remove(divisor)
        self._throttle()

    def _throttle(self):
        rate = self._bytes_per_s
        for divisor in self._divisors:
            rate = None if rate is None else rate / divisor
        self.lanes.throttle(rate, TO_TARGET)


class Workers:
    """Everything of `scenario` but its source `source`, which the test is. Files go to `folder`.

    `directions`: by both ends, of links that need proxies. `died`: names of those killed, in order.
    """

    def __init__(self, scenario, source, network, folder):
        self._scenario, self._source = scenario, source
        self._network, self._folder = network, folder
        self._nodes = {node.name: node for node in scenario.nodes}
        self._ports = dict(zip(self._nodes, free_port_pairs(len(self._nodes))))
        self._pauses = {}
        self.directions, self.processes = {}, {}
        self.died = []
        try:
            self._make_links()
            for name in self._nodes:
                self._write_profile(name)
                self._write_cluster(name)
        except BaseException:
            self.stop()
            raise
        for name in sorted(set(self._nodes) - {source}):
            self.processes[name] = Process(name, self._command(name), folder, environment())
            self._let_in(name, False)

    def port(self, name):
        """Where it really listens."""
        return self._ports[name]

    def path(self, name, suffix):
        """A file of a node: its "toml" (cluster), "json" (profile) or "trace"."""
        return os.path.join(self._folder, "{}.{}".format(name, suffix))

    def neighbours(self, name):
        """Those at the other ends of its links."""
        ends = [(link.first, link.second) for link in self._scenario.links]
        return sorted(b if a == name else a for a, b in ends if name in (a, b))

    def traces(self, name):
        """The traces of all processes that were `name`, in order."""
        first = self.path(name, "trace")
        paths, number = [], 1
        while os.path.exists(first if number == 1 else "{}.{}".format(first, number)):
            paths.append(first if number == 1 else "{}.{}".format(first, number))
            number += 1
        return paths

    # --- what happens to them ---

    def start(self, name):
        """A process starts, unless there is one."""
        if not self.processes[name].is_running:
            self._pauses[name] = 0
            self._let_in(name, True)
            self.processes[name].start()

    def wait_until_all_know_each_other(self):
        """Those that run now, but for the source."""
        running = {name for name, each in self.processes.items() if each.is_running}
        for name in running:
            for other in self.neighbours(name):
                if other in running or other == self._source:
                    self.processes[name].wait_until_it_says("\n{}: up\n".format(other))

    def leave(self, name):
        """It is asked to leave."""
        if self.processes[name].is_running:
            self.processes[name].terminate()

    def begin(self, fault):
        """A fault begins."""
        if fault.kind == "crash":
            self._kill(fault.where)
        elif fault.kind == "pause":
            self._pauses[fault.where] += 1
            self.processes[fault.where].stop()
        for direction in self._directions_of(fault):
            if fault.kind == "cut":
                direction.cut()
            elif fault.kind == "reset":
                direction.lanes.reset()
            elif fault.kind == "rate":
                direction.divide_rate(fault.factor)

    def end(self, fault):
        """It is over; what has crashed starts again."""
        if fault.kind == "crash":
            self.start(fault.where)
        elif fault.kind == "pause":
            self._resume(fault.where)
        for direction in self._directions_of(fault):
            if fault.kind == "cut":
                direction.heal()
            elif fault.kind == "rate":
                direction.end_divide_rate(fault.factor)

    def _kill(self, name):
        assert self.processes[name].is_running, "{} is to crash, but it is gone".format(name)
        self.processes[name].kill()
        self.died.append(name)
        self._let_in(name, False)

    def _resume(self, name):
        """It goes on, if it is still the process that was frozen."""
        if self._pauses[name]:
            self._pauses[name] -= 1
            if not self._pauses[name]:
                self.processes[name].resume()

    def _directions_of(self, fault):
        """ "a->b" is one direction, "a-b" both; names may contain a "-"."""
        for (origin, target), direction in self.directions.items():
            names = ("{}-{}", origin, target), ("{}-{}", target, origin), ("{}->{}", origin, target)
            if fault.where in [form.format(*ends) for form, *ends in names]:
                yield direction

    def ask_all_to_leave(self):
        """At the end; all that run must do so in good order."""
        running = [each for each in self.processes.values() if each.is_running]
        for process in running:
            process.terminate()
        for name, process in self.processes.items():
            status = process.wait()
            killed = name in self.died and process not in running
            assert status == 0 or killed, "{} left with {}: {}".format(name, status, process.said)

    def said(self):
        """What each of them wrote, ever."""
        return {name: process.said_ever for name, process in self.processes.items()}

    def stop(self):
        """Whatever state they are in."""
        for process in self.processes.values():
            process.end()
        for direction in self.directions.values():
            direction.lanes.stop()

    # --- how they are made ---

    def _make_links(self):
        links = [link for link in self._scenario.links if self._needs_proxies(link)]
        ways = [(link, a, b) for link in links for a, b in _both_ways(link)]
        for (link, a, b), port in zip(ways, free_port_pairs(len(ways))):
            self.directions[a, b] = Direction(link, port, self._ports[b])

    def _needs_proxies(self, link):
        names = [form.format(*ends) for ends in _both_ways(link) for form in ("{}-{}", "{}->{}")]
        is_slow = link.bytes_per_s is not None or link.delay_us + link.jitter_us > LOOPBACK_US
        return is_slow or any(fault.where in names for fault in self._scenario.faults)

    def _let_in(self, name, yes):
        """Nobody listens where no process is, so proxies refuse on its behalf."""
        for (_, target), direction in self.directions.items():
            if target == name:
                (direction.lanes.admit if yes else direction.lanes.refuse)()

    def _write_profile(self, name):
        """How long `name` takes for a stage with its exit, alone and in its largest batch; between
        the two a pace goes in proportion, as the simulator does."""
        model, node = self._scenario.model, self._nodes[name]
        stages = []
        for stage, stage_us in enumerate(model.parts[0].stage_us):
            for batch in sorted({1, node.max_batch}):
                us = stage_us / node.speed * (1 + model.batch_share * (batch - 1))
                stages.append(StageTime(0, FULL_PLAN, stage, batch, us, us))
        model_id = self._network.bundle.manifest.model_id
        profile = Profile(model_id, "node " + name, "onnxruntime", {}, stages)
        write_profile(self.path(name, "json"), profile)

    def _write_cluster(self, owner):
        """Cluster files differ in where the owner finds the others: at its own proxies."""
        scenario = self._scenario
        lines = ['bundle = "{}"'.format(self._network.bundle.path), 'codec = "raw"']
        lines += ["[security]", "insecure = true", "[offloading]"]
        lines += ["{} = {}".format(*each) for each in _toml(scenario.offloading)]
        lines += ["[admission]"] + ["{} = {}".format(*each) for each in _toml(scenario.admission)]
        for node in scenario.nodes:
            direction = self.directions.get((owner, node.name))
            port = self._ports[node.name] if direction is None else direction.lanes.port
            targets = [
                b
                for link in scenario.links
                for a, b in _both_ways(link)
                if a == node.name and a in link.offload
            ]
            lines += ["[[worker]]", 'name = "{}"'.format(node.name)]
            lines += ['address = "tcp://127.0.0.1:{}"'.format(port)]
            lines += ["max_batch = {}".format(node.max_batch)]
            lines += ["neighbours = [{}]".format(", ".join(map('"{}"'.format, targets)))]
            if node.stages is not None:
                lines += ["stages = {}".format(list(node.stages))]
        with open(self.path(owner, "toml"), "w") as file:
            file.write("\n".join(lines) + "\n")

    def _command(self, name):
        command = [sys.executable, "-m", "edgesdk.worker", "--name", name, "--json"]
        command += ["--backend", "onnxruntime", "--cluster", self.path(name, "toml")]
        return command + ["--pace", self.path(name, "json"), "--trace", self.path(name, "trace")]


# --- helpers --------------------------------------------------------------------------------------


def refusal(text):
    """What is raised for a scenario that cannot be played."""
    return ConfigError(text + "; leave it out, or simulate the scenario only")


def _shape(model):
    """(side, channels) of the network with the stages and features of `model`."""
    (part,) = model.parts
    input_bytes, feature_bytes = part.feature_bytes[0], part.feature_bytes[-1]
    side = round((input_bytes / FLOAT_BYTES) ** 0.5)
    channels = feature_bytes // max(1, input_bytes)
    expected = (FLOAT_BYTES * side * side,) + (FLOAT_BYTES * side * side * channels,) * 2
    if part.encode_us or part.decode_us:
        raise refusal("model: found encode_us or decode_us, expected none: it has no bottlenecks")
    if model.exit_indices != (0, 1, 2) or part.feature_bytes != expected or not channels:
        raise refusal(
            "model: found exits {} and feature_bytes {}, expected exits 0, 1, 2 and feature_bytes "
            "[4 * side ** 2, n, n], n a multiple of the first".format(
                list(model.exit_indices), list(part.feature_bytes)
            )
        )
    return side, channels


def _exit_of(model, image):
    """Where `image` leaves under the policy of `model`."""
    policy = model.policy
    state = policy.start(model.exit_indices, Random(0))
    for exit_index in model.exit_indices[:-1]:
        if policy.evaluates(exit_index, state):
            leaves, state = policy.step(exit_index, image.scores[0][exit_index], state)
            if leaves:
                return exit_index
    return model.exit_indices[-1]


def _both_ways(link):
    return [(link.first, link.second), (link.second, link.first)]


def _toml(options):
    """(key, value) of the table that `options`, a named tuple, was read from."""
    for name, value in sorted(options._asdict().items()):
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, str):
            value = '"{}"'.format(value)
        elif "_us" in name:
            name, value = name.replace("_us", "_ms"), value / 1000
        yield name, value
