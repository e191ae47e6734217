"""What tests share: one real server for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.supervisor import Server, running_server


@pytest.fixture(scope="session")
def triton_server() -> Iterator[Server]:
    """The real Triton server of the wheel with the shipped models, on free ports."""
    with running_server() as server:
        yield server
