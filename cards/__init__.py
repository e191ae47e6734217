"""Model cards, version records and limits: the one typed description of each model."""

from cards.card import ModelCard, Precision, Preprocessing, Profile, Tensor
from cards.record import Calibration, Fusion, GroupResult, OperatingPoint, VersionRecord
from cards.repository import ModelRepository, find_repository, read_record, sha256_file

__all__ = [
    "Calibration",
    "Fusion",
    "GroupResult",
    "ModelCard",
    "ModelRepository",
    "OperatingPoint",
    "Precision",
    "Preprocessing",
    "Profile",
    "Tensor",
    "VersionRecord",
    "find_repository",
    "read_record",
    "sha256_file",
]
