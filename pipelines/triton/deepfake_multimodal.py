"""Triton model ``deepfake_multimodal``: a video and its sound with progress, then one verdict on both.

See :mod:`pipelines.triton.films` for the protocol and :mod:`pipelines.video.multimodal` for how the two are joined.
"""

from __future__ import annotations

from pathlib import Path

from cards.card import Profile
from cards.repository import ModelRepository
from deepscan_client.verdict import Verdict
from pipelines.audio.analyze import STAGE, VoiceAnalyzer
from pipelines.audio.verdict import VoiceJudge
from pipelines.options import Options
from pipelines.triton.bls import BlsInfer
from pipelines.triton.callers import Caller
from pipelines.triton.films import FilmModel
from pipelines.video.analyze import VideoAnalyzer
from pipelines.video.multimodal import Watchers, analyze_multimodal
from pipelines.video.verdict import VideoJudge


class TritonPythonModel(FilmModel[Watchers]):
    """VIDEO or UPLOAD, AUDIO or AUDIO_UPLOAD or neither, and OPTIONS."""

    files = (("VIDEO", "UPLOAD"), ("AUDIO", "AUDIO_UPLOAD"))

    def tools(self, repository: ModelRepository, profile: Profile) -> Watchers:
        """See :class:`FilmModel`."""
        infer = BlsInfer()
        voice = None
        if STAGE in repository.names():
            voice = VoiceAnalyzer(repository, infer), VoiceJudge(repository, profile)
        return Watchers((VideoAnalyzer(repository, infer, profile=profile), VideoJudge(repository, profile)), voice)

    def judge(self, paths: list[Path | None], tools: Watchers, options: Options, caller: Caller) -> Verdict:
        """See :class:`FilmModel`."""
        video, audio = paths
        assert video is not None
        return analyze_multimodal(video, tools, audio, options, caller.tell, caller.left)
