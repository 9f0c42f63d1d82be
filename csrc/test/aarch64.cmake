# CMake toolchain: aarch64 Linux (baseline armv8-a) with the clang of the Python package ziglang. One
# static program, so that an emulator needs no libraries of that machine.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER $ENV{EDGESDK_PYTHON} -m ziglang c++ -target aarch64-linux-musl)
