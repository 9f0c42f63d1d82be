// What CUDA said when it refused a launch.

#include "launch.h"

const char *edgesdk_cuda_failure(void) { return cudaGetErrorString(cudaGetLastError()); }
