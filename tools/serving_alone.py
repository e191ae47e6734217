"""Run by CI inside an environment with the serving set alone: torch is absent, and scanning works without it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Check; an assertion names what is wrong."""
    for name in ("torch", "onnxscript", "pytest"):
        assert importlib.util.find_spec(name) is None, f"{name} came with the serving set"
    command = Path(sys.executable).with_name("deepscan")
    shown = subprocess.run([command, "--help"], capture_output=True, text=True, check=True, cwd="/").stdout
    assert all(word in shown for word in ("scan", "serve", "doctor", "evaluate"))
    from ml_backend import DeepfakeInferenceEngine

    engine = DeepfakeInferenceEngine(model_dir=str(ROOT / "model_repository"))
    photo, recording = ROOT / "samples" / "astronaut.jpg", ROOT / "samples" / "audio" / "thanks.wav"
    for result in (engine.predict_image(str(photo)), engine.predict_audio(str(recording))):
        print(f"the engine answers without torch: {str(result)[:200]}")
    assert "torch" not in sys.modules
    report = subprocess.run([command, "doctor"], capture_output=True, text=True, check=False, cwd="/")
    assert report.returncode == 0, report.stdout
    scan = [command, "scan", str(photo), str(recording)]
    subprocess.run(scan, check=True, cwd="/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
