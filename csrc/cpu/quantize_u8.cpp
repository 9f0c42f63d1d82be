// quantize_u8 and dequantize_u8: float32 <-> 8 bits with one scale and zero per array.
//
// Floor: values read twice (range, then bytes), 1 byte written per value. Every step is one
// float32 operation in the reference's order, so both give the same bytes.

#include <limits>

#include "dispatch.h"
#include "edgesdk/kernels.h"

namespace {

struct Range {
  float min, max;
  bool has_nan;
};

EDGESDK_DISPATCH Range range_of(const float *values__n, int64_t N) {
  constexpr int kLanes = 64;
  float low[kLanes], high[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) low[lane] = high[lane] = values__n[0];
  int nan_count = 0;
  int64_t n = 0;
  for (; n + kLanes <= N; n += kLanes) {
#pragma omp simd reduction(+ : nan_count)
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = values__n[n + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
      nan_count += value != value;
    }
  }
  for (; n < N; ++n) {
    const float value = values__n[n];
    low[0] = value < low[0] ? value : low[0];
    high[0] = value > high[0] ? value : high[0];
    nan_count += value != value;
  }
  Range range = {low[0], high[0], nan_count > 0};
  for (int lane = 1; lane < kLanes; ++lane) {
    range.min = low[lane] < range.min ? low[lane] : range.min;
    range.max = high[lane] > range.max ? high[lane] : range.max;
  }
  return range;
}

EDGESDK_DISPATCH void to_bytes(const float *values__n, int64_t N, float zero, float inverse,
                               uint8_t *quantized__n) {
#pragma omp simd
  for (int64_t n = 0; n < N; ++n) {
    quantized__n[n] =
        static_cast<uint8_t>(static_cast<int32_t>((values__n[n] - zero) * inverse + 0.5f));
  }
}

EDGESDK_DISPATCH void to_floats(const uint8_t *quantized__n, int64_t N, float scale, float zero,
                                float *values__n) {
#pragma omp simd
  for (int64_t n = 0; n < N; ++n) {
    values__n[n] = static_cast<float>(quantized__n[n]) * scale + zero;
  }
}

}  // namespace

edgesdk_status edgesdk_quantize_u8(const float *values__n, int64_t N, uint8_t *quantized__n,
                                   float *scale, float *zero) {
  *scale = *zero = 0;
  if (N == 0) return EDGESDK_OK;
  const Range range = range_of(values__n, N);
  const float width = range.max - range.min;
  if (range.has_nan || !(width <= EDGESDK_QUANTIZE_RANGE_MAX)) return EDGESDK_NOT_QUANTIZABLE;
  const float smallest = std::numeric_limits<float>::min();  // keeps 1/scale finite
  *zero = range.min;
  if (width > 0) *scale = width / 255 > smallest ? width / 255 : smallest;
  to_bytes(values__n, N, range.min, width > 0 ? 1 / *scale : 0, quantized__n);
  return EDGESDK_OK;
}

edgesdk_status edgesdk_dequantize_u8(const uint8_t *quantized__n, int64_t N, float scale,
                                     float zero, float *values__n) {
  to_floats(quantized__n, N, scale, zero, values__n);
  return EDGESDK_OK;
}
