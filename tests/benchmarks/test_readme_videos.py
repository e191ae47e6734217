"""The README's part on videos, from results as the commands write them."""

from __future__ import annotations

from typing import Any

from benchmarks.readme_videos import lines_of

SPREAD = {"auc": 0.787, "auc_low": 0.701, "auc_high": 0.848}
DEV = {**SPREAD, "real": 14, "fake": 8, "flagged_reals": [], "flagged_fakes": ["a"]}
STAGES = {"decode": 400.0, "detect": 900.0, "biometrics": 1900.0, "total": 3300.0, "sound_total": 90.0, "client": 20.0}
RESULTS: dict[str, dict[str, Any]] = {
    "video_folds.json": {
        "clips": 322,
        "real": 144,
        "verdict": {
            **SPREAD,
            "flagged_reals": 0.0764,
            "flagged_fakes": 0.264,
            "auc_without_ffpp": 0.774,
            "auc_with_weights_of_other_folds": 0.732,
        },
    },
    "dev_videos.json": {"summary": DEV, "without_related": {**DEV, "auc": 0.8}},
    "lip_sync.json": {"offset": {"clips": 35, "right_of_own": 0.7296, "right": 0.397}},
    "video_speed.json": {
        "runs": [
            {"asked": "pictures", "wall_s": 1.44, "frames": 50, "stages_ms": STAGES},
            {"asked": "everything", "wall_s": 3.31, "frames": 50, "stages_ms": STAGES},
        ]
    },
    "long_video.json": {
        "runs": [
            {
                "asked": "pictures",
                "seconds": 3600.0,
                "wall_s": 48.0,
                "frames": 300,
                "before_mb": 2800.0,
                "received_mb": 2955.0,
                "growth_mb": 27.0,
                "peak_mb": 2982.0,
            }
        ]
    },
    "cancellation.json": {"rows": [{"freed_s": [0.1, 0.387]}, {"freed_s": [0.05, 0.2]}]},
}


def test_what_was_measured_has_its_line_and_nothing_else() -> None:
    assert lines_of(lambda name: None) == []
    text = "\n".join(lines_of(RESULTS.get))
    for told in (
        "322 clips (144 real)",
        "AUC 0.787 (0.701 to 0.848), or 0.732 where the weights",
        "7.6 % of the real clips and 26.4 % of the fakes flagged",
        "On 14 real and 8 fake clips that no training used: AUC 0.787 (0.701 to 0.848), 0 real and 1 fake flagged",
        "share a source or a person with training 0.800",
        "in 73 % of the windows with speech, the offset as it stands in 40 %",
        "take 1.4 s (50 frames), with body and lips at every frame and the sound 3.3 s",
        "biometrics 1.9, detect 0.9, decode 0.4)",
        "60 minutes of video: pictures 48 s for 300 frames",
        "grows by 155 MB until the first progress and by 27 MB from there, to 3.0 GB",
        "within 0.39 s, in 2 stages",
    ):
        assert told in text, told
    older = {name: told for name, told in RESULTS.items() if name == "dev_videos.json"}
    older["dev_videos.json"] = {"summary": DEV}
    assert lines_of(older.get)[0].endswith("1 fake flagged.")
