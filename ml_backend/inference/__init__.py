"""Inference: the engine of one process (``engine``) and the REST gateway in front of Triton (``api``)."""
