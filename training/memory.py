"""Memory in training: what is an out-of-memory error, and how glibc is told to keep what it has."""

from __future__ import annotations

import ctypes

import torch

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: CUDA's own type, Python's, or torch's on a CPU (by its words)."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def keep_memory() -> None:
    """Ask glibc to keep freed memory: without it each large tensor costs page faults (a third of a step on a CPU)."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # another C library: slower, not wrong
        return
    libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for each large block
    libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
