"""`Pipeline`: open a bundle, hand in images, get one outcome for each."""

import os
import time
import weakref
from concurrent.futures import Future
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Union

from . import kernels
from .backends import Backend
from .bundle import Bundle
from .choices import check_count, deadline_us_of, wants_best
from .core.exits import ExitPolicy
from .core.spec import Plan
from .errors import ConfigError, Overloaded
from .kernels.selection import say_once_if_slow
from .opening import Place, choose, opened_backend
from .preprocess import Preprocessor
from .results import AnyOutcome, Result
from .runtime.alone import NAME, alone
from .runtime.clock import now_us
from .runtime.executor import Executor
from .runtime.fleet_loop import FleetLoop
from .runtime.intake import Intake
from .runtime.ledger import Batch, ItemFuture, Ledger, Recorder
from .runtime.loop import CLOSE_TIMEOUT_S, Loop
from .runtime.member import Membership, held_stages, join
from .streams import failed_future, refused, windowed
from .telemetry.board import Board
from .telemetry.serving import serve_metrics
from .telemetry.status import Answering, stats_of

# Enough to fill a few batches; a queue that is longer only adds latency.
DEFAULT_IN_FLIGHT_MAX = 256
LOOK_S = 0.01  # between two looks at the neighbours


class Pipeline:
    """A multi-exit network that answers each image at the first exit good enough for it.

    Use `Pipeline.open`; close it, or use it in a `with` block. All methods may be called from any
    thread, not from a process forked after opening. `held`: its (part, stage) pairs; None: all.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan: Plan,
        policy: ExitPolicy,
        backend: Backend,
        preprocessor: Preprocessor,
        max_batch: Optional[int] = None,
        in_flight_max: int = DEFAULT_IN_FLIGHT_MAX,
        logits: bool = False,
        seed: int = 0,
        membership: Optional[Membership] = None,
        timeline: Optional[str] = None,
    ) -> None:
        self.bundle = bundle
        self.plan = plan
        self.policy = policy
        self.backend = backend
        self.name = NAME if membership is None else membership.name
        self._is_refusing = False
        plans = [part.plans[plan.name] for part in bundle.manifest.parts]
        self.held = None if membership is None else held_stages(membership, plans)
        self._executor = Executor(bundle, plan.name, backend, policy.needs, logits, self.held)
        if max_batch is not None:
            max_batch = min(max_batch, in_flight_max)
        max_batch = min(self._executor.max_batch(max_batch), in_flight_max)
        self._max_batch = max_batch
        self._ledger = Ledger(in_flight_max)
        names = {0: self.name} if membership is None else membership.names
        self._recorder = Recorder(self._ledger, self._executor, bundle.manifest.labels, names)
        self._membership = membership
        self._board = Board()
        self._opened_us = now_us()  # from the first turn of the loop on somebody may ask
        if membership is None:
            self._loop, self._metrics = alone(
                bundle.manifest.exit_count,
                plans,
                policy,
                self._executor,
                self._recorder,
                max_batch,
                seed,
                timeline,
            )
        else:
            self._loop, self._metrics = join(
                membership._replace(timeline=timeline),
                bundle,
                plans,
                policy,
                self._executor,
                self._recorder,
                max_batch,
                seed,
            )
            self._loop.network.transport.answering = Answering(stats_of(weakref.ref(self)))
            self._loop.start()  # neighbours want to hear from us, whatever the application does
        self._intake = Intake(preprocessor, self._executor, self._ledger, self._loop)
        self._process_id = os.getpid()
        self._finalizer = weakref.finalize(self, _close, self._loop, backend, self._process_id)
        self.metrics_port: Optional[int] = None
        self._close_metrics: Callable[[], Any] = lambda: None

    @classmethod
    def open(
        cls,
        bundle: Union[str, "os.PathLike[str]", None] = None,
        policy: Union[str, ExitPolicy, None] = None,
        backend: Optional[str] = None,
        plan: Optional[str] = None,
        color: str = "rgb",
        resize: Optional[str] = None,
        threads: Optional[int] = None,
        max_batch: Optional[int] = None,
        in_flight_max: int = DEFAULT_IN_FLIGHT_MAX,
        logits: bool = False,
        seed: int = 0,
        cluster: Union[str, "os.PathLike[str]", None] = None,
        name: Optional[str] = None,
        admission: Optional[str] = None,
        pace: Union[str, "os.PathLike[str]", None] = None,
        trace: Optional[str] = None,
        insecure_network: bool = False,
        timeline: Optional[str] = None,
        metrics_port: Optional[int] = None,
        metrics_host: str = "127.0.0.1",
    ) -> "Pipeline":
        """Open the bundle in folder `bundle`, alone or as a worker of a cluster.

        `policy`: a name from the manifest, "final" for the full network, or an `ExitPolicy`;
        by default the manifest's. `backend`: "tensorrt", "onnxruntime" or "torch"; by default the
        best one present. `plan`: how segments are grouped into stages; by default what the policy
        was calibrated for. `color`: channel order of uint8 frames, "rgb" or "bgr". `resize`:
        "refuse", "area" or "bilinear", overriding the manifest. `threads`: compute threads (1).
        `max_batch`: images computed together (32, or what engines were built for).
        `in_flight_max`: images held at once. `logits`: results carry them, where the last exit was
        evaluated here. `seed`: for policies that draw.
        `timeline`: a new file in which what happens is drawn, for Perfetto (docs/timeline.md).
        `metrics_port`: where Prometheus may ask (docs/metrics.md), 0: at a free port, which the
        attribute of that name says. `metrics_host`: on which address; nobody is asked who they are.

        `cluster`: a cluster file (docs/cluster.md), which also gives what is left out above;
        `name`: this worker's in it. Images are then computed here and by neighbours, which may
        come and go; and theirs are computed here. `admission`: "none", "rate" or "threshold"
        instead of the file's. `pace`: a profile; stages take as long as on that device. `trace`: a
        new file for everything the core is told. `insecure_network` accepts links that are neither
        encrypted nor authenticated beyond this machine.

        Raises BundleError, ConfigError, BackendUnavailable, EngineError, and TransportError for an
        address that cannot be bound.
        """
        say_once_if_slow(kernels.native_failure)
        chosen = choose(
            bundle,
            policy,
            plan,
            threads,
            max_batch,
            Place(cluster, name, admission, pace, trace, insecure_network),
        )
        check_count("in_flight_max", in_flight_max)
        with opened_backend(chosen, backend) as opened:
            pipe = cls(
                chosen.bundle,
                chosen.plan,
                chosen.policy,
                opened,
                Preprocessor(chosen.bundle.manifest.preprocessing, color, resize),
                max_batch=chosen.max_batch,
                in_flight_max=in_flight_max,
                logits=logits,
                seed=seed,
                membership=chosen.membership,
                timeline=timeline,
            )
        port = chosen.metrics_port if metrics_port is None else metrics_port
        if port is not None:
            pipe.metrics_port, pipe._close_metrics = serve_metrics(pipe, port, metrics_host)
        return pipe

    def infer(
        self, images: Any, deadline_ms: Optional[float] = None
    ) -> Union[Result, List[AnyOutcome]]:
        """Answer one image, or a batch: every image leaves at its own exit.

        `images`: uint8 [H,W,3] or [H,W], or float32 [C,H,W] in the model's layout; with a leading
        axis or as a list of such, a batch. One image gives a `Result`, or raises Expired or
        Failed; a batch gives a list of outcomes in order (`outcome.ok` tells). The deadline counts
        from this call. Raises ConfigError for an image that the model cannot take.
        """
        self._check_usable()
        frames, single = self._intake.frames(images)
        batch = Batch()
        deadline_us = deadline_us_of(deadline_ms, now_us())
        chunks = [frames[i : i + self._max_batch] for i in range(0, len(frames), self._max_batch)]
        for chunk in chunks:
            self._ledger.reserve(len(chunk))
            batch.expected_count += len(chunk)
            self._intake.submit(chunk, [None] * len(chunk), batch, deadline_us, will_drive=True)
            self._intake.drive(batch)
        outcomes = batch.outcomes()
        return _raise_unless_ok(outcomes[0]) if single else outcomes

    def submit(
        self,
        image: Any,
        tag: Any = None,
        deadline_ms: Optional[float] = None,
        on_deadline: str = "expire",
        block: bool = True,
        latest: bool = False,
    ) -> "Future[Result]":
        """Hand in one image and return at once with a future.

        `tag` comes back in the outcome. At the deadline, `on_deadline="best"` answers with the
        latest exit passed, "expire" does not. `block` waits while `in_flight_max` images are held;
        otherwise that raises Overloaded. `latest` expires the images that still wait: only the
        newest counts. `future.result()` gives a `Result` or raises Expired or Failed.
        """
        self._check_usable()
        best, deadline_us = wants_best(on_deadline), deadline_us_of(deadline_ms, now_us())
        frames = self._intake.one_frame(image)
        if not self._ledger.reserve(1, block):
            raise Overloaded(
                "{} images are in flight, the most this pipeline holds; wait (block=True), drop "
                "this one, or open with a larger in_flight_max".format(self._ledger.open_count_max)
            )
        self._loop.start()
        future = ItemFuture(self._loop.post)
        items = self._intake.submit(frames, [tag], future, deadline_us, best, latest)
        future.item = items[0]
        return future

    def map(
        self,
        images: Iterable[Any],
        deadline_ms: Optional[float] = None,
        on_deadline: str = "best",
        in_flight: Optional[int] = None,
        ordered: bool = False,
    ) -> Iterator[AnyOutcome]:
        """Answer a stream of images, such as a camera: yields one outcome per image.

        `in_flight` images are computed at a time; 1 answers each before it takes the next, more
        form batches and leave as they finish, or in order with `ordered`. By default 1 alone, and
        in a cluster enough for every worker, or as many as admission "rate" lets in: it says when
        the next image is taken. The tag of an outcome is the image's index. An image that the model
        cannot take gives `Failed` with reason "refused"; the stream goes on. Deadlines as in
        `submit`, but "best" by default.
        """
        self._check_usable()
        wants_best(on_deadline)
        deadline_us_of(deadline_ms, now_us())
        is_paced = self._membership is not None and self._membership.admits_by_rate
        if in_flight is None:
            in_flight = 1 if self._membership is None else self._membership.window
            in_flight = self._ledger.open_count_max if is_paced else in_flight
        check_count("in_flight", in_flight)
        if is_paced:
            images = self._recorder.gate.paced(images, self._check_usable)
        if in_flight == 1:
            return self._map_one_by_one(images, deadline_ms, on_deadline)

        def submit(image: Any, index: int) -> "Future[Result]":
            try:
                return self.submit(image, index, deadline_ms, on_deadline)
            except ConfigError as error:
                self._check_usable()  # it may be the pipeline that is at fault, not the image
                return failed_future(refused(index, error))

        return windowed(submit, images, in_flight, ordered)

    def stats(self, buckets: bool = False) -> Dict[str, Any]:
        """Plain numbers since opening, for programs and people.

        worker, uptime_us, and what runs: model_id, plan, policy, backend, kernels.
        Items: admitted_count, in_flight_count, ended (by status and reason), exit_counts (per
        trained exit), dropped_answer_count, latency (count, mean_us, p50_us, p95_us, max_us; with
        `buckets` also total_us and buckets, (upper_us, count) each, 4 % apart).
        This worker: queue (waiting_count, leaving_count, running_count) and stages (part, stage,
        run_count, item_count, busy_us, held), and board (temperature_c by zone, power_w by rail,
        resident_bytes, cpu_us, gpu_free_bytes, gpu_total_bytes; what is known).
        In a cluster also counters, neighbours (state, load, counts, bytes, held), admission,
        transport and pace. docs/operations.md says what the counters mean.
        """
        stats = dict(
            worker=self.name,
            uptime_us=now_us() - self._opened_us,
            model_id=self.bundle.manifest.model_id,
            plan=self.plan.name,
            policy=self.policy.describe(),
            backend=self.backend.name,
            kernels=self.backend.kernels.implementation,
            **self._metrics.snapshot(buckets),
        )
        stats.update(self._loop.describe())
        stats["board"] = dict(self._board.read(), **self.backend.measured())
        if self._membership is not None:
            stats["admission"] = self._recorder.gate.describe()
        return stats

    def wait_until_up(self, *names: str, timeout: float = 10.0) -> bool:
        """Wait until the neighbours of these names, or all, take tasks; False after `timeout`
        seconds. Nothing needs it but programs that want to show help. Raises ConfigError for a name
        that is no neighbour's, and outside a cluster."""
        self._check_usable()
        known = {} if self._membership is None else self._loop.describe()["neighbours"]
        missing = [name for name in names if name not in known]
        if self._membership is None or missing:
            raise ConfigError(
                "wait_until_up: found {}, expected neighbours: {}".format(
                    missing or "no cluster", ", ".join(known) or "none"
                )
            )
        until_s = time.monotonic() + timeout
        while time.monotonic() < until_s:
            found = self._loop.describe()["neighbours"]
            if all(name in found and found[name]["state"] == "up" for name in names or known):
                return True
            time.sleep(LOOK_S)
        return False

    def serve(self, until: Callable[[], bool]) -> None:
        """Work for the neighbours in the calling thread until `until()` is true; it is asked at
        least ten times a second. Raises ConfigError outside a cluster."""
        self._check_usable()
        if not isinstance(self._loop, FleetLoop):
            raise ConfigError("serve: found no neighbours, expected a pipeline opened in a cluster")
        loop = self._loop
        loop.drive(lambda: until() or loop.closed_because is not None)

    def close(self, drain: bool = True, timeout: float = CLOSE_TIMEOUT_S) -> None:
        """Take no more images and stop. Idempotent; from any thread, callback or signal handler.

        With `drain`, wait up to `timeout` seconds: for the outcomes that are open, and, in a
        cluster, until the tasks of others have ended here and every neighbour knows. Without it, or
        for what is late, images get `Failed` with reason "closed", and neighbours start again what
        was here. Nothing is waited for where nothing can move on: inside a callback of a future or
        a signal handler that has interrupted the loop.
        """
        if os.getpid() != self._process_id:
            return
        self._is_refusing = True
        until_s = time.monotonic() + timeout
        if drain and not (self._loop.is_driving_here or self._loop.is_background_here):
            self._loop.start()
            self._ledger.wait_until_empty(timeout)
            if isinstance(self._loop, FleetLoop):
                self._loop.leave(max(0.0, until_s - time.monotonic()))
        self._finalizer.detach()
        _close(self._loop, self.backend, self._process_id, max(1.0, until_s - time.monotonic()))
        self._close_metrics()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, kind: Any, *exception: Any) -> None:
        self.close(drain=kind is None)

    def _map_one_by_one(
        self, images: Iterable[Any], deadline_ms: Optional[float], on_deadline: str
    ) -> Iterator[AnyOutcome]:
        best = wants_best(on_deadline)
        for index, image in enumerate(images):
            self._check_usable()
            deadline_us = deadline_us_of(deadline_ms, now_us())
            try:
                outcome = self._intake.answer(image, index, deadline_us, best)
            except ConfigError as error:
                outcome = refused(index, error)
            yield outcome

    def _check_usable(self) -> None:
        if self._is_refusing and self._loop.closed_because is None:
            raise ConfigError("the pipeline is being closed; open a new one")
        if self._loop.closed_because is not None:
            raise ConfigError("{}; open a new one".format(self._loop.closed_because))
        if os.getpid() != self._process_id:
            raise ConfigError(
                "this pipeline was opened in process {} and does not work in its fork {}; open one "
                "in each process".format(self._process_id, os.getpid())
            )


def _close(
    loop: Loop, backend: Backend, process_id: int, timeout_s: float = CLOSE_TIMEOUT_S
) -> None:
    if os.getpid() == process_id:  # a fork has neither the threads nor the right
        loop.close(timeout_s=timeout_s)
        backend.close()


def _raise_unless_ok(outcome: AnyOutcome) -> Result:
    if isinstance(outcome, Result):
        return outcome
    raise outcome
