"""A stub that is killed while it judges videos: whoever waits for it is told, on the real server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from deepscan_client import (
    AsyncDeepScanClient,
    DeepScanClient,
    Progress,
    Timeout,
    Track,
    UnavailableError,
    make_verdict,
)
from serving.stubs import stub_processes
from serving.supervisor import running_server

CARD = """\
name: deepfake_video
kind: stage
title: Stand-in
description: Works on every video until its caller goes away, and says nothing.
inputs:
  - {name: VIDEO, dtype: BYTES, shape: [1]}
  - {name: OPTIONS, dtype: BYTES, shape: [1], optional: true}
outputs:
  - {name: PROGRESS, dtype: BYTES, shape: [1]}
  - {name: VERDICT, dtype: BYTES, shape: [1]}
  - {name: FAKE_PROBABILITY, dtype: FP32, shape: [1]}
  - {name: LABEL, dtype: BYTES, shape: [1]}
"""
CONFIG = """\
name: "deepfake_video"
backend: "python"
input { name: "VIDEO" data_type: TYPE_STRING dims: 1 }
input { name: "OPTIONS" data_type: TYPE_STRING dims: 1 optional: true }
output { name: "PROGRESS" data_type: TYPE_STRING dims: 1 }
output { name: "VERDICT" data_type: TYPE_STRING dims: 1 }
output { name: "FAKE_PROBABILITY" data_type: TYPE_FP32 dims: 1 }
output { name: "LABEL" data_type: TYPE_STRING dims: 1 }
instance_group { count: 1 kind: KIND_CPU }
model_transaction_policy { decoupled: true }
"""
MODEL = """\
import time
from pathlib import Path

from deepscan_client.errors import CancelledError
from deepscan_client.verdict import Progress, Verdict
from pipelines.triton import callers
from pipelines.triton.films import FilmModel

callers.BEAT_SECONDS = 0.5


class TritonPythonModel(FilmModel):
    files = (("VIDEO", "UPLOAD"),)

    def tools(self, repository, profile):
        return None

    def judge(self, paths, tools, options, caller):
        if options.num_frames is None:
            caller.tell(Progress(1.0, 2.0))
            while not caller.left():
                time.sleep(0.05)
            raise CancelledError("gone")
        return Verdict.from_json(Path(__file__).with_name("verdict.json").read_bytes())
"""
SILENCE = 4.0
PATIENT = Timeout(video=600.0, silence=SILENCE)


@pytest.fixture
def repository(tiny_repository: Path) -> Path:
    """The stand-in for photos, and one for videos."""
    version = tiny_repository / "deepfake_video" / "1"
    version.mkdir(parents=True)
    (version.parent / "card.yaml").write_text(CARD)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(MODEL)
    track = Track(0, 0.0, 1.0, 2, 0.25, 1.0, 1.0)
    (version / "verdict.json").write_text(make_verdict("real", 0.25, tracks=(track,)).to_json())  # the canary's
    return tiny_repository


@pytest.mark.triton
@pytest.mark.slow
async def test_whoever_waits_for_a_killed_stub_is_told_long_before_the_deadline(repository: Path) -> None:
    """Two are at work and two wait for a worker; none is given up while the stub lives, however silent its work is."""
    told: list[Progress] = []

    def ask(url: str) -> None:
        with DeepScanClient(url, timeout=PATIENT) as client:
            client.detect_video(b"a video", on_progress=told.append)

    with running_server(repository, watch=False) as server:
        async with AsyncDeepScanClient(server.grpc_url, timeout=PATIENT) as client:
            asked = [asyncio.create_task(asyncio.to_thread(ask, server.grpc_url)) for _ in range(2)]
            asked += [asyncio.create_task(client.detect_video(b"a video", on_progress=told.append)) for _ in range(2)]
            done, _ = await asyncio.wait(asked, timeout=2 * SILENCE)
            assert not done, [task.exception() for task in done]
            assert told == [Progress(1.0, 2.0)] * 2
            for pid, model in stub_processes(server.pid).items():
                if model == "deepfake_video":
                    os.kill(pid, signal.SIGKILL)
            start = time.monotonic()
            errors = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60)
            assert time.monotonic() - start < SILENCE + 10
    assert all(isinstance(error, UnavailableError) and error.remedy for error in errors), errors
