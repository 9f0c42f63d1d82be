// Fibers for the threads of a block, and what they wait for. See cuda_runtime.h beside this.

#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cuda_runtime.h"

// The ends of the section, made by the linker where there is shared memory at all.
extern char __start_cuda_shared[] __attribute__((weak));
extern char __stop_cuda_shared[] __attribute__((weak));

namespace cuda_shim {

Place here;

namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr unsigned kThreadsMax = 1024;
constexpr int kPoison = 0xff;  // a NaN, and no useful number

enum class State { kReady, kAtBlock, kAtWarp, kDone };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state;
  const char *place;  // where it waits
  uint64_t brought[2];
  unsigned meeting;  // of its warp: how many there were, so that the next does not overwrite
  bool flag;
};

std::vector<std::unique_ptr<Fiber>> fibers;
ucontext_t scheduler;
const std::function<void()> *running_kernel;
Fiber *current;
unsigned thread_count;
bool any_flag;

// Of the environment in programs that cannot call cuda_shim_configure.
const char *const given_multiprocessors = getenv("CUDA_SHIM_MULTIPROCESSORS");

int order = 0, multiprocessors = given_multiprocessors ? atoi(given_multiprocessors) : 1;
std::mt19937 generator;
cudaError_t last_error = cudaSuccess;
std::string failure;
int launch_count = 0;

void fiber_main() {
  (*running_kernel)();
  current->state = State::kDone;
  swapcontext(&current->context, &scheduler);
}

void wait_as(State state, const char *place) {
  current->state = state;
  current->place = place;
  Fiber *self = current;
  swapcontext(&self->context, &scheduler);
}

std::string where(unsigned thread) {
  const Fiber &fiber = *fibers[thread];
  return fiber.state == State::kDone ? "has ended" : std::string("waits at ") + fiber.place;
}

// The threads first..end-1 go on if all of them wait for the same.
void release(unsigned first, unsigned end, State state) {
  const char *place = fibers[first]->place;
  bool flag = false;
  for (unsigned t = first; t < end; ++t) {
    if (fibers[t]->state != state || strcmp(fibers[t]->place, place) != 0) return;
    flag = flag || fibers[t]->flag;
  }
  if (state == State::kAtBlock) any_flag = flag;
  for (unsigned t = first; t < end; ++t) fibers[t]->state = State::kReady;
}

void start(unsigned thread) {
  Fiber &fiber = *fibers[thread];
  fiber.state = State::kReady;
  fiber.meeting = 0;
  fiber.flag = false;
  fiber.place = "";
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = &scheduler;
  makecontext(&fiber.context, fiber_main, 0);
}

std::vector<unsigned> permutation(unsigned count) {
  std::vector<unsigned> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0u);
  if (order == 1) std::reverse(numbers.begin(), numbers.end());
  if (order > 1) std::shuffle(numbers.begin(), numbers.end(), generator);
  return numbers;
}

void resume(unsigned thread) {
  current = fibers[thread].get();
  here.thread = {thread, 0, 0};
  swapcontext(&scheduler, &current->context);
}

// Runs the threads of one block to their end, or to where they wait for each other for ever.
bool run_block() {
  memset(__start_cuda_shared, kPoison, __stop_cuda_shared - __start_cuda_shared);
  for (unsigned t = 0; t < thread_count; ++t) start(t);
  for (;;) {
    bool moved = false;
    for (const unsigned t : permutation(thread_count)) {
      if (fibers[t]->state != State::kReady) continue;
      moved = true;
      resume(t);
      if (!failure.empty()) return false;
      if (fibers[t]->state == State::kAtWarp)
        release(t / 32 * 32, t / 32 * 32 + 32, State::kAtWarp);
    }
    release(0, thread_count, State::kAtBlock);
    if (!moved) break;
  }
  unsigned other = 0;  // one that waits for something else than thread 0, or has ended
  while (other + 1 < thread_count && where(other) == where(0)) ++other;
  if (where(other) == where(0) && fibers[0]->state == State::kDone) return true;
  failure = "threads that diverge: thread 0 " + where(0) + ", thread " + std::to_string(other) +
            " " + where(other);
  return false;
}

cudaError_t failed(cudaError_t error, const std::string &why) {
  last_error = error;
  failure = why;
  return error;
}

}  // namespace

void fail(const char *place, const char *what) {
  failure = std::string(what) + " at " + place;
  swapcontext(&current->context, &scheduler);
  __builtin_unreachable();
}

bool meet_block(const char *place, bool value) {
  current->flag = value;
  wait_as(State::kAtBlock, place);
  return any_flag;
}

uint64_t meet_warp(const char *place, unsigned mask, uint64_t value, int source) {
  if (mask != 0xffffffffu) fail(place, "a mask that is not the whole warp");
  const unsigned warp = here.thread.x / 32 * 32, half = current->meeting++ % 2;
  current->brought[half] = value;
  wait_as(State::kAtWarp, place);
  return fibers[warp + static_cast<unsigned>(source)]->brought[half];
}

cudaError_t run(dim3 grid, dim3 block, const std::function<void()> &kernel) {
  failure.clear();
  if (multiprocessors == 0) return failed(cudaErrorNoDevice, "no CUDA-capable device is detected");
  thread_count = block.x;
  if (grid.x == 0 || block.x == 0 || block.x > kThreadsMax || block.x % 32 != 0 ||
      grid.y * grid.z * block.y * block.z != 1) {
    return failed(cudaErrorInvalidConfiguration, "a grid or block that the shim does not run");
  }
  while (fibers.size() < thread_count) fibers.push_back(std::unique_ptr<Fiber>(new Fiber));
  ++launch_count;
  running_kernel = &kernel;
  generator.seed(static_cast<unsigned>(order));
  here.block_size = block;
  here.grid = grid;
  for (const unsigned b : permutation(grid.x)) {
    here.block = {b, 0, 0};
    if (!run_block()) return failed(cudaErrorLaunchFailure, failure);
  }
  return cudaSuccess;
}

}  // namespace cuda_shim

cudaError_t cudaGetDevice(int *device) {
  *device = 0;
  return cuda_shim::multiprocessors > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int) {
  *value = cuda_shim::multiprocessors;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cuda_shim::last_error;
  cuda_shim::last_error = cudaSuccess;
  return error;
}

const char *cudaGetErrorString(cudaError_t) { return cuda_shim::failure.c_str(); }

cudaError_t cudaMalloc(void **address, size_t byte_count) {
  *address = malloc(byte_count);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void *target, const void *source, size_t byte_count, cudaMemcpyKind) {
  memcpy(target, source, byte_count);
  return cudaSuccess;
}

cudaError_t cudaFree(void *address) {
  free(address);
  return cudaSuccess;
}

// Order 0: ascending, 1: descending, 2 and above: at random, by that seed.
// No multiprocessors: no device.
extern "C" void cuda_shim_configure(int order, int multiprocessors) {
  cuda_shim::order = order;
  cuda_shim::multiprocessors = multiprocessors;
}

// Kernels launched since this was asked.
extern "C" int cuda_shim_launches() {
  const int count = cuda_shim::launch_count;
  cuda_shim::launch_count = 0;
  return count;
}
