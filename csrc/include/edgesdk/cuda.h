/* The kernels on a CUDA device: same names and arguments as kernels.h, with the suffix _cuda and a
 * stream. Every array pointer, those inside the structs included, is a device pointer (TensorRT's
 * output buffers are used in place); the structs themselves are passed from the host. A call only
 * enqueues work; `stream` is a cudaStream_t. No implementation is built yet.
 */
#ifndef EDGESDK_CUDA_H
#define EDGESDK_CUDA_H

#include "edgesdk/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

edgesdk_status edgesdk_exit_head_cuda(const edgesdk_features *input, const float *weight__nc,
                                      const float *bias__n, int64_t N, edgesdk_scores scores,
                                      float *logits__bn /* or NULL */, void *stream);

edgesdk_status edgesdk_exit_scores_cuda(const float *logits__bn, int64_t B, int64_t N,
                                        edgesdk_scores scores, void *stream);

edgesdk_status edgesdk_exit_feature_cuda(const edgesdk_features *input,
                                         const float *projection__dc /* or NULL */, int64_t D,
                                         float *feature__bd, void *stream);

edgesdk_status edgesdk_cosine_difference_cuda(const float *feature__bd, const float *first__bd,
                                              int64_t B, int64_t D, float *difference__b,
                                              void *stream);

edgesdk_status edgesdk_gather_rows_cuda(const void *rows__br, int64_t B, int64_t row_bytes,
                                        const int64_t *indices__k, int64_t K, void *gathered__kr,
                                        void *stream);

/* scale_zero__2 receives both numbers on the device, so that nothing waits for the host. */
edgesdk_status edgesdk_quantize_u8_cuda(const float *values__n, int64_t N, uint8_t *quantized__n,
                                        float *scale_zero__2, void *stream);

edgesdk_status edgesdk_dequantize_u8_cuda(const uint8_t *quantized__n, int64_t N,
                                          const float *scale_zero__2, float *values__n,
                                          void *stream);

#ifdef __cplusplus
}
#endif
#endif
