// Run-time choice of the instruction set, made by the loader: the compiler emits a marked function
// once per target and the CPU's best one is bound on first use. CMake defines
// EDGESDK_TARGET_CLONES when the toolchain can do it; elsewhere (aarch64: NEON is the baseline)
// one version is enough. AVX-512 was measured and left out: slower on the small arrays of exits, no
// faster on large ones, which wait for memory.
#ifndef EDGESDK_DISPATCH_H
#define EDGESDK_DISPATCH_H

#ifdef EDGESDK_TARGET_CLONES
#define EDGESDK_DISPATCH __attribute__((target_clones("default", "avx2")))
#else
#define EDGESDK_DISPATCH
#endif

// Helpers of a dispatched function must be compiled for its target, hence inside it.
#define EDGESDK_INLINE inline __attribute__((always_inline))

#endif
