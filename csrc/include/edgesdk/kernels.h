/* The kernels on the CPU. edgesdk/kernels/reference.py is their meaning; csrc/README.md the rules.
 *
 * Arrays are float32 in C order unless the type says otherwise; a pointer's suffix names its axes
 * (features__bcs: batch, channel, all spatial positions), a size's name its axis. Outputs belong to
 * the caller and must not overlap the inputs. Pointers marked "or NULL" are optional.
 * Every function is reentrant, keeps no state and starts no thread.
 */
#ifndef EDGESDK_KERNELS_H
#define EDGESDK_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum edgesdk_status {
  EDGESDK_OK = 0,
  EDGESDK_OUT_OF_MEMORY = 1,      /* no room for scratch values */
  EDGESDK_INDEX_OUT_OF_RANGE = 2, /* an index outside 0..B-1; nothing was written */
  EDGESDK_NOT_QUANTIZABLE = 3,    /* NaN, or max - min beyond EDGESDK_QUANTIZE_RANGE_MAX */
  EDGESDK_NO_DEVICE = 4,          /* cuda.h: no GPU, or a driver that is missing or too old */
  EDGESDK_LAUNCH_FAILED = 5       /* cuda.h: CUDA refused the work; see edgesdk_cuda_failure */
} edgesdk_status;

/* Half of the largest float32: no step of quantizing or dequantizing can overflow below it. */
#define EDGESDK_QUANTIZE_RANGE_MAX 1.7014117e38f

/* Where the scores of B samples go; entropy in nats. */
typedef struct edgesdk_scores {
  int64_t *class_index__b;
  float *max_probability__b;
  float *margin__b;
  float *entropy__b;
} edgesdk_scores;

/* max(features * scale + shift, 0), averaged over S: the input of every exit. */
typedef struct edgesdk_features {
  const float *features__bcs;
  const float *scale__c; /* or NULL, then shift__c too: no affine step */
  const float *shift__c;
  int64_t B, C, S; /* C and S at least 1 */
} edgesdk_features;

edgesdk_status edgesdk_exit_head(const edgesdk_features *input, const float *weight__nc,
                                 const float *bias__n, int64_t N, edgesdk_scores scores,
                                 float *logits__bn /* or NULL */);

edgesdk_status edgesdk_exit_scores(const float *logits__bn, int64_t B, int64_t N,
                                   edgesdk_scores scores);

/* Without a projection D is C. */
edgesdk_status edgesdk_exit_feature(const edgesdk_features *input,
                                    const float *projection__dc /* or NULL */, int64_t D,
                                    float *feature__bd);

edgesdk_status edgesdk_cosine_difference(const float *feature__bd, const float *first__bd,
                                         int64_t B, int64_t D, float *difference__b);

edgesdk_status edgesdk_gather_rows(const void *rows__br, int64_t B, int64_t row_bytes,
                                   const int64_t *indices__k, int64_t K, void *gathered__kr);

edgesdk_status edgesdk_quantize_u8(const float *values__n, int64_t N, uint8_t *quantized__n,
                                   float *scale, float *zero);

edgesdk_status edgesdk_dequantize_u8(const uint8_t *quantized__n, int64_t N, float scale,
                                     float zero, float *values__n);

#ifdef __cplusplus
}
#endif
#endif
