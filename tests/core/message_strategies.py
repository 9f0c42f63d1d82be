"""Hypothesis strategies for every message, envelope and tensor that may be sent.

Floats are float32 values, for these travel. NaN is `events.NAN`, so that equal messages compare
equal.
"""

from hypothesis import strategies as st

from edgesdk.core.events import NAN, Answer, Scores
from edgesdk.core.messages import (
    HOPS_MAX,
    ITEMS_MAX,
    STAGES_MAX,
    TEXT_MAX,
    WINDOW,
    Ack,
    Assign,
    Assigned,
    Bye,
    CancelTask,
    Envelope,
    Greeting,
    Hello,
    ItemId,
    Load,
    Progress,
    Reject,
    ResultMessage,
    Task,
    Welcome,
    clipped,
)
from edgesdk.core.tensor import BODY_ITEM_BYTES, CODEC_KNOWS, CODECS, Tensor
from edgesdk.core.wire_format import REASONS


def unsigned(bits):
    """Whole numbers of so many bits; the ends often."""
    top = 2**bits - 1
    return st.one_of(st.integers(0, top), st.sampled_from([0, 1, top]))


u16, u32, u64 = unsigned(16), unsigned(32), unsigned(64)
i32 = st.integers(-(2**31), 2**31 - 1)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
hops = st.integers(0, HOPS_MAX)
booleans = st.booleans()
# Surrogates have no UTF-8; `clipped` keeps long texts in their limit.
texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=TEXT_MAX).map(clipped)
ids = st.binary(min_size=16, max_size=16)
items = st.builds(ItemId, source=u64, epoch=u32, number=u64)

codecs = st.sets(st.sampled_from(sorted(CODECS))).map(
    lambda found: tuple(name for name in CODECS if name in found | {"raw"})
)
greetings = st.builds(
    Greeting,
    worker=u64,
    epoch=u32,
    model_id=ids,
    plan_id=ids,
    stages=st.lists(st.tuples(u16, u16), max_size=STAGES_MAX).map(tuple),
    version=u16,
    codecs=codecs,
)
hellos = st.builds(Hello, greetings)
welcomes = st.builds(Welcome, greetings)
rejects = st.builds(Reject, texts)
byes = st.builds(Bye, booleans)
loads = st.builds(Load, u64, u32, u64, u64, u64, u64, u64, booleans)


@st.composite
def settled(draw):
    """(seq, oldest) of a message that is settled."""
    oldest = draw(st.one_of(st.integers(1, 2**64 - 1), st.just(1), st.just(2**64 - 1)))
    return min(oldest + draw(st.integers(0, WINDOW - 1)), 2**64 - 1), oldest


def _task(numbers, *rest):
    return Task(*(numbers + rest))


def _result(numbers, *rest):
    result = ResultMessage(*(numbers + rest))
    return result if result.answer is None else result._replace(detail="")


thresholds = st.one_of(floats, st.just(NAN))
states = st.tuples(i32, i32)
tasks = st.builds(_task, settled(), items, u16, u16, u32, hops, u64, thresholds, states)


@st.composite
def acks(draw):
    """No number has both verdicts, and the newest is not beyond the bitmaps."""
    base = draw(st.integers(1, 2**64 - 1))
    accepted = draw(u64)
    refused = draw(u64) & ~accepted
    newest = draw(st.integers(0, min(base + WINDOW - 1, 2**64 - 1)))
    return Ack(
        base, accepted, refused, newest, draw(u64), draw(u64), draw(u32), draw(u64), draw(u64)
    )


scores = st.builds(
    Scores,
    u32,
    floats,
    floats,
    floats,
    st.one_of(floats, st.sampled_from([NAN, float("inf")])),
    st.one_of(floats, st.just(NAN)),
)
features = st.binary(max_size=300)
answers = st.one_of(st.none(), st.builds(Answer, u16, scores, features))
reasons = st.sampled_from(REASONS)
results = st.builds(_result, settled(), items, u16, u32, hops, reasons, answers, texts, u64)
progress_items = st.lists(st.tuples(u64, u16), max_size=ITEMS_MAX).map(tuple)
progresses = st.builds(Progress, u64, u32, hops, u64, progress_items)
cancels = st.builds(CancelTask, items)
numbers = st.one_of(st.integers(1, 2**64 - 1), st.just(1))
places = st.sets(st.tuples(u16, u16), max_size=STAGES_MAX).map(lambda each: tuple(sorted(each)))
assigns = st.builds(Assign, numbers, places)
assigneds = st.builds(Assigned, numbers, places)

# Messages that travel alone; a Task needs a tensor.
plain_messages = st.one_of(
    hellos,
    welcomes,
    rejects,
    byes,
    loads,
    acks(),
    results,
    progresses,
    cancels,
    assigns,
    assigneds,
)


@st.composite
def envelopes(draw, messages=plain_messages):
    """Sessions are any, but a Hello knows no receiver."""
    message = draw(messages)
    to_session = 0 if isinstance(message, Hello) else draw(u32)
    return Envelope(draw(u32), to_session, message)


@st.composite
def tensors(draw):
    """Small ones, of every form."""
    dtype, codec = draw(st.sampled_from(sorted(BODY_ITEM_BYTES)))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    body_bytes = BODY_ITEM_BYTES[dtype, codec]
    if body_bytes == CODEC_KNOWS:
        body_bytes = draw(st.integers(1, 64))
    else:
        for axis in shape:
            body_bytes *= axis
    body = draw(st.binary(min_size=1, max_size=1)) * body_bytes
    scale = offset = None
    if codec in ("uint8", "learned"):
        scale, offset = draw(floats.map(abs)), draw(floats)
    values = draw(st.one_of(st.none(), st.integers(1, 16)))
    auxiliary = (
        None if values is None else draw(st.binary(min_size=4 * values, max_size=4 * values))
    )
    return Tensor(dtype, shape, codec, body, scale, offset, auxiliary)
