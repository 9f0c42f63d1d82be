// exit_scores: softmax, its maximum, margin, entropy and argmax from a row of logits.
//
// Floor: N exponentials per sample. With m = max x, d_i = x_i - m, e_i = exp(d_i), Z = sum e_i:
//   max probability 1/Z, margin (1 - e_second)/Z, entropy log Z - (sum e_i d_i)/Z.

#include <cmath>
#include <cstring>
#include <limits>

#include "dispatch.h"
#include "edgesdk/kernels.h"

namespace {

struct TopTwo {
  float first, second;
};

EDGESDK_INLINE void insert(float value, float &first, float &second) {
  const float loser = value > first ? first : value;
  first = value > first ? value : first;
  second = loser > second ? loser : second;
}

// NaN is not found here: it shows in the sum of exponentials.
EDGESDK_INLINE TopTwo top_two(const float *row__n, int64_t N) {
  constexpr int kLanes = 16;
  const float lowest = -std::numeric_limits<float>::infinity();
  TopTwo top = {lowest, lowest};
  int64_t n = 0;
  if (N >= 2 * kLanes) {
    float first[kLanes], second[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) first[lane] = second[lane] = lowest;
    for (; n + kLanes <= N; n += kLanes) {
#pragma omp simd
      for (int lane = 0; lane < kLanes; ++lane) {
        insert(row__n[n + lane], first[lane], second[lane]);
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      insert(first[lane], top.first, top.second);
      insert(second[lane], top.first, top.second);
    }
  }
  for (; n < N; ++n) insert(row__n[n], top.first, top.second);
  return top;
}

// exp(x) for x <= 0 within 2 units in the last place; below -87 (1.6e-38) it is 0. NaN stays NaN.
// x = k log 2 + r with |r| <= log(2)/2, exp(r) from its Taylor series, 2^k through the exponent
// bits (Cody and Waite, Software Manual for the Elementary Functions, 1980). The standard
// library's exp would keep the loop around it from being vectorised.
EDGESDK_INLINE float exp_of_nonpositive(float x) {
  const float round_to_integer = 12582912.0f;  // 1.5 * 2^23: what lies behind the point is lost
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * 1.44269504f + round_to_integer;
  const float k = shifted - round_to_integer;
  const float r = (clamped - k * 0.693359375f) + k * 2.12194440e-4f;
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;  // the low bits of `shifted` are k
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -87.0f ? 0.0f : series * power;
}

int64_t index_of(float value, const float *row__n, int64_t N) {
  int64_t n = 0;
  while (n + 1 < N && row__n[n] != value) ++n;
  return n;
}

int64_t index_of_nan(const float *row__n, int64_t N) {
  for (int64_t n = 0; n < N; ++n) {
    if (std::isnan(row__n[n])) return n;
  }
  return -1;
}

EDGESDK_DISPATCH void score_row(const float *row__n, int64_t N, int64_t b, edgesdk_scores scores) {
  const TopTwo top = top_two(row__n, N);
  float sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
  for (int64_t n = 0; n < N; ++n) {
    const float distance = row__n[n] - top.first;
    const float e = exp_of_nonpositive(distance);
    sum += e;
    weighted += e == 0 ? 0 : e * distance;  // probability 0 has entropy 0, also at -infinity
  }
  const bool undefined = std::isnan(sum);  // a NaN, a +infinity, or nothing but -infinity
  const int64_t nan_index = undefined ? index_of_nan(row__n, N) : -1;
  scores.class_index__b[b] = nan_index < 0 ? index_of(top.first, row__n, N) : nan_index;
  const float max_probability = 1 / sum;
  scores.max_probability__b[b] = max_probability;
  scores.margin__b[b] =
      N == 1 || undefined ? max_probability : std::fabs(std::expm1(top.second - top.first)) / sum;
  scores.entropy__b[b] = std::log(sum) - weighted / sum;
}

}  // namespace

edgesdk_status edgesdk_exit_scores(const float *logits__bn, int64_t B, int64_t N,
                                   edgesdk_scores scores) {
  for (int64_t b = 0; b < B; ++b) score_row(logits__bn + b * N, N, b, scores);
  return EDGESDK_OK;
}
