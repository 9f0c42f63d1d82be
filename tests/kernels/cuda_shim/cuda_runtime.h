// In place of CUDA's own: runs the kernels of csrc/cuda on the CPU, compiled as plain C++14. Every
// thread of a block is a fiber; blocks run one after the other.
//
// Found: barriers and shuffles that not all threads reach; values of shared memory that were never
// written (it is poisoned before every block); and, where tests compare runs in several orders of
// the threads and blocks, races. Not found: fences that are missing, blocks that would have to run
// at the same time. `cuda_shim_configure` sets the order and the number of multiprocessors.
#ifndef EDGESDK_TESTS_CUDA_RUNTIME_H
#define EDGESDK_TESTS_CUDA_RUNTIME_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
// One section of the library holds all shared memory, so that it can be poisoned.
#define __shared__ static __attribute__((section("cuda_shared")))

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(16) float4 {
  float x, y, z, w;
};

struct alignas(16) int4 {
  int x, y, z, w;
};

struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) {
  return {x, y, z, w};
}

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorLaunchFailure = 719
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
typedef struct CUstream_st *cudaStream_t;

cudaError_t cudaGetDevice(int *device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
cudaError_t cudaMalloc(void **address, size_t byte_count);
cudaError_t cudaMemcpy(void *target, const void *source, size_t byte_count, cudaMemcpyKind kind);
cudaError_t cudaFree(void *address);

namespace cuda_shim {

struct Place {
  uint3 thread, block;
  dim3 block_size, grid;
};
extern Place here;  // of the fiber that runs

// Every thread of every block calls `kernel`.
cudaError_t run(dim3 grid, dim3 block, const std::function<void()> &kernel);

// Waits for all threads of the block; whether any of them gave `value`. `place` is the source line.
bool meet_block(const char *place, bool value);

// Waits for the 32 lanes of the warp, and gives what lane `source` brought.
uint64_t meet_warp(const char *place, unsigned mask, uint64_t value, int source);

// Ends the launch with an error that names the place.
[[noreturn]] void fail(const char *place, const char *what);

template <typename T>
T shuffle(const char *place, unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "CUDA shuffles 4 or 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = meet_warp(place, mask, bits, source);
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline int lane() { return static_cast<int>(here.thread.x % 32); }

template <typename T>
T shuffle_xor(const char *place, unsigned mask, T value, int lanes) {
  return shuffle(place, mask, value, lane() ^ lanes);
}

template <typename T>
T shuffle_down(const char *place, unsigned mask, T value, int lanes, int width = 32) {
  const bool inside = lane() % width + lanes < width;
  return shuffle(place, mask, value, inside ? lane() + lanes : lane());
}

template <typename T>
T load(const char *place, const T *pointer) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignof(T) != 0) fail(place, "a misaligned address");
  return *pointer;
}

}  // namespace cuda_shim

#define threadIdx (cuda_shim::here.thread)
#define blockIdx (cuda_shim::here.block)
#define blockDim (cuda_shim::here.block_size)
#define gridDim (cuda_shim::here.grid)

#define CUDA_SHIM_TEXT(x) #x
#define CUDA_SHIM_TEXT_OF(x) CUDA_SHIM_TEXT(x)
#define CUDA_SHIM_PLACE __FILE__ ":" CUDA_SHIM_TEXT_OF(__LINE__)

#define __syncthreads() (void)cuda_shim::meet_block(CUDA_SHIM_PLACE, false)
#define __syncthreads_or(value) cuda_shim::meet_block(CUDA_SHIM_PLACE, value)
#define __shfl_xor_sync(...) cuda_shim::shuffle_xor(CUDA_SHIM_PLACE, __VA_ARGS__)
#define __shfl_down_sync(...) cuda_shim::shuffle_down(CUDA_SHIM_PLACE, __VA_ARGS__)
#define __ldg(...) cuda_shim::load(CUDA_SHIM_PLACE, __VA_ARGS__)
#define __threadfence() (void)0

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }

inline unsigned long long atomicAdd(unsigned long long *address, unsigned long long value) {
  const unsigned long long before = *address;
  *address += value;
  return before;
}

#endif
