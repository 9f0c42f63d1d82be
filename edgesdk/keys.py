"""`python -m edgesdk.keys CLUSTER.toml`: the keys by which a cluster's workers know each other.

One more pair, `observer`, is for who may look at the workers (`edgesdk.top`) and nothing else.

What is there is kept, so run it again whenever a worker is added to the file, always on the same
machine. Where only a public key is, the secret one is taken to be on the worker's own machine.
"""

import argparse
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from . import cli
from .cluster import OBSERVER, Cluster, read_cluster
from .errors import BackendUnavailable, ConfigError
from .key_files import (
    has_public,
    has_secret,
    public_path,
    read_public,
    read_secret,
    secret_path,
    write_pair,
    write_public,
)

EXAMPLE = """python -m edgesdk.keys robots.toml
  python -m edgesdk.keys robots.toml --renew robot-1"""

MADE, KEPT, RENEWED = "made", "kept", "renewed"
ELSEWHERE = "kept, secret elsewhere"
COMPLETED = "kept, public written again"


class Pair(NamedTuple):
    """The keys of one worker after the command: its name, the public key, what was done."""

    name: str
    public: str
    state: str


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, make what is missing, return the exit status."""
    parser = cli.parser("keys", __doc__, EXAMPLE)
    parser.add_argument("cluster", metavar="CLUSTER.toml", help="the file that names the workers")
    parser.add_argument("names", nargs="*", metavar="NAME", help="these workers only")
    parser.add_argument(
        "--renew", action="append", default=[], metavar="NAME", help="replace the keys of this one"
    )
    return cli.run(_keys, parser.parse_args(argv))


def _keys(arguments: argparse.Namespace) -> int:
    cli.banner(as_json=arguments.json)
    cluster = read_cluster(arguments.cluster)
    pairs = make_keys(cluster, arguments.names, arguments.renew)
    for line in _report(cluster, pairs):
        cli.say(line, arguments.json)
    if arguments.json:
        cli.print_json(_json(cluster, pairs))
    return 0


# --- making ---------------------------------------------------------------------------------------


def make_keys(cluster: Cluster, names: Sequence[str] = (), renew: Sequence[str] = ()) -> List[Pair]:
    """Make the pairs of keys that are missing, of the workers `names` or of all and `observer`, and
    new ones for those in `renew`.

    Raises ConfigError for a name that the file lacks and for keys that do not belong together,
    BackendUnavailable without CURVE.
    """
    for name in list(names) + list(renew):
        if name != OBSERVER:
            cluster.worker(name)  # or an error that lists the names there are
    everybody = [entry.name for entry in cluster.workers] + [OBSERVER]
    chosen = [name for name in everybody if not names or name in names or name in renew]
    return [_pair(cluster.security.keys, name, name in renew) for name in chosen]


def _pair(folder: str, name: str, renew: bool) -> Pair:
    """What there is, or a new pair."""
    if renew or not (has_public(folder, name) or has_secret(folder, name)):
        public, secret = _new_pair()
        write_pair(folder, name, public, secret, overwrite=renew)
        return Pair(name, public, RENEWED if renew else MADE)
    if not has_secret(folder, name):
        return Pair(name, read_public(folder, name), ELSEWHERE)
    public = _public_of(read_secret(folder, name))
    if not has_public(folder, name):
        write_public(folder, name, public)
        return Pair(name, public, COMPLETED)
    if read_public(folder, name) != public:
        raise ConfigError(
            "{}: does not belong to {}; expected one pair. If the secret one is right, remove the "
            "public one and run this again; otherwise say --renew {}".format(
                public_path(folder, name), secret_path(folder, name), name
            )
        )
    return Pair(name, public, KEPT)


def _new_pair() -> Sequence[str]:
    return [key.decode("ascii") for key in _curve().curve_keypair()]


def _public_of(secret: str) -> str:
    public: str = _curve().curve_public(secret.encode("ascii")).decode("ascii")
    return public


def _curve() -> Any:
    """pyzmq, which is known to have CURVE."""
    try:
        import zmq
    except ImportError as error:
        raise BackendUnavailable(
            "keys are made by pyzmq, which cannot be imported ({}); install it with: "
            "pip install pyzmq".format(error)
        ) from None
    if not zmq.has("curve"):
        raise BackendUnavailable(
            "found libzmq {} without CURVE, expected one with it; pyzmq's wheels bring one: "
            "pip install --force-reinstall --only-binary pyzmq pyzmq".format(zmq.zmq_version())
        )
    return zmq


# --- telling --------------------------------------------------------------------------------------


def _report(cluster: Cluster, pairs: Sequence[Pair]) -> List[str]:
    """What was done, and what a person does now."""
    lines = cli.table(["worker", "keys"], [[pair.name, pair.state] for pair in pairs])
    lines += [
        "",
        "In {}. Copy to each machine, into the folder of the same name:".format(
            cluster.security.keys
        ),
    ]
    lines += [
        "  its own NAME.secret, mode 0600, and nobody else's",
        "  (observer.secret only where somebody looks at the cluster with edgesdk.top)",
        "  every *.public",
        "and the cluster file {}.".format(cluster.path),
    ]
    renewed = [pair.name for pair in pairs if pair.state == RENEWED]
    if renewed:
        lines.append(
            "Until every machine has the new {}, that worker is a stranger there.".format(
                ", ".join(name + ".public" for name in renewed)
            )
        )
    lines.append(
        "Run this again, here, when the file has a new worker: it keeps the keys that are there."
    )
    if cluster.security.insecure:
        lines.append("security.insecure is true in the file: workers will not use these keys.")
    return lines


def _json(cluster: Cluster, pairs: Sequence[Pair]) -> Dict[str, Any]:
    return {"keys": cluster.security.keys, "workers": [pair._asdict() for pair in pairs]}


if __name__ == "__main__":
    sys.exit(main())
