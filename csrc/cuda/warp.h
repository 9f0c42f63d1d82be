// What the kernels share on the device: sums over groups of lanes, reading four floats at once.
#ifndef EDGESDK_CUDA_WARP_H
#define EDGESDK_CUDA_WARP_H

#include <cuda_runtime.h>
#include <stdint.h>

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int warp_index() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ inline int warp_count() { return static_cast<int>(blockDim.x) / kWarp; }

// The sum over `width` neighbouring lanes, a power of two, in tree order; the first of them has it.
template <typename T>
__device__ inline T group_sum(T value, int width) {
  for (int offset = width / 2; offset > 0; offset /= 2) {
    value += __shfl_down_sync(kAllLanes, value, offset, width);
  }
  return value;
}

// Every lane has the same sum, to the last bit: in each step both partners add the same two.
__device__ inline float sum_for_all(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

// Lanes for a row of `pack_count` packs: four reads each, to have that many under way, or a lane
// alone where there are fewer.
__host__ __device__ inline int group_width(int64_t pack_count) {
  int width = kWarp;
  while (width > 1 && 4 * width > pack_count) width /= 2;
  return width;
}

__host__ __device__ inline bool is_aligned(const void *pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Whether rows of `length` floats from here can be read as float4.
__host__ __device__ inline bool has_packs(const float *rows, int64_t length) {
  return length % 4 == 0 && is_aligned(rows, sizeof(float4));
}

// f over the one or four numbers of a pack, added up.
template <typename F>
__device__ inline float sum_of(float x, const F &f) {
  return f(x);
}

template <typename F>
__device__ inline float sum_of(float4 x, const F &f) {
  return (f(x.x) + f(x.y)) + (f(x.z) + f(x.w));
}

__device__ inline float dot(float x, float y) { return x * y; }

__device__ inline float dot(float4 x, float4 y) {
  return (x.x * y.x + x.y * y.y) + (x.z * y.z + x.w * y.w);
}

// give(r, sum) for every row; sum_part(r, member, width) is what one of `width` lanes adds to it.
// The rows are dealt to `count` warps, of which this one is number `warp`.
template <typename SumPart, typename Give>
__device__ inline void sum_rows(int64_t row_count, int width, int64_t warp, int64_t count,
                                const SumPart &sum_part, const Give &give) {
  const int member = lane_index() % width, rows_at_once = kWarp / width;
  for (int64_t base = warp * rows_at_once; base < row_count; base += count * rows_at_once) {
    const int64_t r = base + lane_index() / width;
    const bool has_row = r < row_count;
    const float sum = group_sum(has_row ? sum_part(r, member, width) : 0.0f, width);
    if (has_row && member == 0) give(r, sum);
  }
}

#endif
