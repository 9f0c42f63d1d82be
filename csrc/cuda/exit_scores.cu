// exit_scores: softmax, its maximum, margin, entropy and argmax from a row of logits.
//
// Floor: B*N*4 bytes; in practice the launch. A warp has a row: N is small, and rows are many or
// wait for nothing else.

#include "launch.h"
#include "score_row.h"

namespace {

constexpr int kThreads = 256;

__global__ void score_rows(const float *logits__bn, int64_t B, int64_t N, edgesdk_scores scores) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * warp_count();
  for (int64_t b = static_cast<int64_t>(blockIdx.x) * warp_count() + warp_index(); b < B;
       b += stride) {
    score_row(logits__bn + b * N, N, b, scores);
  }
}

}  // namespace

edgesdk_status edgesdk_exit_scores_cuda(const float *logits__bn, int64_t B, int64_t N,
                                        edgesdk_scores scores, void *stream) {
  if (B == 0) return EDGESDK_OK;
  const unsigned blocks = block_count(ceil_div(B, kThreads / kWarp));
  return launch(score_rows, blocks, kThreads, stream, logits__bn, B, N, scores);
}
