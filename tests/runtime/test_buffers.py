"""Where feature maps live: who holds which row, and when a block is free again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.backends import Backend
from edgesdk.runtime.buffers import BufferPool, Rows, gather

SHAPE = (2, 3)


def filled(pool, values):
    """A buffer whose row i holds `values[i]` everywhere."""
    buffer = pool.take(len(values), SHAPE)
    buffer.array[...] = np.reshape(values, (-1, 1, 1))
    return buffer


def values_of(buffer):
    return buffer.array[:, 0, 0].tolist()


def gathered(rows, items):
    """What a batch of `items` computes on."""
    features = rows.collect(items)
    gather(features, Backend())
    return features


class TestPool:
    def test_a_block_that_was_given_back_is_used_again(self):
        pool = BufferPool()
        buffer = pool.take(1, SHAPE)
        pool.give(buffer)
        assert pool.take(1, SHAPE).block is buffer.block

    def test_sizes_are_powers_of_two_so_that_few_blocks_serve_all_batches(self):
        pool = BufferPool()
        assert [len(pool.take(count, SHAPE).block) for count in (1, 2, 3, 5, 32)] == [
            1,
            2,
            4,
            8,
            32,
        ]

    def test_the_array_has_exactly_the_rows_asked_for(self):
        buffer = BufferPool().take(5, SHAPE)
        assert buffer.array.shape == (5,) + SHAPE
        assert buffer.array.dtype == np.float32
        assert buffer.array.flags.c_contiguous

    def test_the_same_rows_of_a_block_are_the_same_array(self):
        pool = BufferPool()
        buffer = pool.take(3, SHAPE)
        array = buffer.array
        pool.give(buffer)
        assert pool.take(4, SHAPE).array is not array
        pool.give(buffer)
        assert pool.take(3, SHAPE).array is array

    def test_other_shapes_get_other_blocks(self):
        pool = BufferPool()
        pool.give(pool.take(1, SHAPE))
        assert pool.take(1, (6,)).block.shape == (1, 6)


class TestRows:
    @pytest.fixture
    def pool(self):
        return BufferPool()

    @pytest.fixture
    def rows(self, pool):
        return Rows(pool)

    def test_the_whole_batch_goes_on_without_a_copy(self, pool, rows):
        buffer = filled(pool, [10, 20])
        rows.place((1, 2), buffer)
        assert rows.collect((1, 2)) is buffer

    def test_the_samples_that_go_on_are_compacted(self, pool, rows):
        rows.place((1, 2, 3, 4), filled(pool, [10, 20, 30, 40]))
        assert values_of(gathered(rows, (2, 4))) == [20, 40]

    def test_in_the_order_asked_for(self, pool, rows):
        rows.place((1, 2, 3), filled(pool, [10, 20, 30]))
        assert values_of(gathered(rows, (3, 1, 2))) == [30, 10, 20]

    def test_batches_merge(self, pool, rows):
        rows.place((1, 2), filled(pool, [10, 20]))
        rows.place((3, 4), filled(pool, [30, 40]))
        assert values_of(gathered(rows, (2, 3, 4))) == [20, 30, 40]

    def test_a_block_is_free_when_its_last_row_is(self, pool, rows):
        buffer = filled(pool, [10, 20])
        rows.place((1, 2), buffer)
        rows.release(1)
        assert pool.take(2, SHAPE).block is not buffer.block
        rows.release(2)
        assert pool.take(2, SHAPE).block is buffer.block

    def test_a_row_that_lives_is_not_overwritten_by_the_next_batch(self, pool, rows):
        rows.place((1, 2), filled(pool, [10, 20]))
        rows.move(gathered(rows, (1,)), filled(pool, [11]))
        filled(pool, [77, 88])
        assert values_of(gathered(rows, (2,))) == [20]

    def test_releasing_twice_is_harmless(self, pool, rows):
        rows.place((1,), filled(pool, [10]))
        rows.release(1)
        rows.release(1)
        assert len(rows) == 0

    @given(st.lists(st.sets(st.integers(0, 9), min_size=1), max_size=12))
    def test_every_item_keeps_its_value_whatever_is_batched(self, batches):
        pool = BufferPool()
        rows = Rows(pool)
        items = tuple(range(10))
        rows.place(items, filled(pool, [100 * item for item in items]))
        for batch in batches:
            chosen = tuple(sorted(batch))
            buffer = gathered(rows, chosen)
            assert values_of(buffer) == [100 * item for item in chosen]
            output = filled(pool, values_of(buffer))  # a stage that passes its input on
            rows.move(buffer, output)
        for item in items:
            rows.release(item)
        assert len(rows) == 0

    def test_what_moves_keeps_its_row_and_frees_the_block_it_leaves(self, pool, rows):
        features = filled(pool, [10, 20])
        rows.place((1, 2), features)
        output = filled(pool, [11, 21])
        rows.move(rows.collect((1, 2)), output)
        assert values_of(gathered(rows, (2,))) == [21]
        assert pool.take(2, SHAPE) is features

    def test_what_is_released_while_it_is_computed_on_stays_until_it_is_let_go(self, pool, rows):
        features = filled(pool, [10, 20])
        rows.place((1, 2), features)
        assert rows.collect((1, 2)) is features
        rows.release(1)
        rows.release(2)
        assert pool.take(2, SHAPE) is not features
        rows.let_go(features)
        assert pool.take(2, SHAPE) is features

    def test_what_was_released_meanwhile_does_not_move(self, pool, rows):
        features, output = filled(pool, [10, 20]), filled(pool, [11, 21])
        rows.place((1, 2), features)
        rows.collect((1, 2))
        rows.release(1)
        rows.move(features, output)
        assert 1 not in rows
        assert rows.row(2)[0, 0] == 21
        rows.release(2)
        assert pool.take(2, SHAPE) is output

    def test_a_run_that_nobody_waits_for_any_more_gives_both_blocks_back(self, pool, rows):
        features, output = filled(pool, [10]), filled(pool, [11])
        rows.place((1,), features)
        rows.collect((1,))
        rows.release(1)
        rows.move(features, output)
        assert {id(pool.take(1, SHAPE)), id(pool.take(1, SHAPE))} == {id(features), id(output)}

    def test_a_block_that_was_lent_is_not_used_again(self, pool, rows):
        buffer = filled(pool, [10])
        rows.place((1,), buffer)
        rows.lend(1)
        rows.release(1)
        assert pool.take(1, SHAPE) is not buffer

    def test_what_is_collected_stays_as_it_is_until_it_is_gathered(self, pool, rows):
        rows.place((1, 2, 3), filled(pool, [10, 20, 30]))
        features = rows.collect((1, 3))
        for item in (1, 2, 3):
            rows.release(item)
        filled(pool, [66, 77, 88])  # would be the same block, were it free
        gather(features, Backend())
        assert values_of(features) == [10, 30]

    def test_a_batch_that_came_to_nothing_leaves_its_items_what_they_had(self, pool, rows):
        rows.place((1, 2), filled(pool, [10, 20]))
        rows.place((3,), filled(pool, [30]))
        rows.let_go(rows.collect((2, 3)))
        assert values_of(gathered(rows, (1, 2, 3))) == [10, 20, 30]

    def test_what_a_batch_took_from_several_blocks_frees_them_all_when_it_ends(self, pool, rows):
        first, second = filled(pool, [10]), filled(pool, [20])
        rows.place((1,), first)
        rows.place((2,), second)
        rows.move(gathered(rows, (1, 2)), filled(pool, [11, 21]))
        assert {id(pool.take(1, SHAPE)), id(pool.take(1, SHAPE))} == {id(first), id(second)}

    def test_nothing_that_a_forsaken_batch_may_touch_is_used_again(self, pool, rows):
        first, second = filled(pool, [10]), filled(pool, [20])
        rows.place((1,), first)
        rows.place((2,), second)
        features = rows.collect((1, 2))
        rows.forsake(features)
        rows.release(1)
        rows.release(2)
        later = [pool.take(count, SHAPE) for count in (1, 1, 2)]
        assert not {id(first), id(second), id(features)} & set(map(id, later))
