// quantize_u8 and dequantize_u8: float32 <-> 8 bits with one scale and zero per array.
//
// Floor: values read twice (range, then bytes), 1 byte written per value. Every step is one float32
// operation in the reference's order, none fused, so the bytes are the reference's. A short array
// is one block's work; for a long one every block writes the range of its share, and in a second
// launch every block puts all of these together again, which is cheaper than a third.

#include "launch.h"
#include "warp.h"

namespace {

constexpr int kThreads = 512;
constexpr int64_t kShortArray = 16 * 1024;  // one block alone, where there are others
constexpr int64_t kValuesOfABlock = 16 * kThreads;

struct Range {
  float low, high;  // both NaN as soon as a NaN was seen
};

__device__ Range nothing() { return {INFINITY, -INFINITY}; }

__device__ void merge(const Range &other, Range &range) {
  const bool undefined = other.low != other.low;
  range.low = other.low < range.low || undefined ? other.low : range.low;
  range.high = other.high > range.high || undefined ? other.high : range.high;
}

__device__ void include(float value, Range &range) { merge({value, value}, range); }

__device__ void include(float4 pack, Range &range) {
  include(pack.x, range);
  include(pack.y, range);
  include(pack.z, range);
  include(pack.w, range);
}

template <typename Pack>
__device__ Range range_of_packs(const float *values__n, int64_t N, int64_t thread, int64_t count) {
  const Pack *packs = reinterpret_cast<const Pack *>(values__n);
  Range range = nothing();
#pragma unroll 4
  for (int64_t i = thread; i < N / static_cast<int64_t>(sizeof(Pack) / sizeof(float)); i += count) {
    include(__ldg(packs + i), range);
  }
  return range;
}

__device__ Range range_of_warp(Range range) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const float low = __shfl_xor_sync(kAllLanes, range.low, offset);
    merge({low, __shfl_xor_sync(kAllLanes, range.high, offset)}, range);
  }
  return range;
}

// Every thread of the block has the result.
__device__ Range range_of_block(const Range &part) {
  __shared__ Range of_warps[kThreads / kWarp];
  const Range range = range_of_warp(part);
  if (lane_index() == 0) of_warps[warp_index()] = range;
  __syncthreads();
  return range_of_warp(lane_index() < kThreads / kWarp ? of_warps[lane_index()] : nothing());
}

// The range of what this block is dealt of the values.
__device__ Range range_of_share(const float *values__n, int64_t N) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t count = static_cast<int64_t>(gridDim.x) * blockDim.x;
  return range_of_block(has_packs(values__n, N)
                            ? range_of_packs<float4>(values__n, N, thread, count)
                            : range_of_packs<float>(values__n, N, thread, count));
}

__device__ unsigned char code_of(float value, float zero, float inverse) {
  const float level = __fadd_rn(__fmul_rn(__fsub_rn(value, zero), inverse), 0.5f);
  return static_cast<unsigned char>(static_cast<int>(level));
}

__device__ void write_codes(const float *values__n, int64_t N, float zero, float inverse,
                            uint8_t *quantized__n) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t count = static_cast<int64_t>(gridDim.x) * blockDim.x;
  if (has_packs(values__n, N) && is_aligned(quantized__n, sizeof(uchar4))) {
    const float4 *packs = reinterpret_cast<const float4 *>(values__n);
    uchar4 *codes = reinterpret_cast<uchar4 *>(quantized__n);
#pragma unroll 2
    for (int64_t i = thread; i < N / 4; i += count) {
      const float4 pack = __ldg(packs + i);
      codes[i] = make_uchar4(code_of(pack.x, zero, inverse), code_of(pack.y, zero, inverse),
                             code_of(pack.z, zero, inverse), code_of(pack.w, zero, inverse));
    }
  } else {
    for (int64_t n = thread; n < N; n += count) {
      quantized__n[n] = code_of(__ldg(values__n + n), zero, inverse);
    }
  }
}

__device__ void quantize_share(const float *values__n, int64_t N, const Range &range,
                               uint8_t *quantized__n, float *scale_zero__2) {
  const bool is_writer = blockIdx.x == 0 && threadIdx.x == 0;
  const float width = __fsub_rn(range.high, range.low);
  if (N == 0 || !(width <= EDGESDK_QUANTIZE_RANGE_MAX)) {
    if (is_writer) scale_zero__2[0] = scale_zero__2[1] = N == 0 ? 0.0f : NAN;
    return;
  }
  const float smallest = 1.17549435e-38f;  // the smallest normal float32: keeps 1/scale finite
  const float step = __fdiv_rn(width, 255.0f);
  const float scale = width > 0 ? (step > smallest ? step : smallest) : 0.0f;
  if (is_writer) {
    scale_zero__2[0] = scale;
    scale_zero__2[1] = range.low;
  }
  const float inverse = width > 0 ? __fdiv_rn(1.0f, scale) : 0.0f;
  write_codes(values__n, N, range.low, inverse, quantized__n);
}

__global__ void quantize_short(const float *values__n, int64_t N, uint8_t *quantized__n,
                               float *scale_zero__2) {
  quantize_share(values__n, N, range_of_share(values__n, N), quantized__n, scale_zero__2);
}

__global__ void find_ranges(const float *values__n, int64_t N, float *range__2g) {
  const Range range = range_of_share(values__n, N);
  if (threadIdx.x != 0) return;
  range__2g[2 * blockIdx.x] = range.low;
  range__2g[2 * blockIdx.x + 1] = range.high;
}

__global__ void quantize_long(const float *values__n, int64_t N, const float *range__2g,
                              int range_count, uint8_t *quantized__n, float *scale_zero__2) {
  Range range = nothing();
  for (int i = threadIdx.x; i < range_count; i += blockDim.x) {
    merge({__ldg(range__2g + 2 * i), __ldg(range__2g + 2 * i + 1)}, range);
  }
  quantize_share(values__n, N, range_of_block(range), quantized__n, scale_zero__2);
}

__global__ void dequantize(const uint8_t *quantized__n, int64_t N, const float *scale_zero__2,
                           float *values__n) {
  const float scale = __ldg(scale_zero__2), zero = __ldg(scale_zero__2 + 1);
  const auto value = [=](unsigned char code) {
    return __fadd_rn(__fmul_rn(static_cast<float>(code), scale), zero);
  };
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t count = static_cast<int64_t>(gridDim.x) * blockDim.x;
  if (has_packs(values__n, N) && is_aligned(quantized__n, sizeof(uchar4))) {
    const uchar4 *codes = reinterpret_cast<const uchar4 *>(quantized__n);
    float4 *packs = reinterpret_cast<float4 *>(values__n);
#pragma unroll 4
    for (int64_t i = thread; i < N / 4; i += count) {
      const uchar4 code = __ldg(codes + i);
      packs[i] = make_float4(value(code.x), value(code.y), value(code.z), value(code.w));
    }
  } else {
    for (int64_t n = thread; n < N; n += count) values__n[n] = value(__ldg(quantized__n + n));
  }
}

}  // namespace

edgesdk_status edgesdk_quantize_u8_cuda(const float *values__n, int64_t N, uint8_t *quantized__n,
                                        float *scale_zero__2, float *range__2g, void *stream) {
  if (N <= kShortArray) {
    return launch(quantize_short, 1, kThreads, stream, values__n, N, quantized__n, scale_zero__2);
  }
  unsigned blocks = block_count(ceil_div(N, kValuesOfABlock));
  if (blocks > EDGESDK_CUDA_RANGE_COUNT) blocks = EDGESDK_CUDA_RANGE_COUNT;
  const edgesdk_status status =
      launch(find_ranges, blocks, kThreads, stream, values__n, N, range__2g);
  if (status != EDGESDK_OK) return status;
  return launch(quantize_long, block_count(ceil_div(N, kValuesOfABlock)), kThreads, stream,
                values__n, N, range__2g, static_cast<int>(blocks), quantized__n, scale_zero__2);
}

edgesdk_status edgesdk_dequantize_u8_cuda(const uint8_t *quantized__n, int64_t N,
                                          const float *scale_zero__2, float *values__n,
                                          void *stream) {
  if (N == 0) return EDGESDK_OK;
  return launch(dequantize, block_count(ceil_div(N, kValuesOfABlock)), kThreads, stream,
                quantized__n, N, scale_zero__2, values__n);
}
