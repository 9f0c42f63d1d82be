// The scores of one row of logits, by one warp; see csrc/cpu/exit_scores.cpp for the formulas.
#ifndef EDGESDK_CUDA_SCORE_ROW_H
#define EDGESDK_CUDA_SCORE_ROW_H

#include "edgesdk/kernels.h"
#include "warp.h"

struct TopTwo {
  float first, second;
  int64_t index;      // of the first `first`
  int64_t nan_index;  // of the first NaN, N if there is none
};

__device__ inline void insert(float value, int64_t index, TopTwo &top) {
  const bool wins = value > top.first || (value == top.first && index < top.index);
  const float loser = wins ? top.first : value;
  top.first = wins ? value : top.first;
  top.index = wins ? index : top.index;
  top.second = loser > top.second ? loser : top.second;
}

// Past the first-level cache: another multiprocessor may have written what lies there.
__device__ inline float read_fresh(const float *pointer) {
  return *static_cast<const volatile float *>(pointer);
}

// Every lane has the result.
__device__ inline TopTwo top_two(const float *row__n, int64_t N) {
  const float lowest = -INFINITY;
  TopTwo top = {lowest, lowest, N, N};
  for (int64_t n = lane_index(); n < N; n += kWarp) {
    const float value = read_fresh(row__n + n);
    insert(value, n, top);
    if (value != value && n < top.nan_index) top.nan_index = n;
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const float first = __shfl_xor_sync(kAllLanes, top.first, offset);
    const float second = __shfl_xor_sync(kAllLanes, top.second, offset);
    const long long index = __shfl_xor_sync(kAllLanes, (long long)top.index, offset);
    const long long nan_index = __shfl_xor_sync(kAllLanes, (long long)top.nan_index, offset);
    insert(first, index, top);
    top.second = second > top.second ? second : top.second;
    if (nan_index < top.nan_index) top.nan_index = nan_index;
  }
  return top;
}

// One warp writes the scores of sample b.
__device__ inline void score_row(const float *row__n, int64_t N, int64_t b,
                                 const edgesdk_scores &scores) {
  const TopTwo top = top_two(row__n, N);
  float sum = 0, weighted = 0;
  for (int64_t n = lane_index(); n < N; n += kWarp) {
    const float distance = read_fresh(row__n + n) - top.first;
    const float e = expf(distance);
    sum += e;
    weighted += e == 0 ? 0 : e * distance;  // probability 0 has entropy 0, also at -infinity
  }
  sum = sum_for_all(sum);
  weighted = sum_for_all(weighted);
  if (lane_index() != 0) return;
  const bool undefined = sum != sum;  // a NaN, a +infinity, or nothing but -infinity
  const float max_probability = 1 / sum;
  scores.class_index__b[b] = top.nan_index < N ? top.nan_index : top.index;
  scores.max_probability__b[b] = max_probability;
  scores.margin__b[b] =
      N == 1 || undefined ? max_probability : fabsf(expm1f(top.second - top.first)) / sum;
  scores.entropy__b[b] = logf(sum) - weighted / sum;
}

#endif
