"""MDI-Exit Algorithm 1, lines 7-13, and Algorithm 2, with numbers worked out by hand."""

import pytest

from edgesdk.core.offload import (
    DEFAULT_OFFLOADING,
    INPUT_QUEUE,
    LITERAL,
    OUTPUT_QUEUE,
    Offloading,
    check_offloading,
    offload_probability,
    queue_for,
)
from edgesdk.errors import ConfigError


class TestAlgorithm1:
    @pytest.mark.parametrize(
        ("input_length", "output_length", "expected"),
        [
            (0, 0, INPUT_QUEUE),  # line 8: the input queue is empty
            (0, 50, INPUT_QUEUE),
            (1, 0, OUTPUT_QUEUE),
            (1, 50, OUTPUT_QUEUE),  # O_n > T_O is strict
            (1, 51, INPUT_QUEUE),
        ],
    )
    def test_line_8(self, input_length, output_length, expected):
        assert queue_for(input_length, output_length, 50) == expected


class TestAlgorithm2:
    def test_line_2_offloads_for_certain(self):
        # 3 * 10 ms > 2 ms + 1 * 20 ms
        assert offload_probability(2, 3, 10_000, 1, 20_000, 2_000) == 1.0

    def test_line_5_offloads_with_the_ratio_of_the_delays(self):
        # 1 * 10 ms over 5 ms + 1 * 20 ms
        assert offload_probability(2, 1, 10_000, 1, 20_000, 5_000) == pytest.approx(0.4)

    def test_o_n_above_i_m_is_strict(self):
        assert offload_probability(4, 100, 10_000, 4, 1, 0) == 0.0
        assert offload_probability(5, 100, 10_000, 4, 1, 0) == 1.0

    def test_equal_delays_are_certain_by_line_5(self):
        # Line 2 is strict; line 5 gives min{1, 1}.
        assert offload_probability(2, 3, 10_000, 1, 20_000, 10_000) == 1.0

    def test_an_empty_input_queue_offloads_nothing(self):
        assert offload_probability(9, 0, 10_000, 1, 20_000, 5_000) == 0.0

    def test_nothing_known_anywhere_is_nothing_to_gain(self):
        assert offload_probability(2, 0, 0.0, 0, 0, 0.0) == 0.0
        assert offload_probability(2, 5, 0.0, 1, 0, 0.0) == 0.0

    def test_work_here_and_none_known_there_goes(self):
        assert offload_probability(2, 1, 10_000, 0, 0, 0.0) == 1.0


class TestParameters:
    def test_the_defaults_are_the_papers_t_o_and_every_switch(self):
        assert Offloading(50, True, True, True, False) == DEFAULT_OFFLOADING

    def test_literal_is_the_paper_alone(self):
        assert Offloading(50, False, False, False, False) == LITERAL

    def test_t_o_is_not_negative(self):
        assert check_offloading(Offloading(output_queue_max=0)).output_queue_max == 0
        with pytest.raises(ConfigError, match="output_queue_max: found -1, expected at least 0"):
            check_offloading(Offloading(output_queue_max=-1))
