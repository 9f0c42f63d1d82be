// gather_rows: copy the rows that go on, in the order given. Floor: K rows read and written once.
//
// Every block looks at all K indices first, so that nothing is written when one is out of range: K
// is a batch, a few hundred at most, and the indices lie in the cache.

#include "launch.h"
#include "warp.h"

namespace {

constexpr int kThreads = 256;
constexpr int64_t kUnitsOfAThread = 4;

// Unit: what a thread copies at once.
template <typename Unit>
__device__ void copy_rows(const void *rows, int64_t unit_count, const int64_t *indices__k,
                          int64_t K, int share_count, void *gathered) {
  const int64_t first = (blockIdx.x % share_count) * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  const int64_t stride = static_cast<int64_t>(share_count) * blockDim.x;
  for (int64_t k = blockIdx.x / share_count; k < K; k += gridDim.x / share_count) {
    const Unit *source = static_cast<const Unit *>(rows) + __ldg(indices__k + k) * unit_count;
    Unit *target = static_cast<Unit *>(gathered) + k * unit_count;
#pragma unroll 4
    for (int64_t i = first; i < unit_count; i += stride) target[i] = __ldg(source + i);
  }
}

// `share_count` blocks for a row.
__global__ void gather(const void *rows__br, int64_t B, int64_t row_bytes,
                       const int64_t *indices__k, int64_t K, int share_count, void *gathered__kr) {
  bool outside = false;
  for (int64_t k = threadIdx.x; k < K; k += blockDim.x) {
    const int64_t index = __ldg(indices__k + k);
    outside = outside || index < 0 || index >= B;
  }
  if (__syncthreads_or(outside)) return;
  const auto fits = [&](int64_t bytes) {
    return row_bytes % bytes == 0 && is_aligned(rows__br, bytes) && is_aligned(gathered__kr, bytes);
  };
  if (fits(16)) {
    copy_rows<int4>(rows__br, row_bytes / 16, indices__k, K, share_count, gathered__kr);
  } else if (fits(4)) {
    copy_rows<int>(rows__br, row_bytes / 4, indices__k, K, share_count, gathered__kr);
  } else {
    copy_rows<unsigned char>(rows__br, row_bytes, indices__k, K, share_count, gathered__kr);
  }
}

}  // namespace

edgesdk_status edgesdk_gather_rows_cuda(const void *rows__br, int64_t B, int64_t row_bytes,
                                        const int64_t *indices__k, int64_t K, void *gathered__kr,
                                        void *stream) {
  if (K == 0 || row_bytes == 0) return EDGESDK_OK;
  const int64_t bytes_of_a_block = 16 * kUnitsOfAThread * kThreads;
  const int64_t share_count = block_count(ceil_div(row_bytes, bytes_of_a_block));
  const int64_t rows_at_once = ceil_div(block_count(K * share_count), share_count);
  return launch(gather, rows_at_once * share_count, kThreads, stream, rows__br, B, row_bytes,
                indices__k, K, static_cast<int>(share_count), gathered__kr);
}
