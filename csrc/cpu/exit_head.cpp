// exit_head and exit_feature: affine + ReLU + average pool + linear in one pass over the features.
//
// Floor: B*C*S*4 bytes read once; the linear layer and the scores are small beside it.
// Sums run over four rows at a time: four independent accumulators hide the latency of the
// additions, and every one of them reads memory in order.

#include <memory>
#include <new>

#include "dispatch.h"
#include "edgesdk/kernels.h"

namespace {

// sums[r] = sum over i < length of term(r, i)
template <typename Term>
EDGESDK_INLINE void sum_rows(int64_t row_count, int64_t length, const Term &term, float *sums) {
  int64_t r = 0;
  for (; r + 4 <= row_count; r += 4) {
    float sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
    for (int64_t i = 0; i < length; ++i) {
      sum0 += term(r, i);
      sum1 += term(r + 1, i);
      sum2 += term(r + 2, i);
      sum3 += term(r + 3, i);
    }
    sums[r] = sum0;
    sums[r + 1] = sum1;
    sums[r + 2] = sum2;
    sums[r + 3] = sum3;
  }
  for (; r < row_count; ++r) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < length; ++i) sum += term(r, i);
    sums[r] = sum;
  }
}

struct Relu {
  const float *values__cs;
  int64_t S;

  // Written so that NaN stays: it is not below 0.
  EDGESDK_INLINE float operator()(int64_t c, int64_t s) const {
    const float value = values__cs[c * S + s];
    return value < 0 ? 0 : value;
  }
};

struct AffineRelu {
  const float *values__cs, *scale__c, *shift__c;
  int64_t S;

  EDGESDK_INLINE float operator()(int64_t c, int64_t s) const {
    const float value = values__cs[c * S + s] * scale__c[c] + shift__c[c];
    return value < 0 ? 0 : value;
  }
};

struct Product {
  const float *matrix__nc, *vector__c;
  int64_t C;

  EDGESDK_INLINE float operator()(int64_t n, int64_t c) const {
    return matrix__nc[n * C + c] * vector__c[c];
  }
};

EDGESDK_DISPATCH void pool(const edgesdk_features &input, int64_t b, float *pooled__c) {
  const int64_t C = input.C, S = input.S;
  const float *sample__cs = input.features__bcs + b * C * S;
  if (input.scale__c) {
    sum_rows(C, S, AffineRelu{sample__cs, input.scale__c, input.shift__c, S}, pooled__c);
  } else {
    sum_rows(C, S, Relu{sample__cs, S}, pooled__c);
  }
  const float count = static_cast<float>(S);
  for (int64_t c = 0; c < C; ++c) pooled__c[c] /= count;
}

EDGESDK_DISPATCH void multiply(const float *matrix__nc, const float *vector__c, int64_t N,
                               int64_t C, float *product__n) {
  sum_rows(N, C, Product{matrix__nc, vector__c, C}, product__n);
}

}  // namespace

edgesdk_status edgesdk_exit_feature(const edgesdk_features *input, const float *projection__dc,
                                    int64_t D, float *feature__bd) {
  if (!projection__dc) {
    for (int64_t b = 0; b < input->B; ++b) pool(*input, b, feature__bd + b * input->C);
    return EDGESDK_OK;
  }
  std::unique_ptr<float[]> pooled__c(new (std::nothrow) float[input->C]);
  if (!pooled__c) return EDGESDK_OUT_OF_MEMORY;
  for (int64_t b = 0; b < input->B; ++b) {
    pool(*input, b, pooled__c.get());
    multiply(projection__dc, pooled__c.get(), D, input->C, feature__bd + b * D);
  }
  return EDGESDK_OK;
}

edgesdk_status edgesdk_exit_head(const edgesdk_features *input, const float *weight__nc,
                                 const float *bias__n, int64_t N, edgesdk_scores scores,
                                 float *logits__bn) {
  std::unique_ptr<float[]> scratch__bn;
  if (!logits__bn) {
    scratch__bn.reset(new (std::nothrow) float[input->B * N]);
    if (!scratch__bn) return EDGESDK_OUT_OF_MEMORY;
    logits__bn = scratch__bn.get();
  }
  const edgesdk_status status = edgesdk_exit_feature(input, weight__nc, N, logits__bn);
  if (status != EDGESDK_OK) return status;
  for (int64_t b = 0; b < input->B; ++b) {
    for (int64_t n = 0; n < N; ++n) logits__bn[b * N + n] += bias__n[n];
  }
  return edgesdk_exit_scores(logits__bn, input->B, N, scores);
}
