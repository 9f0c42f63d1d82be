"""The comparison as a page: a table, a picture, and what each strategy does."""

from collections.abc import Sequence
from typing import Optional

from matplotlib.figure import Figure

from ..markdown import Context, percent, table
from ..plots import png
from .comparison import Tried
from .phases import STRATEGIES

PICTURE = "strategies.png"


def page(found: Sequence[Tried], context: Context) -> str:
    """Markdown, with a link to `PICTURE` beside it."""
    does = "\n".join(f"- `{tried.strategy}`: {STRATEGIES[tried.strategy].says}" for tried in found)
    versions = ", ".join(f"{name} {version}" for name, version in context.versions.items())
    return f"""# Training strategies

The six strategies of the early-exit survey (Rahmath et al., 2024, section 5) on one network,
{context.model}, and one data set, {context.data}, from one seed and under one recipe. Made by

```
{context.command}
```

on {versions}, {context.threads} thread{"s" if context.threads > 1 else ""}. Accuracies are of the
{context.test_count} test images: one image is {100 / context.test_count:.2f} points. A strategy of
several phases shares its epochs among them; `separate` trains one model after the other, each for
all of the epochs, and has as many models at the end. Times are of training, and say most about
which layers had to learn.

{does}

{table(header(found), rows(found))}

![accuracy of every exit, and the time of training, by strategy]({PICTURE})
"""


def header(found: Sequence[Tried]) -> list[str]:
    """Of the columns of `rows`."""
    exits = [f"exit {index}" for index in range(len(found[0].accuracies))]
    return ["strategy", *exits, "mean", "epochs", "time"]


def rows(found: Sequence[Tried]) -> list[list[str]]:
    """A row of the table for each strategy."""
    return [
        [
            tried.strategy,
            *map(percent, tried.accuracies),
            percent(sum(tried.accuracies) / len(tried.accuracies)),
            str(tried.epochs),
            minutes(tried.seconds),
        ]
        for tried in found
    ]


def minutes(seconds: Optional[float]) -> str:
    """Such as "3.2 min"; a dash for None."""
    return "-" if seconds is None else f"{seconds / 60:.1f} min"


def picture(found: Sequence[Tried]) -> bytes:
    """A PNG: accuracy of every exit to the left, minutes of training to the right."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    accuracy, time = figure.subplots(1, 2, width_ratios=(3, 2))
    for index, tried in enumerate(found):
        exits = range(len(tried.accuracies))
        percents = [100 * value for value in tried.accuracies]
        accuracy.plot(exits, percents, "o-", color=f"C{index}", label=tried.strategy)
        if tried.seconds is not None:
            time.barh(tried.strategy, tried.seconds / 60, color=f"C{index}")
    accuracy.set(xlabel="exit", ylabel="accuracy on the test images (%)")
    accuracy.xaxis.get_major_locator().set_params(integer=True)
    accuracy.legend(fontsize="small")
    accuracy.grid(alpha=0.25)
    time.set(xlabel="training (minutes)")
    time.invert_yaxis()
    return png(figure)
