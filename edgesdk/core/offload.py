"""Where a task goes that did not leave: MDI-Exit Algorithm 1, lines 7-13, and Algorithm 2.

Pure rules; the queues they speak of are in `core/worker.py`. I_n and O_n are numbers of tasks,
Gamma is a worker's computing delay per task, D the delay of sending one there.
"""

from typing import NamedTuple

from ..errors import ConfigError

INPUT_QUEUE, OUTPUT_QUEUE = "input", "output"


class Offloading(NamedTuple):
    """Parameters of Algorithm 1 and 2, and a switch for each thing that goes beyond the paper.

    `output_queue_max`: T_O, above which new tasks stay here (the paper's 50). The switches, for the
    algorithms taken literally strand tasks in the output queue: `serve_output`: a worker computes
    what waits in its output queue when nothing in its input queue has waited longer.
    `keep_unshared`: a task that no live neighbour could take enters the input queue.
    `return_stranded`: one that nobody can take here goes back to where it came from.
    `offload_inputs`: the source may send the input itself instead of computing stage 0 (off in the
    paper's form).
    """

    output_queue_max: int = 50
    serve_output: bool = True
    keep_unshared: bool = True
    return_stranded: bool = True
    offload_inputs: bool = False


DEFAULT_OFFLOADING = Offloading()
LITERAL = Offloading(serve_output=False, keep_unshared=False, return_stranded=False)


def check_offloading(options: Offloading) -> Offloading:
    """`options` itself. Raises ConfigError for a T_O below 0."""
    if options.output_queue_max < 0:
        raise ConfigError(
            "output_queue_max: found {}, expected at least 0".format(options.output_queue_max)
        )
    return options


def queue_for(input_length: int, output_length: int, output_queue_max: int) -> str:
    """Algorithm 1, line 8: the queue that a new task enters. `input_length` is counted after the
    task at its head was taken."""
    if input_length == 0 or output_length > output_queue_max:
        return INPUT_QUEUE
    return OUTPUT_QUEUE


def offload_probability(
    output_length: int,
    input_length: int,
    delay_us: float,
    neighbour_input_length: int,
    neighbour_delay_us: float,
    link_delay_us: float,
) -> float:
    """Algorithm 2, lines 2-6: with what probability the head of the output queue goes to a
    neighbour now. Draw once for a task, a neighbour and its report: drawing until it happens makes
    every probability above 0 certain.
    """
    if output_length <= neighbour_input_length:
        return 0.0
    here_us = input_length * delay_us
    there_us = link_delay_us + neighbour_input_length * neighbour_delay_us
    if here_us > there_us:
        return 1.0
    return here_us / there_us if there_us > 0 else 0.0  # 0 / 0: nothing waits, nothing to gain
