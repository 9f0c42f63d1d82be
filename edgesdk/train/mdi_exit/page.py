"""The page of results, as Markdown.

What was measured is said by the figures; what the words around them claim holds for any outcome.
"""

from typing import Optional

from . import tables
from .points import IN_TIME_US
from .results import NetworkResults, Results
from .statements import EQUAL_POINTS, EQUAL_SHARE, statements
from .sweeps import BEGIN_SHARE, IMAGES_MIN, Settings
from .topologies import LINK_DELAY_US, LINK_JITTER_US, SERVER_SPEED, THRESHOLD

CAPTIONS = {  # kind of a picture -> what it shows
    "fixed": "Accuracy against the rate that Algorithm 3 finds, a mark for each threshold",
    "poisson": "Accuracy against the rate of Poisson arrivals; hollow: answers came late",
    "channel": "Three nodes and five on one channel",
    "live": "Real processes as marks on simulated lines",
}
PAPER_FIGURES = {"mobilenetv2": (3, 5), "resnet50": (4, 6)}
PAPER_CODE = "3.2 MB to 13.3 KB"


def page(found: Results, command: str) -> str:
    """The whole page; `command` made it."""
    parts = [_introduction(found, command)]
    for network in found.networks:
        parts += [
            _network(network, found),
            _fixed(network, found),
            _poisson(network, found),
            _channel(network, found),
            _live(network, found),
        ]
    parts.append(_differences(found))
    return "\n\n".join(part for part in parts if part) + "\n"


def picture_name(kind: str, network: NetworkResults) -> str:
    """The file of a picture."""
    return f"{kind}-{network.name}.png"


def _picture(kind: str, network: NetworkResults) -> str:
    return f"![{network.name}: {CAPTIONS[kind]}]({picture_name(kind, network)})"


def _introduction(found: Results, command: str) -> str:
    settings = found.settings
    versions = ", ".join(f"{name} {value}" for name, value in found.versions.items())
    return f"""# MDI-Exit, measured again

This page was written by

```bash
{command}
```

with {versions}. What is simulated, what is not, and what the paper leaves open is told in
[MDI-Exit](../mdi-exit.md).

- **Answers** are real: what every exit says of every test image was recorded once; exits,
  accuracies and the bound follow from that.
- **Boards are declared, not measured**: {found.board_ms:g} ms for one image without early exits,
  the same for every network, shared among its stages as each section says.
- **Links** are one channel of {settings.wifi_mbit_s:g} Mbit/s, one message at a time whoever sends
  it, {LINK_DELAY_US / 1000:g} ms and on the average {LINK_JITTER_US / 1000:g} ms more each way.
  Features travel as float32, uncompressed. Nothing is lost to collisions.
- **Points** are of {settings.seconds:g} s of virtual time, or of {IMAGES_MIN} images if these take
  longer, the first quarter left out, and means over seeds {_listed(settings)}. Algorithm 3 begins
  at {BEGIN_SHARE:g} of the bound.
- **The bound** is min(1/t_0, N/m): the source begins every image itself, which takes it t_0, and N
  boards cannot do more than their full time in images that cost m on the average. It follows from
  the exits that were taken, and knows no links. "No EE" is the same cut network, exits off.
- **Baselines**: "Data-distributed, 5" are five boards that each hold the whole network and are sent
  images as float32; in "Full offload" a source that computes nothing sends images of
  {settings.image_bytes} bytes to a server as fast as {SERVER_SPEED:g} boards.
- **AE**: what travels behind the first exit is the code of an auto-encoder."""


def _listed(settings: Settings) -> str:
    """The seeds."""
    return ", ".join(str(settings.seed + index) for index in range(settings.seed_count))


def _network(network: NetworkResults, found: Results) -> str:
    board = network.board
    every = network.exits[-1].multiply_adds
    return f"""## {network.name}

{len(network.exits)} exits; accuracies are of the {network.test_count} test images of
`{network.data}`.
Stages share a board's {found.board_ms:g} ms by {board.origin}, so that it does
{every / board.whole_us / 1000:.2f} G multiply-adds per second; its first stage alone takes
{board.stage_us[0] / 1000:.2f} ms. {_code(network)}

{tables.exits(network)}"""


def _code(network: NetworkResults) -> str:
    code, feature = network.board.code, network.board.feature_bytes[1]
    if code is None:
        return (
            f"Behind the first exit {feature:,} bytes travel, which no auto-encoder makes smaller."
        )
    if code.is_trained:
        return (
            f"Its auto-encoder makes {code.byte_count:,} bytes of the {feature:,} behind the first "
            f"exit; encoding takes a board {code.encode_us / 1000:.2f} ms, decoding "
            f"{code.decode_us / 1000:.2f} ms. What that costs in accuracy is not in these curves"
            f"{_lost(code.lost_points)}."
        )
    return (
        f"The bundle has no auto-encoder: {code.byte_count:,} bytes instead of the {feature:,} "
        f"behind the first exit are a declared number (the paper: {PAPER_CODE}), and it takes no "
        "time and costs no accuracy here."
    )


def _lost(points: Optional[float]) -> str:
    return "" if points is None else f"; calibration measured {points:.2f} points"


def _figures(network: NetworkResults) -> tuple[str, str]:
    """What the paper calls them."""
    for name, (fixed, poisson) in PAPER_FIGURES.items():
        if network.name.startswith(name):
            return f"Fig. {fixed}", f"Fig. {poisson}"
    return "as Fig. 3", "as Fig. 5"


def _fixed(network: NetworkResults, found: Results) -> str:
    settings = found.settings
    return f"""### {network.name}, fixed threshold ({_figures(network)[0]})

Algorithm 3 finds the rate.

{_picture("fixed", network)}

Images answered per second / bound:

{tables.fixed(network, settings, tables.rate_and_bound)}

Accuracy:

{tables.fixed(network, settings, tables.accuracy)}

Of the channel's rate, used:

{tables.fixed(network, settings, tables.used)}"""


def _poisson(network: NetworkResults, found: Results) -> str:
    settings = found.settings
    return f"""### {network.name}, Poisson arrivals ({_figures(network)[1]})

Algorithm 4 finds the threshold, from {THRESHOLD:g} on. Rates end where the source cannot begin
more.

{_picture("poisson", network)}

Accuracy; a star where fewer than {tables.share(tables.IN_TIME_MIN)} of the answers came within
{IN_TIME_US / 1e6:g} s:

{tables.poisson(network, settings, tables.starred_accuracy)}

Images answered per second / bound:

{tables.poisson(network, settings, tables.rate_and_bound)}

Of the channel's rate, used:

{tables.poisson(network, settings, tables.used)}"""


def _channel(network: NetworkResults, found: Results) -> str:
    return f"""### {network.name}, what the channel carries

Do five nodes fall behind three? At T_e {THRESHOLD:g} under Algorithm 3, then with
{network.busy_hz:g} arrivals per second under Algorithm 4.

{_picture("channel", network)}

{tables.media(network, found.settings)}"""


def _live(network: NetworkResults, found: Results) -> str:
    if not network.live:
        return ""
    return f"""### {network.name}, live

The same algorithms in real worker processes over ZeroMQ, on loopback and not on Wi-Fi, paced to
boards of {found.live_board_ms:g} ms an image; the simulation beside them has the same boards and
loopback's delay. "Too slow" is the share of the source's stages that this machine did not finish at
their pace.

{_picture("live", network)}

{tables.live(network)}"""


def _differences(found: Results) -> str:
    parts = [
        f"""## Where our curves differ from the paper's shape, and why

The paper prints no numbers of its curves: what it says of them is compared. Rates within
{100 * EQUAL_SHARE:g} % of each other, and accuracies within {EQUAL_POINTS:g} points, count as
equal."""
    ]
    for network in found.networks:
        lines = "\n".join(f"- {each}" for each in statements(network, found.settings))
        parts.append(f"### {network.name}, beside the paper\n\n{lines}")
    return "\n\n".join(parts)
