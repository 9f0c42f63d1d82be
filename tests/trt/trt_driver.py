"""The least that builds and runs an engine, for each generation of the API: what tests drive."""

import numpy as np

GENERATION = {True: "tensors", False: "bindings"}


def build_engine(trt, logger, onnx_bytes, name, lowest, usual, highest, flags=()):
    """An engine file of the double, or None."""
    builder = trt.Builder(logger)
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        return None
    config = builder.create_builder_config()
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 64 << 20)
    else:
        config.max_workspace_size = 64 << 20
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    profile = builder.create_optimization_profile()
    profile.set_shape(name, lowest, usual, highest)
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


def run_engine(trt, cuda, logger, plan, features):
    """What the engine computes for `features`, by the API that this version prefers."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    stream, source = cuda.Stream(), cuda.mem_alloc(features.nbytes)
    by_name = hasattr(engine, "num_io_tensors")
    if by_name:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        assert context.set_input_shape(names[0], features.shape)
        shape = tuple(context.get_tensor_shape(names[1]))
    else:
        assert context.set_binding_shape(0, features.shape)
        shape = tuple(context.get_binding_shape(1))
    out = np.empty(shape, np.float32)
    target = cuda.mem_alloc(out.nbytes)
    cuda.memcpy_htod_async(source, features, stream)
    if by_name:
        context.set_tensor_address(names[0], int(source))
        context.set_tensor_address(names[1], int(target))
        assert context.execute_async_v3(stream.handle)
    else:
        assert context.execute_async_v2([int(source), int(target)], stream.handle)
    cuda.memcpy_dtoh_async(out, target, stream)
    stream.synchronize()
    return out
