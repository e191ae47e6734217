"""What a validation report says: its findings, the balance of the classes, and the facts of each source."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal[
    "broken", "empty", "missing", "contradiction", "leak", "duplicate", "near_duplicate", "balance", "format", "licence"
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(_Frozen):
    """One finding: ``fix`` must be mended before training means anything, ``look`` is worth a glance."""

    severity: Literal["fix", "look"]
    kind: Kind
    paths: tuple[str, ...]
    detail: str
    remedy: str


class Balance(_Frozen):
    """Readable items of each class in one medium and split."""

    medium: str
    split: str
    real: int
    fake: int


class SourceFacts(_Frozen):
    """One source: sizes in pixels as (smallest, median, largest) of the longer side; seconds for clips and sound."""

    source: str
    label: str
    medium: str
    items: int
    readable: int
    side: tuple[int, int, int] | None
    seconds: tuple[float, float, float] | None
    median_bytes: int
    formats: dict[str, int]
    licence: str
    commercial: str


class Report(_Frozen):
    """What ``training.data.validate`` found."""

    schema_version: int = 1
    items: int
    readable: int
    balance: tuple[Balance, ...]
    sources: tuple[SourceFacts, ...]
    problems: tuple[Problem, ...]

    @property
    def must_fix(self) -> tuple[Problem, ...]:
        """The problems that make a training run worthless or impossible."""
        return tuple(problem for problem in self.problems if problem.severity == "fix")
