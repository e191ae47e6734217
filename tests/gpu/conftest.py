"""Skips what needs a GPU where there is none, and says plainly what was not run and what stood in for it."""

from __future__ import annotations

import pytest

from export.tensorrt_build import find_gpu

GPU = find_gpu()
_TWINS = {
    "test_engine_on_gpu.py": "tests/export/test_engines.py (graphs in ONNX Runtime, engines built, manifest checked)",
    "test_dali_on_gpu.py": "tests/export/test_dali_image.py (the same pipeline on the CPU)",
    "test_dali_video_on_gpu.py": "tests/export/test_dali_video.py (the same pipeline on the CPU, VP9)",
    "test_onnx_on_gpu.py": "tests/pipelines and tests/serving (the same networks by the CPU provider)",
}
_not_run: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if GPU is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU on this machine"))
                _not_run.append(item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if "gpu" not in config.getoption("markexpr"):
        return
    if GPU is not None:
        terminalreporter.write_line(f"GPU: {GPU.name}, {GPU.capability}")
        return
    terminalreporter.section("no GPU")
    terminalreporter.write_line(f"This machine has no NVIDIA GPU: {len(_not_run)} tests were not run.")
    for name in _not_run:
        terminalreporter.write_line(f"  not run: {name}")
    for file, twin in _TWINS.items():
        terminalreporter.write_line(f"  CPU twin of {file}: {twin}")
