"""Cluster files: a TOML file, the same on every machine, that names a fleet's workers.

docs/cluster.md describes every key. A key that is not known is refused with its path and the
nearest one that is; file names are relative to the cluster file. Nothing is opened here but the
file itself, and public keys when they are asked for.
"""

import difflib
import json
import os
import re
from hashlib import blake2b
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from .addresses import Address, default_bind, free_port_pairs, parse_address, parse_bind
from .algorithms import read_admission, read_offloading, read_replanning
from .core.admission import Admission
from .core.offload import Offloading
from .core.replanning import Replanning
from .core.tensor import CODECS
from .document import read_document
from .errors import ConfigError
from .key_files import has_public, read_public
from .schema import Field

AUTO = "auto"
OBSERVER = "observer"  # whose keys `edgesdk.top` uses
DEFAULT_KEYS = "keys"
# Names are those of key files too.
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# No more than that: it goes into the command lines of ssh and rsync.
_SSH = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:]+\])")
_ID_BYTES = 8
_PORT_MAX = 65535

TOP_KEYS = ["bundle", "plan", "policy", "codec", "lossy", "security", "worker"]
TOP_KEYS += ["offloading", "admission", "placement", "replanning"]
SECURITY_KEYS = ["keys", "insecure"]
WORKER_KEYS = ["name", "address", "bind", "neighbours", "stages", "threads", "max_batch", "cpus"]
WORKER_KEYS += ["parts", "ssh", "folder", "metrics_port"]


class WorkerEntry(NamedTuple):
    """One worker of the file. `neighbours`: names of those that it may send tasks to. `stages`:
    those it holds, and `parts`: of which parts of an ensemble; None for all. `threads` compute, on
    processors `cpus` (None: any). `bind`: where it listens if that is not `address`. `ssh`,
    `folder`: where bundles are delivered, as HOST or USER@HOST and the folder of the cluster file
    there; None for the defaults. `max_batch`: images computed together, None for what suits the
    backend. `metrics_port`: where Prometheus may ask; None: it may not. `may_hold`: the `stages` of
    the file, where a placement file has others; None for all."""

    name: str
    address: str
    neighbours: Tuple[str, ...] = ()
    stages: Optional[Tuple[int, ...]] = None
    threads: int = 1
    max_batch: Optional[int] = None
    cpus: Optional[Tuple[int, ...]] = None
    bind: Optional[str] = None
    parts: Optional[Tuple[int, ...]] = None
    metrics_port: Optional[int] = None
    ssh: Optional[str] = None
    folder: Optional[str] = None
    may_hold: Optional[Tuple[int, ...]] = None

    @property
    def worker_id(self) -> int:
        """What the wire calls this worker: u64 made of its name, never 0."""
        return id_of(self.name)

    @property
    def host(self) -> str:
        """The host of `address`: a name, an IPv4 address or an [IPv6 address]."""
        return parse_address(self.address).host

    @property
    def control_address(self) -> str:
        """Where neighbours connect for everything but features."""
        return parse_address(self.address).control

    @property
    def data_address(self) -> str:
        """Where neighbours connect to send features: the next port."""
        return parse_address(self.address).data

    @property
    def bind_address(self) -> str:
        """Where the control lane listens: IP addresses only."""
        return self._bind.control

    @property
    def bind_data_address(self) -> str:
        """Where the data lane listens: the port behind that of `bind_address`."""
        return self._bind.data

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on its own machine can reach this worker."""
        return parse_address(self.address).is_loopback and self._bind.is_loopback

    @property
    def _bind(self) -> Address:
        return parse_bind(self.bind) if self.bind else default_bind(parse_address(self.address))


class Neighbour(NamedTuple):
    """Another worker, from one worker's place. `offload`: tasks may be sent to it; otherwise it
    may send some here."""

    entry: WorkerEntry
    offload: bool


class Security(NamedTuple):
    """`keys`: the folder of key files. `insecure`: neither encrypted nor told apart."""

    keys: str
    insecure: bool = False


class Cluster(NamedTuple):
    """A cluster file. `plan`, `policy`: names in the bundle, None for its defaults. `codec`: one of
    `core.tensor.CODECS` or "auto"; `lossy`: "auto" may choose a form that loses precision.
    `placement`: the file that says who holds which stages (`edgesdk.placement_file`), or None;
    `replanning`: when they move to others, None for never."""

    path: str
    bundle: str
    plan: Optional[str]
    policy: Optional[str]
    codec: str
    lossy: bool
    security: Security
    workers: Tuple[WorkerEntry, ...]
    offloading: Offloading = Offloading()
    admission: Admission = Admission()
    placement: Optional[str] = None
    replanning: Optional[Replanning] = None

    def worker(self, name: str) -> WorkerEntry:
        """The worker `name`. Raises ConfigError that lists the names there are."""
        for entry in self.workers:
            if entry.name == name:
                return entry
        names = [entry.name for entry in self.workers]
        near = difflib.get_close_matches(name, names, 1)
        raise ConfigError(
            "{}: worker: found no {!r}; {}expected one of {}".format(
                self.path,
                name,
                "did you mean {}? ".format(near[0]) if near else "",
                ", ".join(names),
            )
        )

    def neighbours(self, name: str) -> List[Neighbour]:
        """Whom `name` may send tasks to and who may send it some, in the order of the file."""
        own = self.worker(name)
        return [
            Neighbour(entry, entry.name in own.neighbours)
            for entry in self.workers
            if entry.name in own.neighbours or name in entry.neighbours
        ]

    def public_keys(self) -> Dict[str, str]:
        """The CURVE key (Z85) of each worker, by name, from the key files.

        Raises ConfigError for one that is missing or malformed, or that two workers share: a key
        tells who is at the other end.
        """
        keys: Dict[str, str] = {}
        for entry in self.workers:
            key = read_public(self.security.keys, entry.name)
            same = [name for name, other in keys.items() if other == key]
            if same:
                raise ConfigError(
                    "{}: {} and {} have the same public key, expected one of its own for each; "
                    "`python -m edgesdk.keys {} --renew {}` makes a new one".format(
                        self.security.keys, same[0], entry.name, self.path, entry.name
                    )
                )
            keys[entry.name] = key
        return keys

    def observer_key(self) -> Optional[str]:
        """The public key of those who may look and nothing else, or None where there is none.
        Raises ConfigError for one that is malformed."""
        if not has_public(self.security.keys, OBSERVER):
            return None
        return read_public(self.security.keys, OBSERVER)


def id_of(name: str) -> int:
    """The u64 that stands for a worker of that name on the wire: the first 8 bytes of a BLAKE2b
    hash, little endian; 0, which means nobody, becomes 1."""
    digest = blake2b(name.encode("utf-8"), digest_size=_ID_BYTES).digest()
    return int.from_bytes(digest, "little") or 1


def check_exposure(cluster: Cluster, name: str, insecure_network: bool) -> None:
    """Refuse to speak in the clear with other machines, unless `insecure_network` allows it.

    Raises ConfigError that names a worker that others can reach, and what to do.
    """
    if not cluster.security.insecure or insecure_network:
        return
    own = cluster.worker(name)
    for entry in [own] + [neighbour.entry for neighbour in cluster.neighbours(name)]:
        if not entry.is_loopback:
            raise ConfigError(
                "{path}: security.insecure: found true, but {name} is at {address} and listens at "
                "{bind}, where others can read and send; expected only 127.0.0.1 and the like. "
                "Make keys with `python -m edgesdk.keys {path}` and remove the line, or, in a "
                "network where you trust everybody, say --insecure-network".format(
                    path=cluster.path,
                    name=entry.name,
                    address=entry.control_address,
                    bind=entry.bind_address,
                )
            )


def local_cluster_text(
    bundle: str, workers: Mapping[str, Sequence[str]], head: Sequence[str] = ()
) -> str:
    """The text of a cluster file for trials, on free ports of this machine.

    `bundle`: a folder. `workers`: by name, further lines of TOML for each. `head`: lines before
    them. Raises TransportError if there are no free ports.
    """
    lines = ["bundle = " + json.dumps(os.path.abspath(bundle), ensure_ascii=False)]  # as TOML does
    lines += head
    for name, port in zip(workers, free_port_pairs(len(workers))):
        lines += ["", "[[worker]]", "name = " + json.dumps(name)]
        lines += ['address = "tcp://127.0.0.1:{}"'.format(port)] + list(workers[name])
    return "\n".join(lines + [""])


# --- reading --------------------------------------------------------------------------------------


def read_cluster(path: Union[str, "os.PathLike[str]"]) -> Cluster:
    """The cluster in the TOML file `path`.

    Raises ConfigError that begins with the file and the path of the key.
    """
    path = os.fspath(path)
    document = read_document(path, "a cluster file, such as examples/robots.toml")
    try:
        return _cluster(Field(document, "", ConfigError).only(TOP_KEYS), path)
    except ConfigError as error:
        raise ConfigError("{}: {}".format(path, error)) from None


def _cluster(root: Field, path: str) -> Cluster:
    folder = os.path.dirname(path)
    plan, policy = root.optional("plan"), root.optional("policy")
    codec, lossy = root.optional("codec"), root.optional("lossy")
    placement = root.optional("placement")
    codec_name = AUTO if codec is None else codec.choice((AUTO,) + tuple(CODECS))
    if lossy is not None and lossy.flag() and codec_name != AUTO:
        raise lossy.fail('no codec but "auto" beside it, which is the one that chooses')
    workers = _workers(root.get("worker"))
    return Cluster(
        path=path,
        bundle=os.path.join(folder, root.get("bundle").text()),
        plan=None if plan is None else plan.text(),
        policy=None if policy is None else policy.text(),
        codec=codec_name,
        lossy=lossy is not None and lossy.flag(),
        security=_security(root.optional("security"), folder),
        workers=workers,
        offloading=read_offloading(root.optional("offloading")),
        admission=read_admission(root.optional("admission")),
        placement=None if placement is None else os.path.join(folder, placement.text()),
        replanning=_replanning(root, workers),
    )


def _replanning(root: Field, workers: Sequence[WorkerEntry]) -> Optional[Replanning]:
    field = root.optional("replanning")
    if field is not None and root.optional("placement") is None:
        raise field.fail("placement = FILE beside it, from which stages move")
    return read_replanning(field, {entry.name: entry.worker_id for entry in workers})


def _security(field: Optional[Field], folder: str) -> Security:
    if field is None:
        return Security(os.path.join(folder, DEFAULT_KEYS))
    keys, insecure = field.only(SECURITY_KEYS).optional("keys"), field.optional("insecure")
    return Security(
        os.path.join(folder, DEFAULT_KEYS if keys is None else keys.text()),
        insecure is not None and insecure.flag(),
    )


def _workers(field: Field) -> Tuple[WorkerEntry, ...]:
    fields = [item.only(WORKER_KEYS) for item in field.items(1)]
    names = [_name(item.get("name")) for item in fields]
    workers = tuple(_worker(item, names) for item in fields)
    _check_distinct(fields, workers)
    return workers


def _name(field: Field) -> str:
    if not _NAME.fullmatch(field.text()):
        raise field.fail("up to 64 letters, digits, and _ . - behind the first")
    if field.value == OBSERVER:
        raise field.fail("another name: {} are those who only look".format(OBSERVER))
    return str(field.value)


def _worker(field: Field, names: Sequence[str]) -> WorkerEntry:
    name, bind = str(field.get("name").value), field.optional("bind")
    stages, threads = field.optional("stages"), field.optional("threads")
    max_batch, cpus = field.optional("max_batch"), field.optional("cpus")
    parts = field.optional("parts")
    ssh, folder = field.optional("ssh"), field.optional("folder")
    metrics_port = field.optional("metrics_port")
    return WorkerEntry(
        name=name,
        address=_address(field.get("address"), parse_address),
        neighbours=_neighbours(field.optional("neighbours"), name, names),
        stages=None if stages is None else stages.rising(),
        threads=1 if threads is None else threads.whole(1),
        max_batch=None if max_batch is None else max_batch.whole(1),
        cpus=None if cpus is None else cpus.rising(1),
        parts=None if parts is None else parts.rising(),
        bind=None if bind is None else _address(bind, parse_bind),
        ssh=None if ssh is None else _ssh(ssh),
        folder=None if folder is None else _folder(folder),
        metrics_port=None if metrics_port is None else _port(metrics_port),
    )


def _address(field: Field, parse: Callable[[str], Address]) -> str:
    text = field.text()
    try:
        return parse(text).control
    except ValueError as error:
        raise field.fail(str(error)) from None


def _ssh(field: Field) -> str:
    if not _SSH.fullmatch(field.text()):
        raise field.fail(
            'a HOST or USER@HOST, such as "nano@192.168.1.11"; ports, keys and jump hosts go '
            "into ~/.ssh/config"
        )
    return str(field.value)


def _folder(field: Field) -> str:
    if not field.text().isprintable():
        raise field.fail("the path of a folder, without line ends and the like")
    return str(field.value)


def _port(field: Field) -> int:
    if field.whole() > _PORT_MAX:
        raise field.fail("a port, or 0 for a free one")
    return int(field.value)


def _neighbours(field: Optional[Field], own: str, names: Sequence[str]) -> Tuple[str, ...]:
    others = [name for name in names if name != own]
    if field is None:
        return tuple(others)
    for index, item in enumerate(field.items()):
        if item.text() == own:
            raise item.fail("another worker than itself")
        if not others:
            raise item.fail("no name, for this file has no other worker")
        if item.choice(others) in field.value[:index]:
            raise item.fail("each name once")
    return tuple(field.value)


def _check_distinct(fields: Sequence[Field], workers: Sequence[WorkerEntry]) -> None:
    """No two workers have a name, the hash of one, or a port in common."""
    owners: Dict[Any, int] = {}
    for index, (field, worker) in enumerate(zip(fields, workers)):
        claims = [
            (worker.name, "name", "another name than that of {}"),
            (worker.worker_id, "name", "a name with another hash than that of {}; add a letter"),
        ]
        for lane in parse_address(worker.address).lanes:
            expected = "another address; {{}} takes port {} of this host".format(lane[1])
            claims.append((lane, "address", expected))
        if worker.metrics_port:
            lane = (parse_address(worker.address).lanes[0][0], worker.metrics_port)
            claims.append((lane, "metrics_port", "another port; {} takes it on this host"))
        for claim, key, expected in claims:
            owner = owners.setdefault(claim, index)
            if owner != index:
                place = "worker[{}] ({})".format(owner, workers[owner].name)
                raise field.get(key).fail(expected.format(place))
