"""What was measured of bottlenecks as lines, as a page, and as a picture."""

from matplotlib.figure import Figure

from ... import cli
from ..markdown import Context, percent, table
from ..plots import png
from .autoencoder import ITEM_BYTES
from .measuring import Measured
from .methods import METHODS

PICTURE = "bottlenecks.png"
COSTS_HEADER = ("one image", "M multiply-adds", "ms")


def sizes(found: Measured) -> str:
    """One sentence."""
    features, code = ("x".join(map(str, s)) for s in (found.feature_shape, found.code_shape))
    return (
        f"border {found.border}: features {features}, {found.feature_bytes} bytes; code {code}, "
        f"{found.code_bytes} bytes as uint8, {found.ratio:.1f} times smaller "
        f"({ITEM_BYTES * found.code_bytes} as float32, {found.ratio / ITEM_BYTES:.1f} times)"
    )


def header(found: Measured) -> list[str]:
    """Of the columns of `rows`."""
    return ["test split", "without", *found.arrived]


def rows(found: Measured) -> list[list[str]]:
    """The accuracy of every exit behind the border, without and by each method."""
    columns = zip(found.straight, *found.arrived.values())
    return [
        [f"exit {index}", *map(percent, values)]
        for index, values in enumerate(columns, start=found.border)
    ]


def cost_rows(found: Measured) -> list[list[str]]:
    """Encoder, decoder and the segments around the border; `COSTS_HEADER` is above."""
    return [[c.name, f"{c.multiply_adds / 1e6:.3f}", f"{c.us / 1000:.3f}"] for c in found.costs]


def lines(found: Measured) -> list[str]:
    """All of it for a terminal."""
    accuracies = cli.table(header(found), rows(found))
    return [sizes(found), *accuracies, *cli.table(COSTS_HEADER, cost_rows(found))]


def page(found: Measured, context: Context) -> str:
    """Markdown, with a link to `PICTURE` beside it."""
    does = "\n".join(f"- `{name}`: {METHODS[name].says}" for name in found.arrived)
    versions = ", ".join(f"{name} {version}" for name, version in context.versions.items())
    return f"""# Bottleneck {found.border} of {context.model} on {context.data}

Made by

```
{context.command}
```

on {versions}, {context.threads} thread{"s" if context.threads > 1 else ""}. Accuracies are of the
{context.test_count} test images: one image is {100 / context.test_count:.2f} points. All methods
have one network, one seed and one number of epochs; what the exits in front of the border say is
not touched.

{sizes(found)}.

{does}

{table(header(found), rows(found))}

{table(COSTS_HEADER, cost_rows(found))}

Times are medians in onnxruntime, in turns.

![accuracy of every exit behind the border, by method]({PICTURE})
"""


def picture(found: Measured) -> bytes:
    """A PNG: accuracy of every exit behind the border, without a bottleneck and by method."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    exits = [found.border + index for index in range(len(found.straight))]
    axes.plot(exits, [100 * v for v in found.straight], "o--", color="black", label="without")
    for name, values in found.arrived.items():
        axes.plot(exits, [100 * value for value in values], "o-", label=name)
    axes.set(
        xlabel="exit",
        ylabel="accuracy on the test images (%)",
        title=f"{found.code_bytes} bytes instead of {found.feature_bytes} at border {found.border}",
    )
    axes.set_xticks(exits)
    axes.legend(fontsize="small")
    axes.grid(alpha=0.25)
    return png(figure)
