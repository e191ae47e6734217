"""API keys and rate limits: there to be switched on, off by default."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

from cachetools import LRUCache
from starlette.datastructures import Headers

from deepscan_client import ErrorCode, OverloadedError, RequestError
from ml_backend.inference.settings import RateLimit, Settings

OPEN_PATHS = frozenset({"/", "/api/health"})
"""What needs no key: the page that says what is here, and what a load balancer asks."""
_CALLERS = 10_000
"""Callers that are remembered; the one that was longest silent is forgotten first."""


class Guard:
    """Decides whether a request may pass.

    Args:
        settings: keys and rate.
        clock: seconds; for tests.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = tuple(hashlib.sha256(key.encode()).digest() for key in settings.api_keys)
        self._rate = settings.rate_limit
        self._clock = clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(_CALLERS)

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers must show a key."""
        return bool(self._keys)

    def check(self, path: str, headers: Headers, address: str) -> None:
        """Let a request pass, or say why not.

        Args:
            path: of the request.
            headers: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.
            address: of the caller, for the rate where there are no keys.

        Raises:
            RequestError: no key, or a wrong one (401).
            OverloadedError: too many requests (429, ``retry_after`` in the remedy).
        """
        if path in OPEN_PATHS or not path.startswith(("/api/", "/metrics")):
            return
        caller = address
        if self._keys:
            caller = self._key_of(headers)
        if self._rate is not None and path.startswith("/api/"):
            self._take(caller, self._rate)

    def _key_of(self, headers: Headers) -> str:
        shown = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            shown = token.strip()
        digest = hashlib.sha256(shown.encode("utf-8", "surrogateescape")).digest()
        # Every key is compared, each in constant time, so that time says nothing about any of them.
        if not sum(hmac.compare_digest(digest, key) for key in self._keys):
            raise RequestError(
                "a valid API key is needed" if shown else "an API key is needed",
                code=ErrorCode.UNAUTHORIZED,
                remedy="send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )
        return digest.hex()

    def _take(self, caller: str, rate: RateLimit) -> None:
        """One token of the caller's bucket, which fills at the rate and holds the requests of one period."""
        now = self._clock()
        tokens, then = self._buckets.get(caller, (rate.requests, now))
        tokens = min(rate.requests, tokens + (now - then) * rate.requests / rate.seconds)
        if tokens < 1.0:
            self._buckets[caller] = (tokens, now)
            wait = (1.0 - tokens) * rate.seconds / rate.requests
            raise RateLimitedError(wait, rate)
        self._buckets[caller] = (tokens - 1.0, now)


class RateLimitedError(OverloadedError):
    """The caller sent more than its rate allows.

    Args:
        wait: seconds until the next request is allowed.
        rate: what is allowed.
    """

    default_code = ErrorCode.RATE_LIMITED

    def __init__(self, wait: float, rate: RateLimit) -> None:
        super().__init__(
            f"more than {rate.requests:g} requests in {rate.seconds:g} s",
            remedy=f"send the next one in {wait:.1f} s",
        )
        self.wait = wait
