// exit_head and exit_feature: affine + ReLU + average pool + linear in one or two launches.
//
// Floor: B*C*S*4 bytes read once; the linear layer and the scores are small beside it. One block
// does all for one image where that fills the device or the image is small. Elsewhere every warp
// of the device pools, a second launch shares out the rows of the linear layer, and the block that
// is last with an image has its scores.

#include "launch.h"
#include "score_row.h"
#include "warp.h"

namespace {

constexpr int kPoolThreads = 256;
constexpr int kExitThreads = 512;
constexpr int64_t kSmallBytes = 128 * 1024;    // what one block reads about as fast as a launch
constexpr int64_t kBytesOfABlock = 64 * 1024;  // of weights, where several blocks share them

// Written so that NaN stays: it is not below 0. Not fused: the values are the reference's.
struct AffineRelu {
  float scale, shift;

  __device__ float operator()(float feature) const {
    const float value = __fadd_rn(__fmul_rn(feature, scale), shift);
    return value < 0 ? 0 : value;
  }
};

template <typename Pack>
__device__ void pool_packs(const edgesdk_features &input, int64_t first_row, int64_t row_count,
                           int64_t warp, int64_t count, float *pooled__r) {
  const int64_t pack_count = input.S / static_cast<int64_t>(sizeof(Pack) / sizeof(float));
  const Pack *packs = reinterpret_cast<const Pack *>(input.features__bcs) + first_row * pack_count;
  const float size = static_cast<float>(input.S);
  const auto sum_part = [&](int64_t r, int member, int width) {
    // x * 1 + 0 is x, also for NaN and infinity
    const int64_t c = (first_row + r) % input.C;
    const AffineRelu value = {input.scale__c ? __ldg(input.scale__c + c) : 1.0f,
                              input.scale__c ? __ldg(input.shift__c + c) : 0.0f};
    const Pack *row = packs + r * pack_count;
    float sum = 0;
#pragma unroll 4
    for (int64_t i = member; i < pack_count; i += width) sum += sum_of(__ldg(row + i), value);
    return sum;
  };
  sum_rows(row_count, group_width(pack_count), warp, count, sum_part,
           [&](int64_t r, float sum) { pooled__r[r] = sum / size; });
}

// The averages of some rows (b, c) of the features.
__device__ void pool_rows(const edgesdk_features &input, int64_t first_row, int64_t row_count,
                          int64_t warp, int64_t count, float *pooled__r) {
  if (has_packs(input.features__bcs, input.S)) {
    pool_packs<float4>(input, first_row, row_count, warp, count, pooled__r);
  } else {
    pool_packs<float>(input, first_row, row_count, warp, count, pooled__r);
  }
}

struct Linear {
  const float *weight__nc, *bias__n;  // bias__n or NULL
  int64_t N, C;
};

template <typename Pack>
__device__ void multiply_packs(const Linear &linear, const float *vector__c, int64_t warp,
                               int64_t count, float *product__n) {
  const int64_t pack_count = linear.C / static_cast<int64_t>(sizeof(Pack) / sizeof(float));
  const Pack *weight = reinterpret_cast<const Pack *>(linear.weight__nc);
  const Pack *vector = reinterpret_cast<const Pack *>(vector__c);
  const auto sum_part = [&](int64_t n, int member, int width) {
    const Pack *row = weight + n * pack_count;
    float sum = 0;
#pragma unroll 4
    for (int64_t i = member; i < pack_count; i += width) sum += dot(__ldg(row + i), vector[i]);
    return sum;
  };
  sum_rows(linear.N, group_width(pack_count), warp, count, sum_part, [&](int64_t n, float sum) {
    product__n[n] = linear.bias__n ? sum + __ldg(linear.bias__n + n) : sum;
  });
}

__device__ void multiply(const Linear &linear, const float *vector__c, int64_t warp, int64_t count,
                         float *product__n) {
  if (has_packs(linear.weight__nc, linear.C) && has_packs(vector__c, linear.C)) {
    multiply_packs<float4>(linear, vector__c, warp, count, product__n);
  } else {
    multiply_packs<float>(linear, vector__c, warp, count, product__n);
  }
}

// counters__b (or NULL) become 0 for the launch that follows.
__global__ void pool(edgesdk_features input, float *pooled__bc, int64_t *counters__b) {
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * warp_count() + warp_index();
  const int64_t count = static_cast<int64_t>(gridDim.x) * warp_count();
  pool_rows(input, 0, input.B * input.C, warp, count, pooled__bc);
  if (!counters__b) return;
  const int64_t thread = warp * kWarp + lane_index();
  for (int64_t b = thread; b < input.B; b += count * kWarp) counters__b[b] = 0;
}

// Whether this block is the last of `share_count` to get here. It then sees what all have written.
__device__ bool is_last(int64_t *counter, int share_count) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    const auto arrived = reinterpret_cast<unsigned long long *>(counter);
    last = share_count == 1 || atomicAdd(arrived, 1ULL) + 1 == static_cast<unsigned>(share_count);
  }
  __syncthreads();
  __threadfence();
  return last;
}

// `share_count` blocks for each image; a single one also pools. Until its last block has come, an
// image's class_index__b counts the blocks that came.
__global__ void leave(edgesdk_features input, bool pools, int share_count, Linear linear,
                      float *pooled__bc, float *product__bn, edgesdk_scores scores) {
  const int64_t b = blockIdx.x / share_count;
  const int share = static_cast<int>(blockIdx.x % share_count);
  float *pooled__c = pooled__bc + b * linear.C, *product__n = product__bn + b * linear.N;
  if (pools) {
    pool_rows(input, b * input.C, input.C, warp_index(), warp_count(), pooled__c);
    __syncthreads();
  }
  const int64_t warp = static_cast<int64_t>(share) * warp_count() + warp_index();
  multiply(linear, pooled__c, warp, static_cast<int64_t>(share_count) * warp_count(), product__n);
  if (!scores.class_index__b || !is_last(scores.class_index__b + b, share_count)) return;
  if (warp_index() == 0) score_row(product__n, linear.N, b, scores);
}

edgesdk_status launch_pool(const edgesdk_features &input, float *pooled__bc, int64_t *counters__b,
                           void *stream) {
  const bool packs = has_packs(input.features__bcs, input.S);
  const int rows_of_a_warp = kWarp / group_width(packs ? input.S / 4 : input.S);
  const int64_t rows_of_a_block = rows_of_a_warp * (kPoolThreads / kWarp);
  const unsigned blocks = block_count(ceil_div(input.B * input.C, rows_of_a_block));
  return launch(pool, blocks, kPoolThreads, stream, input, pooled__bc, counters__b);
}

edgesdk_status launch_exit(const edgesdk_features &input, const Linear &linear, float *pooled__bc,
                           float *product__bn, const edgesdk_scores &scores, void *stream) {
  if (input.B == 0) return EDGESDK_OK;
  const int64_t weight_bytes = linear.N * linear.C * static_cast<int64_t>(sizeof(float));
  const int64_t image_bytes = input.C * input.S * static_cast<int64_t>(sizeof(float));
  const int64_t multiprocessors = multiprocessor_count();
  if (input.B >= multiprocessors || image_bytes + weight_bytes <= kSmallBytes) {
    return launch(leave, input.B, kExitThreads, stream, input, true, 1, linear, pooled__bc,
                  product__bn, scores);
  }
  const edgesdk_status status = launch_pool(input, pooled__bc, scores.class_index__b, stream);
  if (status != EDGESDK_OK) return status;
  const int64_t wanted = ceil_div(weight_bytes, kBytesOfABlock);
  const int64_t most = ceil_div(multiprocessors * kBlocksPerMultiprocessorMax / 2, input.B);
  const int share_count = static_cast<int>(wanted < most ? wanted : most);
  return launch(leave, input.B * share_count, kExitThreads, stream, input, false, share_count,
                linear, pooled__bc, product__bn, scores);
}

}  // namespace

edgesdk_status edgesdk_exit_feature_cuda(const edgesdk_features *input, const float *projection__dc,
                                         int64_t D, float *feature__bd, float *pooled__bc,
                                         void *stream) {
  if (projection__dc) {
    const Linear linear = {projection__dc, nullptr, D, input->C};
    return launch_exit(*input, linear, pooled__bc, feature__bd, edgesdk_scores(), stream);
  }
  return input->B == 0 ? EDGESDK_OK : launch_pool(*input, feature__bd, nullptr, stream);
}

edgesdk_status edgesdk_exit_head_cuda(const edgesdk_features *input, const float *weight__nc,
                                      const float *bias__n, int64_t N, edgesdk_scores scores,
                                      float *logits__bn, float *pooled__bc, void *stream) {
  const Linear linear = {weight__nc, bias__n, N, input->C};
  return launch_exit(*input, linear, pooled__bc, logits__bn, scores, stream);
}
