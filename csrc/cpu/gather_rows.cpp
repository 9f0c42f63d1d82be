// gather_rows: copy the rows that go on, in the order given. Floor: K rows read and written once.

#include <cstring>

#include "edgesdk/kernels.h"

edgesdk_status edgesdk_gather_rows(const void *rows__br, int64_t B, int64_t row_bytes,
                                   const int64_t *indices__k, int64_t K, void *gathered__kr) {
  for (int64_t k = 0; k < K; ++k) {
    if (indices__k[k] < 0 || indices__k[k] >= B) return EDGESDK_INDEX_OUT_OF_RANGE;
  }
  if (row_bytes == 0) return EDGESDK_OK;  // memcpy must not see the null pointers of empty arrays
  const char *source = static_cast<const char *>(rows__br);
  char *target = static_cast<char *>(gathered__kr);
  for (int64_t k = 0; k < K; ++k) {
    std::memcpy(target + k * row_bytes, source + indices__k[k] * row_bytes, row_bytes);
  }
  return EDGESDK_OK;
}
