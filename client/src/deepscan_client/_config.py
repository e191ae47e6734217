"""Configuration as small value objects: they compare, print and never change."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

_FAR = 30 * 86_400.0
"""Seconds. A longer wait, or an endless one, is more than gRPC and sockets can count."""


@dataclass(frozen=True, order=True)
class Deadline:
    """A moment after which an answer is of no use; several calls can share one.

    >>> deadline = Deadline.after(2.0)
    >>> deadline.expired
    False
    """

    at: float
    """``time.monotonic()`` seconds."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment ``seconds`` from now.

        Raises:
            ValueError: not a number of seconds.
        """
        if not seconds >= 0:  # also refuses NaN
            raise ValueError(f"a deadline lies 0 seconds or more ahead, not {seconds}")
        return cls(time.monotonic() + seconds)

    @classmethod
    def of(cls, value: float | Deadline | None, default: float | None = None) -> Deadline | None:
        """A deadline from what a caller may give: seconds, a deadline, or None for ``default`` seconds."""
        if isinstance(value, Deadline):
            return value
        seconds = default if value is None else value
        return None if seconds is None else cls.after(seconds)

    def remaining(self) -> float:
        """Seconds that are left, 0 or more; of a moment that is months away, or never comes, 30 days."""
        return min(max(0.0, self.at - time.monotonic()), _FAR)

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return self.at <= time.monotonic()


@dataclass(frozen=True)
class Timeout:
    """Default deadlines of a client, in seconds; None waits for ever."""

    request: float | None = 60.0
    """One photo, with all its retries."""
    recording: float | None = 600.0
    """One recording, which may be an hour long."""
    video: float | None = 3600.0
    """One video, which may be an hour long, its upload included."""
    silence: float | None = 60.0
    """Between two messages of a server that judges a video: it has one at least every ten seconds, and one whose model
    was killed has none for ever. The wait for the first message is bounded by the deadline alone."""
    health: float | None = 2.0
    """One question about health."""
    connect: float = 5.0
    """One connection over HTTP; gRPC connects by itself."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a request is sent again: only where no work can have been done for it.

    That is a connection that was refused, or a server that shed the request or was not ready for it. A
    request that was on its way is never repeated, and nothing is repeated after the deadline. The budget
    keeps many failing requests from multiplying the load: each retry takes one token, each answer gives
    ``refill`` back, and without a token there is no retry (gRPC's retry throttling, proposal A6).
    """

    attempts: int = 3
    """Tries in all; 1 never retries."""
    backoff: float = 0.1
    """Seconds before the first retry, doubled for each further one."""
    max_backoff: float = 2.0
    jitter: float = 0.25
    """Share by which a pause is made longer or shorter at random, so that clients do not come in step."""
    budget: float = 10.0
    """Tokens at the start, which is also the most that there can be."""
    refill: float = 0.1
    """Tokens that each answer gives back."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.backoff < 0 or self.max_backoff < 0 or not 0 <= self.jitter <= 1:
            raise ValueError(f"not a retry policy: {self}")

    def pause(self, retry: int) -> float:
        """Seconds before retry number ``retry`` (1 is the first)."""
        plain = min(self.max_backoff, self.backoff * 2.0 ** (retry - 1))
        return plain * (1.0 + self.jitter * random.uniform(-1.0, 1.0))

    @classmethod
    def never(cls) -> RetryPolicy:
        """Send everything once."""
        return cls(attempts=1)


class RetryBudget:
    """The tokens of one client; shared by its threads."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._tokens = policy.budget
        self._lock = threading.Lock()

    @property
    def tokens(self) -> float:
        """What is left."""
        return self._tokens

    def take(self) -> bool:
        """Take one token; False where none is left."""
        with self._lock:
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True

    def give_back(self) -> None:
        """An answer came."""
        with self._lock:
            self._tokens = min(self._policy.budget, self._tokens + self._policy.refill)


@dataclass(frozen=True)
class Health:
    """What a server says of itself."""

    live: bool
    """It answers at all."""
    ready: bool
    """It can judge: the server is ready and so is the model that was asked for."""
    detail: str = ""
    """Why it is not ready."""

    def __bool__(self) -> bool:
        return self.ready
