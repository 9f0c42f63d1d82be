// cosine_difference: |a| |b| / (a . b) of two rows, all three sums in one pass.
//
// Floor: 2*B*D*4 bytes read once. The sums are double, as on the CPU: a square of any float32 fits,
// and the product of two is exact, so a fused multiply-add changes nothing. A Jetson Nano has 4
// double units: a row of D = 64 keeps them busy for about 1000 cycles, 1 us, a tenth of a launch;
// from about D = 4000 on they take longer than the memory.

#include "launch.h"
#include "warp.h"

namespace {

constexpr int kThreads = 256;        // for a long row
constexpr int64_t kShortRow = 1024;  // a warp alone is as fast, and needs no second step

struct Sums {
  double aa, bb, ab;
};

__device__ void add(float x, float y, Sums &sums) {
  const double a = x, b = y;
  sums.aa += a * a;
  sums.bb += b * b;
  sums.ab += a * b;
}

__device__ void add(float4 x, float4 y, Sums &sums) {
  add(x.x, y.x, sums);
  add(x.y, y.y, sums);
  add(x.z, y.z, sums);
  add(x.w, y.w, sums);
}

// Complete in the first lane.
__device__ Sums sum_of_warp(const Sums &part) {
  return {group_sum(part.aa, kWarp), group_sum(part.bb, kWarp), group_sum(part.ab, kWarp)};
}

// Complete in thread 0.
__device__ Sums sum_of_block(const Sums &part) {
  __shared__ Sums of_warps[kThreads / kWarp];
  const Sums sums = sum_of_warp(part);
  if (warp_count() == 1) return sums;
  if (lane_index() == 0) of_warps[warp_index()] = sums;
  __syncthreads();
  if (warp_index() != 0) return sums;
  const Sums none = {0, 0, 0};
  return sum_of_warp(lane_index() < warp_count() ? of_warps[lane_index()] : none);
}

template <typename Pack>
__device__ void add_rows(const float *a__d, const float *b__d, int64_t D, Sums &sums) {
  const int64_t pack_count = D / static_cast<int64_t>(sizeof(Pack) / sizeof(float));
  const Pack *a = reinterpret_cast<const Pack *>(a__d), *b = reinterpret_cast<const Pack *>(b__d);
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < pack_count; i += blockDim.x) {
    add(__ldg(a + i), __ldg(b + i), sums);
  }
}

// A block for each row.
__global__ void differences(const float *feature__bd, const float *first__bd, int64_t D,
                            float *difference__b) {
  const int64_t b = blockIdx.x;
  const float *a__d = feature__bd + b * D, *b__d = first__bd + b * D;
  const bool packs = has_packs(feature__bd, D) && has_packs(first__bd, D);
  Sums part = {0, 0, 0};
  if (packs) {
    add_rows<float4>(a__d, b__d, D, part);
  } else {
    add_rows<float>(a__d, b__d, D, part);
  }
  const Sums sums = sum_of_block(part);
  if (threadIdx.x != 0) return;
  float difference;
  if (sums.aa == 0 || sums.bb == 0) {
    difference = NAN;
  } else if (sums.ab <= 0) {
    difference = INFINITY;
  } else {
    difference = static_cast<float>(sqrt(sums.aa) * sqrt(sums.bb) / sums.ab);
  }
  difference__b[b] = difference;
}

}  // namespace

edgesdk_status edgesdk_cosine_difference_cuda(const float *feature__bd, const float *first__bd,
                                              int64_t B, int64_t D, float *difference__b,
                                              void *stream) {
  if (B == 0) return EDGESDK_OK;
  return launch(differences, B, D <= kShortRow ? kWarp : kThreads, stream, feature__bd, first__bd,
                D, difference__b);
}
