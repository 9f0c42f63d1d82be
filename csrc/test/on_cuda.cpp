// The functions of kernels.h on a CUDA device: copies in, the call of cuda.h, copies out. With
// these in place of the CPU's, kernels_test tests the CUDA kernels without Python.
//
// Every device array has exactly its size, so that compute-sanitizer, or an address sanitizer where
// the kernels run on the CPU, sees a read beyond the end.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "edgesdk/cuda.h"

namespace {

void expect_success(cudaError_t error, const char *step) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "kernels_test: %s: %s\n", step, cudaGetErrorString(error));
  std::exit(2);
}

void expect_launch(edgesdk_status status) {
  if (status == EDGESDK_OK) return;
  std::fprintf(stderr, "kernels_test: status %d: %s\n", status, edgesdk_cuda_failure());
  std::exit(2);
}

// An array on the device; `host` may be NULL, for one that is left out or only written.
template <typename T>
class Array {
 public:
  Array(const T *host, int64_t count) : byte_count_(static_cast<std::size_t>(count) * sizeof(T)) {
    if (byte_count_ == 0) return;
    expect_success(cudaMalloc(&device_, byte_count_), "cudaMalloc");
    if (!host) return;
    expect_success(cudaMemcpy(device_, host, byte_count_, cudaMemcpyHostToDevice), "to the device");
  }
  ~Array() { cudaFree(device_); }
  Array(const Array &) = delete;
  Array &operator=(const Array &) = delete;

  T *get() const { return static_cast<T *>(device_); }

  void read(T *host) const {
    if (byte_count_ == 0 || !host) return;
    expect_success(cudaMemcpy(host, device_, byte_count_, cudaMemcpyDeviceToHost), "to the host");
  }

 private:
  void *device_ = nullptr;
  std::size_t byte_count_;
};

int64_t count_if(const void *given, int64_t count) { return given ? count : 0; }

struct Features {
  explicit Features(const edgesdk_features &host)
      : features(host.features__bcs, host.B * host.C * host.S),
        scale(host.scale__c, count_if(host.scale__c, host.C)),
        shift(host.shift__c, count_if(host.shift__c, host.C)),
        pooled(nullptr, host.B * host.C),
        view{features.get(), scale.get(), shift.get(), host.B, host.C, host.S} {}

  Array<float> features, scale, shift, pooled;
  edgesdk_features view;
};

struct Scores {
  explicit Scores(int64_t B)
      : class_index(nullptr, B),
        max_probability(nullptr, B),
        margin(nullptr, B),
        entropy(nullptr, B) {}

  edgesdk_scores targets() const {
    return {class_index.get(), max_probability.get(), margin.get(), entropy.get()};
  }
  void read(const edgesdk_scores &host) const {
    class_index.read(host.class_index__b);
    max_probability.read(host.max_probability__b);
    margin.read(host.margin__b);
    entropy.read(host.entropy__b);
  }

  Array<int64_t> class_index;
  Array<float> max_probability, margin, entropy;
};

}  // namespace

edgesdk_status edgesdk_exit_head(const edgesdk_features *input, const float *weight__nc,
                                 const float *bias__n, int64_t N, edgesdk_scores scores,
                                 float *logits__bn) {
  const Features features(*input);
  const Array<float> weight(weight__nc, N * input->C), bias(bias__n, N);
  const Array<float> logits(nullptr, input->B * N);
  const Scores found(input->B);
  expect_launch(edgesdk_exit_head_cuda(&features.view, weight.get(), bias.get(), N, found.targets(),
                                       logits.get(), features.pooled.get(), nullptr));
  logits.read(logits__bn);
  found.read(scores);
  return EDGESDK_OK;
}

edgesdk_status edgesdk_exit_scores(const float *logits__bn, int64_t B, int64_t N,
                                   edgesdk_scores scores) {
  const Array<float> logits(logits__bn, B * N);
  const Scores found(B);
  expect_launch(edgesdk_exit_scores_cuda(logits.get(), B, N, found.targets(), nullptr));
  found.read(scores);
  return EDGESDK_OK;
}

edgesdk_status edgesdk_exit_feature(const edgesdk_features *input, const float *projection__dc,
                                    int64_t D, float *feature__bd) {
  const Features features(*input);
  const Array<float> projection(projection__dc, count_if(projection__dc, D * input->C));
  const Array<float> feature(nullptr, input->B * D);
  expect_launch(edgesdk_exit_feature_cuda(&features.view, projection.get(), D, feature.get(),
                                          features.pooled.get(), nullptr));
  feature.read(feature__bd);
  return EDGESDK_OK;
}

edgesdk_status edgesdk_cosine_difference(const float *feature__bd, const float *first__bd,
                                         int64_t B, int64_t D, float *difference__b) {
  const Array<float> feature(feature__bd, B * D), first(first__bd, B * D), difference(nullptr, B);
  expect_launch(
      edgesdk_cosine_difference_cuda(feature.get(), first.get(), B, D, difference.get(), nullptr));
  difference.read(difference__b);
  return EDGESDK_OK;
}

edgesdk_status edgesdk_gather_rows(const void *rows__br, int64_t B, int64_t row_bytes,
                                   const int64_t *indices__k, int64_t K, void *gathered__kr) {
  const Array<char> rows(static_cast<const char *>(rows__br), B * row_bytes);
  const Array<int64_t> indices(indices__k, K);
  const Array<char> gathered(static_cast<const char *>(gathered__kr), K * row_bytes);
  expect_launch(edgesdk_gather_rows_cuda(rows.get(), B, row_bytes, indices.get(), K, gathered.get(),
                                         nullptr));
  gathered.read(static_cast<char *>(gathered__kr));
  for (int64_t k = 0; k < K; ++k) {
    if (indices__k[k] < 0 || indices__k[k] >= B) return EDGESDK_INDEX_OUT_OF_RANGE;
  }
  return EDGESDK_OK;
}

edgesdk_status edgesdk_quantize_u8(const float *values__n, int64_t N, uint8_t *quantized__n,
                                   float *scale, float *zero) {
  const Array<float> values(values__n, N), scale_zero(nullptr, 2);
  const Array<float> ranges(nullptr, 2 * EDGESDK_CUDA_RANGE_COUNT);
  const Array<uint8_t> quantized(quantized__n, N);
  expect_launch(edgesdk_quantize_u8_cuda(values.get(), N, quantized.get(), scale_zero.get(),
                                         ranges.get(), nullptr));
  float found[2];
  scale_zero.read(found);
  quantized.read(quantized__n);
  const bool refused = found[0] != found[0];
  *scale = refused ? 0 : found[0];
  *zero = refused ? 0 : found[1];
  return refused ? EDGESDK_NOT_QUANTIZABLE : EDGESDK_OK;
}

edgesdk_status edgesdk_dequantize_u8(const uint8_t *quantized__n, int64_t N, float scale,
                                     float zero, float *values__n) {
  const float numbers[2] = {scale, zero};
  const Array<uint8_t> quantized(quantized__n, N);
  const Array<float> scale_zero(numbers, 2), values(nullptr, N);
  expect_launch(
      edgesdk_dequantize_u8_cuda(quantized.get(), N, scale_zero.get(), values.get(), nullptr));
  values.read(values__n);
  return EDGESDK_OK;
}
