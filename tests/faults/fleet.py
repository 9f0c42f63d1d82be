"""A fleet of real processes that a test may hurt: one source here, workers beside it.

    with Fleet(folder, bundle, side=16, workers=("a", "b")) as fleet:
        fleet.start()
        fleet.submit(100)
        fleet.process("a").kill()
        fleet.settle()            # every image has its one right outcome

By default the source computes nothing itself, so everything travels. With `proxied`, every link has
a proxy for each lane and direction between its ends. After the block nothing may be left of the
fleet: no thread, descriptor or process, and no traceback in what the workers said.
"""

import contextlib
import gc
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import busy_bundle
import zmq
from proxy import Proxy

import edgesdk
from edgesdk import keys
from edgesdk.runtime.zeromq import send_uncopied_once

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SOURCE = "source"
SETTLE_S = 30.0  # far above every timeout of the core that a test does not change
START_S = 30.0
LOOK_S = 0.005


class PortProxy(Proxy):
    """A proxy at a port that is given: the data lane is at the port behind the control lane."""

    def __init__(self, port, target_port, **options):
        self._wanted_port = port
        super().__init__(target_port, **options)

    def _bound_socket(self, port):
        return Proxy._bound_socket(port or self._wanted_port)


class Lanes:
    """The two proxies of one direction of a link; every verb of `Proxy` acts on both."""

    def __init__(self, port, target_port):
        self.port = port
        self.control = PortProxy(port, target_port)
        self.data = PortProxy(port + 1, target_port + 1)

    def __getattr__(self, verb):
        def on_both(*arguments, **options):
            for proxy in (self.control, self.data):
                getattr(proxy, verb)(*arguments, **options)

        return on_both


class Process:
    """One worker. `said` is what it wrote so far; `final_stats` what it printed when it left."""

    def __init__(self, name, command, folder, environment):
        self.name = name
        self.command = command
        self._folder = str(folder)
        self._environment = environment
        self._popen = None
        self._run_count = 0

    def start(self):
        """Start it, also again."""
        self._run_count += 1
        with open(self._path("err"), "wb") as err, open(self._path("out"), "wb") as out:
            self._popen = subprocess.Popen(
                self.command, stderr=err, stdout=out, cwd=ROOT, env=self._environment
            )

    @property
    def pid(self):
        return self._popen.pid

    @property
    def is_running(self):
        return self._popen is not None and self._popen.poll() is None

    @property
    def said(self):
        """Standard error of the last start."""
        return _read(self._path("err"))

    @property
    def said_ever(self):
        """Standard error of every start."""
        return "".join(_read(self._path("err", n + 1)) for n in range(self._run_count))

    @property
    def final_stats(self):
        """What `--json` printed at the end."""
        return json.loads(_read(self._path("out")))

    def send(self, number):
        """Send a signal."""
        self._popen.send_signal(number)

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.wait(5)

    def stop(self):
        """SIGSTOP."""
        self.send(signal.SIGSTOP)

    def resume(self):
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def terminate(self):
        """SIGTERM: leave."""
        self.send(signal.SIGTERM)

    def wait(self, timeout_s=20):
        """Its exit status."""
        return self._popen.wait(timeout_s)

    def wait_until_it_says(self, text, timeout_s=START_S):
        """Until `text` is in what it wrote."""
        wait_for(lambda: text in self.said or not self.is_running, timeout_s, repr(text))
        assert text in self.said, self.said

    def end(self):
        """Whatever state it is in."""
        if self.is_running:
            self.resume()
            self.kill()

    def _path(self, suffix, run=None):
        run = self._run_count if run is None else run
        return os.path.join(self._folder, "{}.{}.{}".format(self.name, run, suffix))


class Fleet:
    """See above. `odd`: by name, what is wrong with a worker (`odd_worker.py`). `options`: further
    lines of the cluster file, `of_workers` such of their entries. `pipeline`: further arguments of
    `Pipeline.open`. `hosts`: addresses by name, where that is not this host; `prefixes`: what the
    command of a process begins with. `drain_s`: how long a worker takes for leaving."""

    def __init__(
        self,
        folder,
        bundle,
        side,
        workers=("a", "b"),
        source_stages=(),
        curve=False,
        proxied=False,
        odd=None,
        options="",
        of_workers="max_batch = 4",
        pipeline=None,
        hosts=None,
        prefixes=None,
        drain_s=10,
    ):
        self.folder, self.bundle = folder, bundle
        self.names = (SOURCE,) + tuple(workers)
        self.links = {}
        self.pipe = None
        self.where = lambda function: function()  # calls it where the source shall be
        self.images = busy_bundle.images(side)
        self.expected = single_process_answers(bundle, self.images)
        self._hosts = hosts or {}
        self._drain_s = drain_s
        self._ports = dict(zip(self.names, free_port_pairs(len(self.names))))
        self._options, self._of_workers = options, of_workers
        self._of_source = "" if source_stages is None else "stages = " + str(list(source_stages))
        self._is_curve, self._is_proxied = curve, proxied
        self._odd, self._prefixes = odd or {}, prefixes or {}
        self._pipeline_options = pipeline or {}
        self._open = []  # (number of the image, future)
        self._submitted_count = 0  # of all sources, one after the other
        self._admitted_count = 0  # by this one
        self.failed = []  # outcomes that a test said it expects
        self.differed = []  # wrong answers, of the same kind
        self._processes = {}
        with zmq.Context() as context:  # else what pyzmq keeps from it would look like a leak
            send_uncopied_once(context)
        self._before = left_overs()

    def __enter__(self):
        try:
            if self._is_proxied:
                self._make_links()
            paths = [self._write_cluster(name) for name in self.names]
            if self._is_curve:
                make_keys(paths[0])
            for name in self.names[1:]:
                command = self._command(name)
                self._processes[name] = Process(name, command, self.folder, environment())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                assert not self._open, "{} images were never asked for".format(len(self._open))
                self.close()
        finally:
            said = {name: process.said_ever for name, process in self._processes.items()}
            self._end()
            if kind is not None:
                for name, text in said.items():
                    print("--- {} said:\n{}".format(name, text))
        for name, text in said.items():
            assert "Traceback" not in text, "{}: {}".format(name, text)
        nothing_is_left_since(self._before)

    # --- its life ---

    def start(self, names=None):
        """Open the source and start workers; return when it knows them all."""
        names = self.names[1:] if names is None else names
        for name in names:
            self._processes[name].start()
        if self.pipe is None:
            self.open()
        for name in names:
            self.wait_until(name, "up")
        return self

    def open(self):
        """Open the source."""
        self._admitted_count = 0
        self.pipe = self.where(self._open_here)

    def _open_here(self):
        return edgesdk.Pipeline.open(
            cluster=self.path(SOURCE), name=SOURCE, backend="onnxruntime", **self._pipeline_options
        )

    def close(self, **options):
        """Close the source, if it is open."""
        if self.pipe is not None:
            self.pipe.close(**options)
            self.pipe = None
            gc.collect()

    def open_anew(self):
        """A source without a past: what it has learned of delays makes it patient."""
        self.close()
        self.open()
        for name in self.names[1:]:
            self.wait_until(name, "up")

    def break_off(self):
        """Close the source as if it had died: at once. What is owed fails, and is forgotten."""
        self.close(drain=False)
        self.take_all(may_fail=True)

    def process(self, name):
        """The worker of that name."""
        return self._processes[name]

    def path(self, name):
        """The cluster file of a worker."""
        return os.path.join(str(self.folder), name + ".toml")

    def port(self, name):
        """Where it really listens."""
        return self._ports[name]

    def restart(self, name):
        """Start a worker whose process has ended."""
        self._processes[name].start()

    def use(self, bundle, *names):
        """From their next start on these run `bundle`."""
        self.bundle = bundle
        for name in names:
            self._write_cluster(name)

    def impostor(self, name, has_keys):
        """A process that takes the name of a worker, and listens elsewhere; perhaps it has stolen
        its keys too."""
        folder = os.path.join(str(self.folder), "impostor")
        os.mkdir(folder)
        real, self.folder = self.folder, folder
        ports, self._ports = self._ports, dict(self._ports, **{name: free_port_pairs(1)[0]})
        try:
            self._write_cluster(name)
            if self._is_curve:
                make_keys(self.path(name))
                for file in os.listdir(os.path.join(str(real), "keys")):
                    if has_keys or (file.endswith(".public") and not file.startswith(name)):
                        shutil.copy(os.path.join(str(real), "keys", file), folder + "/keys/" + file)
            self._processes["impostor"] = Process(name, self._command(name), folder, environment())
        finally:
            self.folder, self._ports = real, ports
        return self._processes["impostor"]

    def links_of(self, name):
        """Both directions of every link of `name`, where links are proxied."""
        return [link for pair, link in self.links.items() if name in pair]

    # --- what the source knows ---

    def state(self, name):
        """Of a neighbour, as the source sees it."""
        return self.pipe.stats()["neighbours"][name]["state"]

    def wait_until(self, name, state, timeout_s=START_S):
        """Until the source sees `name` so; how many seconds that took."""
        return wait_for(
            lambda: self.state(name) == state,
            timeout_s,
            lambda: "{} {}; it is {}; {}".format(name, state, self.state(name), self.counters()),
        )

    def counters(self):
        """Of the source's core and its transport."""
        stats = self.pipe.stats()
        counters = dict(stats["counters"])
        counters.update(stats["transport"])
        return counters

    def lost(self):
        """Sessions that the source lost, by reason."""
        head = "sessions_lost."
        found = self.counters().items()
        return {name[len(head) :]: count for name, count in found if name.startswith(head)}

    # --- images and their outcomes ---

    def submit(self, count, **options):
        """Hand in so many images; they are owed until `settle`."""
        for _ in range(count):
            number = self._submitted_count % len(self.images)
            self._open.append((number, self.pipe.submit(self.images[number], **options)))
            self._submitted_count += 1
            self._admitted_count += 1

    def done_count(self):
        """How many of those that are owed have their outcome."""
        return sum(future.done() for _, future in self._open)

    def wait_until_done(self, count, timeout_s=SETTLE_S):
        """Until so many of those that are owed have their outcome."""
        return wait_for(lambda: self.done_count() >= count, timeout_s, self._progress)

    def keep_busy(self, seconds, in_flight=32, **taken):
        """Submit for so long, never more than `in_flight` at once; how many images that were."""
        until_s = time.monotonic() + seconds
        count = 0
        while time.monotonic() < until_s:
            if len(self._open) - self.done_count() < in_flight:
                self.submit(1)
                count += 1
            else:
                time.sleep(0.001)
            if len(self._open) > 4 * in_flight:
                self._take([pair for pair in self._open if pair[1].done()], **taken)
        return count

    def settle(self, timeout_s=SETTLE_S, **taken):
        """Every image that is owed has one outcome, and it is the right one. How many seconds that
        took. With `may_fail`, `Failed` is put into `failed`; with `may_differ`, a wrong answer into
        `differed`."""
        took_s = self.wait_until_done(len(self._open), timeout_s)
        self._take(list(self._open), **taken)
        stats = self.pipe.stats()
        assert stats["admitted_count"] == self._admitted_count
        assert stats["in_flight_count"] == 0
        assert sum(stats["ended"].values()) == self._admitted_count, stats["ended"]
        return took_s

    def take_all(self, may_fail=False):
        """What is owed must have its outcomes, although the source is closed; those that failed."""
        before = len(self.failed)
        self._take(list(self._open), may_fail)
        return self.failed[before:]

    def count_as_admitted(self, count):
        """A test has submitted so many by itself."""
        self._admitted_count += count

    def _take(self, pairs, may_fail=False, may_differ=False):
        for number, future in pairs:
            self._open.remove((number, future))
            error = future.exception(timeout=0)
            if error is not None:
                assert may_fail and isinstance(error, edgesdk.Failed), repr(error)
                self.failed.append(error)
            elif answer(future.result()) != self.expected[number]:
                assert may_differ, "{}, expected {}".format(future.result(), self.expected[number])
                self.differed.append(future.result())

    def _progress(self):
        return "{} of {} outcomes; {}; neighbours {}".format(
            self.done_count(),
            len(self._open),
            self.counters(),
            self.pipe.stats()["neighbours"],
        )

    # --- making and ending it ---

    def _make_links(self):
        pairs = [(a, b) for a in self.names for b in self.names if a != b]
        for (a, b), port in zip(pairs, free_port_pairs(len(pairs))):
            self.links[a, b] = Lanes(port, self._ports[b])

    def _write_cluster(self, owner):
        lines = ['bundle = "{}"'.format(self.bundle.path), 'codec = "raw"', self._options]
        lines += ["[security]", "insecure = {}".format("false" if self._is_curve else "true")]
        for name in self.names:
            link = self.links.get((owner, name))
            port = self._ports[name] if link is None else link.port
            host = self._hosts.get(name, "127.0.0.1")
            lines += ["[[worker]]", 'name = "{}"'.format(name)]
            lines += ['address = "tcp://{}:{}"'.format(host, port)]
            lines += [self._of_source if name == SOURCE else self._of_workers]
        with open(self.path(owner), "w") as file:
            file.write("\n".join(lines) + "\n")
        return self.path(owner)

    def _command(self, name):
        program = ["-m", "edgesdk.worker"]
        if name in self._odd:
            program = [os.path.join(HERE, "odd_worker.py")] + self._odd[name].split()
        arguments = ["--cluster", self.path(name), "--name", name, "--json"]
        arguments += ["--backend", "onnxruntime", "--drain", str(self._drain_s)]
        arguments += ["--insecure-network"] * bool(self._hosts)
        return self._prefixes.get(name, []) + [sys.executable] + program + arguments

    def _end(self):
        for process in self._processes.values():
            process.end()
        if self.pipe is not None:
            self.close(drain=False, timeout=2.0)
        for link in self.links.values():
            link.stop()


# --- helpers --------------------------------------------------------------------------------------


def environment():
    """For a process of a fleet: this package, one thread."""
    path = os.pathsep.join((ROOT, os.path.join(ROOT, "tests"), HERE))
    return dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")


def make_keys(path):
    """Of every worker of a cluster file."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        assert keys.main([path]) == 0


def answer(result):
    """What must be equal bit for bit, whoever computed it."""
    return result[3:9]


_answers = {}


def single_process_answers(bundle, images):
    """What one process says of each image, computed once for a bundle."""
    key = (bundle.path, bundle.manifest.model_id)
    if key not in _answers:
        with edgesdk.Pipeline.open(bundle.path, backend="onnxruntime") as pipe:
            _answers[key] = [answer(result) for result in pipe.infer(images)]
    return _answers[key]


def wait_for(condition, timeout_s, what):
    """Until `condition()`; how many seconds that took. `what` was expected, or says it."""
    begin_s = time.monotonic()
    while not condition():
        if time.monotonic() - begin_s > timeout_s:
            text = what() if callable(what) else what
            raise AssertionError("not within {} s: {}".format(timeout_s, text))
        time.sleep(LOOK_S)
    return time.monotonic() - begin_s


def free_port_pairs(count):
    """So many ports below the ephemeral ones; each of them and the next one are free."""
    rng = random.Random()
    found = []
    while len(found) < count:
        port = rng.randrange(10000, 31000, 2)
        if port not in found and _is_free(port) and _is_free(port + 1):
            found.append(port)
    return found


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def left_overs():
    """(threads of Python, threads of the process, open descriptors) of this process."""
    return (
        set(threading.enumerate()),
        len(os.listdir("/proc/self/task")),
        set(os.listdir("/proc/self/fd")),
    )


def nothing_is_left_since(before):
    """No more threads and descriptors than there were, give them a moment; and no children."""

    def is_clean():
        gc.collect()
        threads, tasks, descriptors = left_overs()
        return threads <= before[0] and tasks <= before[1] and len(descriptors) <= len(before[2])

    wait_for(is_clean, 5.0, lambda: "clean; before {}, after {}".format(before, left_overs()))


def _read(path):
    with open(path, "r", errors="replace") as file:
        return file.read()
