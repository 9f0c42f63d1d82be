// The host side of a call: into how many blocks the work is cut, and the launch.
#ifndef EDGESDK_CUDA_LAUNCH_H
#define EDGESDK_CUDA_LAUNCH_H

#include <cuda_runtime.h>
#include <stdint.h>

#include "edgesdk/cuda.h"

constexpr int kBlocksPerMultiprocessorMax = 8;  // of 256 threads: all that one can hold

inline int64_t ceil_div(int64_t count, int64_t share) { return (count + share - 1) / share; }

// 1 on a Jetson Nano, 132 on an H100. The runtime knows it without asking the device.
inline int multiprocessor_count() {
  int device = 0, count = 1;
  if (cudaGetDevice(&device) != cudaSuccess) return 1;  // the launch will say why
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    return 1;
  }
  return count;
}

// Blocks for a loop over `share_count` shares, each the work of one block; the loop's stride is the
// grid, so that there need not be more blocks than run at once.
inline unsigned block_count(int64_t share_count) {
  const int64_t most = static_cast<int64_t>(multiprocessor_count()) * kBlocksPerMultiprocessorMax;
  return static_cast<unsigned>(share_count < most ? share_count : most);
}

template <typename T>
struct Same {  // keeps a parameter's type from being guessed from the argument
  using type = T;
};

inline edgesdk_status status_of(cudaError_t error) {
  if (error == cudaSuccess) return EDGESDK_OK;
  const bool no_device = error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver;
  return no_device ? EDGESDK_NO_DEVICE : EDGESDK_LAUNCH_FAILED;
}

template <typename... Parameters>
edgesdk_status launch(void (*kernel)(Parameters...), int64_t blocks, int threads, void *stream,
                      typename Same<Parameters>::type... arguments) {
  // More than a grid can have is a mistake that CUDA is to refuse, not to cut to 32 bits.
  const dim3 grid(blocks > INT32_MAX ? 0 : static_cast<unsigned>(blocks));
  const dim3 block(static_cast<unsigned>(threads));
#ifdef EDGESDK_CUDA_SHIM  // the tests' cuda_runtime.h, which runs kernels on the CPU
  (void)stream;
  return status_of(cuda_shim::run(grid, block, [=] { kernel(arguments...); }));
#else
  void *pointers[] = {static_cast<void *>(&arguments)...};
  return status_of(cudaLaunchKernel(reinterpret_cast<const void *>(kernel), grid, block, pointers,
                                    0, static_cast<cudaStream_t>(stream)));
#endif
}

#endif
