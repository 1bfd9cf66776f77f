"""What MMEngine writes into a training's log about MMCV's ops."""


def get_compiler_version() -> str:
    """In place of the compiler's name and version."""
    return "none: ops in Python, by mmdet_maskr"


def get_compiling_cuda_version() -> str:
    """As a MMCV says that was built without CUDA."""
    return "not available"
