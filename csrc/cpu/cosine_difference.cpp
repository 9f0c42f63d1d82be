// cosine_difference: |a| |b| / (a . b) of two rows, all three sums in one pass.
//
// Floor: 2*B*D*4 bytes read once. The sums are double: a square of any float32 fits, so neither
// large nor small features overflow or vanish.

#include <cmath>
#include <limits>

#include "dispatch.h"
#include "edgesdk/kernels.h"

namespace {

EDGESDK_DISPATCH float difference(const float *a__d, const float *b__d, int64_t D) {
  double aa = 0, bb = 0, ab = 0;
#pragma omp simd reduction(+ : aa, bb, ab)
  for (int64_t d = 0; d < D; ++d) {
    const double a = a__d[d], b = b__d[d];
    aa += a * a;
    bb += b * b;
    ab += a * b;
  }
  if (aa == 0 || bb == 0) return std::numeric_limits<float>::quiet_NaN();
  if (ab <= 0) return std::numeric_limits<float>::infinity();
  return static_cast<float>(std::sqrt(aa) * std::sqrt(bb) / ab);
}

}  // namespace

edgesdk_status edgesdk_cosine_difference(const float *feature__bd, const float *first__bd,
                                         int64_t B, int64_t D, float *difference__b) {
  for (int64_t b = 0; b < B; ++b) {
    difference__b[b] = difference(feature__bd + b * D, first__bd + b * D, D);
  }
  return EDGESDK_OK;
}
