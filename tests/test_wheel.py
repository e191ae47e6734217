"""The installed wheel: code, data files and the model repository lie together and work away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools", reason="builds a wheel without a network")

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import json, sys
from pathlib import Path
import cards.repository
from ml_backend import DeepfakeInferenceEngine
home = str(Path(cards.repository.__file__).parents[1])
repository = cards.repository.ModelRepository()
from serving.canary import canaries
engine = DeepfakeInferenceEngine()
verdict = engine.predict_image(sys.argv[1])
heard = engine.predict_audio(canaries(repository.names())["audio"])
told = {"home": home, "models": sorted(repository.names()), "label": verdict.label, "heard": len(heard.timeline)}
print(json.dumps(told))
"""


@pytest.mark.slow
def test_an_installed_wheel_judges_a_photo_and_a_voice_with_the_models_it_carries(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, *wheels.iterdir()], check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPSCAN")}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, ROOT / "samples" / "astronaut.jpg"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert told["home"] == str(target)
    assert {"deepfake_image", "frame_cnn", "image_verdict"} <= set(told["models"])
    assert told["label"] == "real"
    assert told["heard"] > 3
