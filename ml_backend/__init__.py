"""The founding document's face: the inference engine, the trainer, the ensemble, and the REST gateway.

Names load at first use (PEP 562), so that ``import ml_backend`` costs nothing and what needs torch is only
imported where it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_backend.ensemble import EnsembleDeepfakeDetector
    from ml_backend.inference.engine import DeepfakeInferenceEngine
    from ml_backend.training import DeepfakeDetectionTrainer

__all__ = ["DeepfakeDetectionTrainer", "DeepfakeInferenceEngine", "EnsembleDeepfakeDetector"]

_HOMES = {
    "DeepfakeDetectionTrainer": "ml_backend.training",
    "DeepfakeInferenceEngine": "ml_backend.inference.engine",
    "EnsembleDeepfakeDetector": "ml_backend.ensemble",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
