"""The double of pycuda.driver: what it computes, and what it refuses."""

import threading

import cuda_double
import numpy as np
import pytest
from gpu_machine import Machine


@pytest.fixture
def machine():
    return Machine(memory_bytes=1 << 20)


@pytest.fixture
def cuda(machine):
    """The driver, with the primary context current; checks the machine at the end."""
    with cuda_double.current(machine) as driver:
        yield driver
    machine.check_clean()


def test_a_device_tells_what_it_is(cuda, machine):
    device = cuda.Device(0)
    assert (device.name(), device.compute_capability()) == ("NVIDIA Tegra X1", (5, 3))
    assert device.total_memory() == 1 << 20 and cuda.Device.count() == 1
    assert cuda.mem_get_info() == (1 << 20, 1 << 20)
    with pytest.raises(cuda.LogicError):
        cuda.Device(1)


def test_copies_happen_when_somebody_waits(cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source, target = np.arange(4, dtype=np.float32), cuda.pagelocked_empty(4, np.float32)
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    assert not stream.is_done() and not np.array_equal(target, source)
    stream.synchronize()
    assert stream.is_done() and np.array_equal(target, source)
    memory.free()


def test_a_host_buffer_that_is_reused_too_early_is_lost(cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    source, target = np.ones(4, np.float32), np.empty(4, np.float32)
    cuda.memcpy_htod_async(memory, source, stream)
    source[:] = 2
    cuda.memcpy_dtoh_async(target, memory, stream)
    stream.synchronize()
    assert target.tolist() == [2, 2, 2, 2]
    memory.free()


def test_copies_within_the_device_and_without_a_stream(cuda):
    first, second = cuda.mem_alloc(16), cuda.mem_alloc(16)
    source, target = np.arange(4, dtype=np.int32), np.empty(2, np.int32)
    cuda.memcpy_htod(first, source)
    cuda.memcpy_dtod_async(second, int(first) + 8, 8, None)
    cuda.memcpy_dtoh(target, second)
    assert target.tolist() == [2, 3]
    first.free()
    second.free()


def test_streams_know_nothing_of_each_other_but_by_events(cuda):
    one, other, memory = cuda.Stream(), cuda.Stream(), cuda.mem_alloc(4)
    target = np.zeros(1, np.float32)
    cuda.memcpy_htod_async(memory, np.full(1, 5, np.float32), one)
    event = cuda.Event().record(one)
    assert not event.query()
    other.wait_for_event(event)
    cuda.memcpy_dtoh_async(target, memory, other)
    other.synchronize()
    assert target[0] == 5 and event.query() and event.synchronize() is event
    memory.free()


def test_without_waiting_for_the_other_stream_old_bytes_are_read(cuda):
    one, other, memory = cuda.Stream(), cuda.Stream(), cuda.mem_alloc(4)
    target = np.zeros(1, np.float32)
    cuda.memcpy_htod_async(memory, np.full(1, 5, np.float32), one)
    cuda.memcpy_dtoh_async(target, memory, other)
    other.synchronize()
    assert target[0] != 5
    cuda.Context.synchronize()
    memory.free()


def test_past_an_end_and_after_a_free_are_illegal(cuda, machine):
    stream, memory = cuda.Stream(), cuda.mem_alloc(16)
    cuda.memcpy_htod_async(memory, np.zeros(5, np.float32), stream)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    cuda.memcpy_htod_async(memory, np.zeros(4, np.float32), stream)
    memory.free()
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    with pytest.raises(cuda.LogicError):
        memory.free()
    assert len(machine.complaints) == 3
    del machine.complaints[:]


def test_memory_is_finite_and_its_error_is_not_pythons(cuda, machine):
    with pytest.raises(cuda.MemoryError) as caught:
        cuda.mem_alloc((1 << 20) + 1)
    assert not isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, cuda.Error)
    machine.broken.add("memory at alloc")
    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(4)


def test_dropped_memory_is_given_back(cuda, machine):
    memory = cuda.mem_alloc(1000)
    assert cuda.mem_get_info()[0] == (1 << 20) - 1000
    del memory
    assert machine.used_bytes == 0 and machine.peak_bytes == 1000


def test_arrays_that_are_no_plain_memory_are_refused(cuda):
    memory = cuda.mem_alloc(64)
    with pytest.raises(TypeError):
        cuda.memcpy_htod_async(memory, [1, 2, 3], cuda.Stream())
    with pytest.raises(ValueError):
        cuda.memcpy_htod_async(memory, np.zeros((4, 4), np.float32).T[::2], cuda.Stream())
    with pytest.raises(TypeError):
        cuda.memcpy_htod_async(memory, np.zeros(4, np.float32), 12)
    memory.free()


def test_another_thread_has_no_context(cuda, machine):
    caught = []

    def use():
        try:
            cuda.mem_alloc(4)
        except cuda.LogicError as error:
            caught.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert caught == ["cuMemAlloc failed: invalid device context"]
    assert machine.complaints.pop()


def test_what_is_left_is_told(machine):
    cuda = cuda_double.driver(machine)
    with pytest.raises(cuda.LogicError, match="initialization"):
        cuda.Device(0)
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    with pytest.raises(cuda.LogicError, match="invalid device context"):
        cuda.Stream()
    del machine.complaints[:]
    with pytest.raises(AssertionError, match="detach"):
        machine.check_clean()
    context.push()
    memory = cuda.mem_alloc(4)
    with pytest.raises(AssertionError, match="not freed"):
        machine.check_clean()
    memory.free()
    with pytest.raises(AssertionError, match="stack was not empty"):
        machine.check_clean()
    stream = cuda.Stream()
    cuda.Event().record(stream)
    cuda.Context.pop()
    with pytest.raises(AssertionError, match="nobody waited"):
        machine.check_clean()
    stream.run()
    context.detach()
    machine.check_clean()
    with pytest.raises(cuda.LogicError):
        context.push()


def test_without_a_gpu_init_fails():
    machine = Machine()
    machine.broken.add("no gpu")
    cuda = cuda_double.driver(machine)
    with pytest.raises(cuda.RuntimeError, match="no CUDA-capable device"):
        cuda.init()
    machine.broken = {"no such fault"}
    with pytest.raises(AssertionError, match="no such fault"):
        cuda.init()


class TestPagelocked:
    def test_it_is_seen_by_the_gpu_where_it_is_if_it_is_mapped(self, cuda):
        flags = cuda.host_alloc_flags.DEVICEMAP
        host = cuda.pagelocked_empty((2, 3), np.float32, mem_flags=flags)
        assert host.flags.c_contiguous and host.shape == (2, 3)
        stream, memory = cuda.Stream(), cuda.mem_alloc(24)
        host[...] = 7
        cuda.memcpy_dtod_async(memory, host.base.get_device_pointer(), 24, stream)
        cuda.memcpy_dtod_async(host.base.get_device_pointer() + 4, memory, 4, stream)
        host[0, 0] = 8
        stream.synchronize()
        target = np.empty(6, np.float32)
        cuda.memcpy_dtoh(target, memory)
        assert target.tolist() == [8, 7, 7, 7, 7, 7] and host[0, 1] == 8
        memory.free()
        host.base.free()

    def test_else_it_has_no_address_there(self, cuda):
        host = cuda.pagelocked_empty(5, np.uint8)
        with pytest.raises(cuda.LogicError):
            host.base.get_device_pointer()
        with pytest.raises(cuda.LogicError):
            cuda.pagelocked_empty(0, np.uint8)

    def test_what_is_left_is_told(self, cuda, machine):
        host = cuda.pagelocked_empty(5, np.uint8)
        with pytest.raises(AssertionError, match="page-locked memory was not freed"):
            machine.check_clean()
        host.base.free()
        with pytest.raises(cuda.LogicError):
            host.base.free()

    def test_dropped_where_no_context_is(self, cuda, machine):
        held = [cuda.pagelocked_empty(5, np.uint8)]
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        assert machine.complaints.pop() == "page-locked memory was dropped without a context"


class TestContexts:
    """As pycuda's `context::detach` is written."""

    @pytest.fixture
    def context(self, machine):
        cuda = cuda_double.driver(machine)
        cuda.init()
        return cuda.Device(0).retain_primary_context()

    @staticmethod
    def elsewhere(call):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    def test_current_it_is_released_in_any_thread(self, machine, context):
        self.elsewhere(lambda: (context.push(), context.detach()))
        machine.check_clean()

    def test_not_current_it_is_released_where_it_was_retained(self, machine, context):
        context.detach()
        machine.check_clean()

    def test_not_current_it_stays_elsewhere(self, machine, context):
        self.elsewhere(context.detach)
        with pytest.raises(AssertionError, match="was retained and not released"):
            machine.check_clean()

    def test_current_in_another_thread_too(self, machine, context):
        context.push()
        self.elsewhere(lambda: (context.push(), context.detach()))
        assert machine.complaints == ["a context was released that is current elsewhere"]


def test_a_gpu_that_hangs_goes_on_when_it_is_let(cuda, machine):
    machine.gate, stream, memory = threading.Event(), cuda.Stream(), cuda.mem_alloc(4)
    cuda.memcpy_htod_async(memory, np.zeros(1, np.float32), stream)
    threading.Timer(0.05, machine.gate.set).start()
    stream.synchronize()
    assert machine.gate.is_set() and stream.is_done()
    assert machine.copied_bytes == {"htod": 4}
    memory.free()


def test_memory_of_other_processes_is_not_free(cuda, machine):
    machine.others_bytes = (1 << 20) - 100
    assert cuda.mem_get_info() == (100, 1 << 20)
    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(101)
