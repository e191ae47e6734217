"""Frame AUC of partial fakes, on timelines whose truth is painted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from benchmarks import voice_partial
from benchmarks.voice_partial import CELL_S, Found, find, mean_auc, overlaps, pooled_auc, raster, summary
from deepscan_client import MediaError, Medium, make_verdict
from deepscan_client.verdict import Verdict
from pipelines.assessment.voices import LocalVoiceJudge
from pipelines.audio.source import RATE, decode_audio
from training.audio.splice import Spliced

SPLICED = Spliced(np.full(4 * RATE, 0.25, np.float32), 1.0, 2.5)


class Loud:
    """Says fake where the samples are positive: the original is negative throughout."""

    def verdict(self, data: bytes) -> Verdict:
        samples, _ = decode_audio(data)
        fake = samples[0] > 0
        timeline = tuple((t, t + 0.5, 0.9 if fake and 1.0 <= t < 2.5 else 0.2) for t in np.arange(0, 4, 0.5).tolist())
        return make_verdict(
            "real", 0.2, medium=Medium.AUDIO, timeline=timeline, suspicious=((1.0, 2.5),) if fake else ()
        )


def test_the_timeline_is_laid_on_cells() -> None:
    score = raster([(0.0, 0.5, 0.1), (1.0, 1.5, 0.7)], 50)
    assert np.isnan(score[int(0.6 / CELL_S) : int(1.0 / CELL_S) - 1]).all()
    assert set(score[~np.isnan(score)]) == {0.1, 0.7}
    assert np.nansum(score == 0.7) == pytest.approx(0.5 / CELL_S, abs=1)


def test_a_timeline_that_is_right_has_an_auc_of_one() -> None:
    found = find(cast(LocalVoiceJudge, Loud()), SPLICED, np.full(4 * RATE, -0.25, np.float32))
    assert found is not None
    assert (found.hit, found.alarm) == (True, False)
    assert found.auc > 0.98  # cells at the edges belong to both
    told = summary([found, found], rounds=20)
    assert told["frame_auc"]["value"] > 0.98
    assert told["pieces_hit"]["value"] == 1.0
    assert told["originals_with_suspicious_seconds"]["value"] == 0.0
    json.dumps(told, allow_nan=False)


def test_frames_outside_the_timeline_do_not_count() -> None:
    truth = np.array([True, True, False, False])
    clip = Found(truth, np.array([0.9, np.nan, 0.1, np.nan]), True, False)
    other = Found(truth, np.array([0.3, 0.2, 0.4, 0.5]), False, True)
    silent = Found(truth, np.full(4, np.nan), False, False)
    assert (clip.auc, other.auc) == (1.0, 0.0)
    assert mean_auc([clip, other, silent]) == 0.5
    assert pooled_auc([clip, other]) == pytest.approx(5 / 9)


def test_what_cannot_be_judged_is_left_out() -> None:
    class Refuses:
        def verdict(self, data: bytes) -> Verdict:
            raise MediaError("no", remedy="none")

    assert find(cast(LocalVoiceJudge, Refuses()), SPLICED, SPLICED.samples) is None


def test_overlap_is_shared_time() -> None:
    assert overlaps([(0.0, 1.0), (2.0, 3.0)], 2.5, 4.0)
    assert not overlaps([(0.0, 1.0)], 1.0, 2.0)
    assert not overlaps([], 0.0, 9.0)


def test_a_cache_that_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "partial.json"
    assert voice_partial.main(["--cache", str(tmp_path / "no"), "--out", str(out)]) == 2
    assert not out.exists()
    assert capsys.readouterr().out
