"""Triton model ``deepfake_video``: a video with progress, then its verdict. See :mod:`pipelines.triton.films`."""

from __future__ import annotations

from pathlib import Path

from cards.card import Profile
from cards.repository import ModelRepository
from deepscan_client.verdict import Verdict
from pipelines.options import Options
from pipelines.triton.bls import BlsInfer
from pipelines.triton.callers import Caller
from pipelines.triton.films import FilmModel
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.verdict import VideoJudge

Watching = tuple[VideoAnalyzer, VideoJudge]


class TritonPythonModel(FilmModel[Watching]):
    """VIDEO or UPLOAD, and OPTIONS."""

    files = (("VIDEO", "UPLOAD"),)

    def tools(self, repository: ModelRepository, profile: Profile) -> Watching:
        """See :class:`FilmModel`."""
        return VideoAnalyzer(repository, BlsInfer(), profile=profile), VideoJudge(repository, profile)

    def judge(self, paths: list[Path | None], tools: Watching, options: Options, caller: Caller) -> Verdict:
        """See :class:`FilmModel`."""
        (path,) = paths
        assert path is not None
        return analyze_video(path, *tools, options, caller.tell, caller.left)
