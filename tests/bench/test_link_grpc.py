"""gRPC as contenders: every form of reply by unary calls and by streams, and what to install."""

import builtins

import pytest

from edgesdk.bench import link_grpc
from edgesdk.bench.link_contender import (
    ANSWER,
    ANSWER_REPLY,
    ECHO,
    ONE_WAY,
    SIZES,
    payload_of,
    reply_bytes,
)
from edgesdk.bench.link_grpc import GrpcStream, GrpcUnary
from edgesdk.errors import BackendUnavailable, TransportError


@pytest.fixture(params=[GrpcUnary, GrpcStream], ids=lambda kind: kind.name)
def contender(request):
    pytest.importorskip("grpc")
    one = request.param()
    one.start(None)
    yield one
    one.stop()


def test_the_payload_comes_back_or_an_answer_does(contender):
    for size in (SIZES[0], SIZES[3]):  # the last one is more than gRPC takes by default
        payload = payload_of(size)
        contender.fit(payload)
        assert reply_bytes(contender.round_trip(ECHO)) == payload.tobytes()
        assert reply_bytes(contender.round_trip(ANSWER)) == ANSWER_REPLY
        contender.check(payload)


def test_streams_of_any_length(contender):
    contender.fit(payload_of(SIZES[1]))
    for count, window in ((50, 4), (3, 16), (16, 16)):
        assert contender.stream(count, window, ANSWER) == count
    if ONE_WAY in contender.stream_forms:
        assert contender.stream(50, 4, ONE_WAY) == 50


def test_when_the_other_process_is_gone_that_is_said(contender):
    contender.fit(payload_of(SIZES[0]))
    contender.round_trip(ANSWER)
    contender.child._process.kill()
    contender.child._process.wait()
    with pytest.raises(TransportError, match="the other process ended with status -9"):
        contender.round_trip(ANSWER)


def test_without_grpc_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "grpc":
            raise ImportError("No module named 'grpc'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for kind in (GrpcUnary, GrpcStream):
        with pytest.raises(BackendUnavailable, match="make bench-deps, or pip install"):
            kind.require()
    with pytest.raises(BackendUnavailable):
        link_grpc.load_grpc()
