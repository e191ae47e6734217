"""Ask a DeepScan server whether media was synthesised or manipulated.

>>> from deepscan_client import DeepScanClient
>>> with DeepScanClient("127.0.0.1:8001") as client:        # doctest: +SKIP
...     verdict = client.detect_image("photo.jpg")
...     verdict = client.detect_audio("recording.wav", on_progress=print)
"""

from deepscan_client._aio import AsyncDeepScanClient
from deepscan_client._cancel import Cancellation
from deepscan_client._client import DeepScanClient
from deepscan_client._config import Deadline, Health, RetryPolicy, Timeout
from deepscan_client._fake import AsyncFakeTransport, FakeCall, FakeTransport, make_verdict
from deepscan_client._transport import AsyncTransport, CallOptions, Transport
from deepscan_client.codes import ErrorCode, Label, Medium, Reason
from deepscan_client.errors import (
    CancelledError,
    DeadlineError,
    DeepScanError,
    InputError,
    InstallationError,
    InternalError,
    LimitError,
    MediaError,
    OverloadedError,
    RequestError,
    ServiceError,
    UnavailableError,
)
from deepscan_client.verdict import (
    DecodeInfo,
    Evidence,
    Face,
    HeatMap,
    InputInfo,
    Interval,
    ModelInfo,
    OperatingPoint,
    Progress,
    Track,
    TrackBox,
    TrackHeatMap,
    Verdict,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncDeepScanClient",
    "AsyncFakeTransport",
    "AsyncTransport",
    "CallOptions",
    "Cancellation",
    "CancelledError",
    "Deadline",
    "DeadlineError",
    "DecodeInfo",
    "DeepScanClient",
    "DeepScanError",
    "ErrorCode",
    "Evidence",
    "Face",
    "FakeCall",
    "FakeTransport",
    "Health",
    "HeatMap",
    "InputError",
    "InputInfo",
    "InstallationError",
    "InternalError",
    "Interval",
    "Label",
    "LimitError",
    "MediaError",
    "Medium",
    "ModelInfo",
    "OperatingPoint",
    "OverloadedError",
    "Progress",
    "Reason",
    "RequestError",
    "RetryPolicy",
    "ServiceError",
    "Timeout",
    "Track",
    "TrackBox",
    "TrackHeatMap",
    "Transport",
    "UnavailableError",
    "Verdict",
    "__version__",
    "make_verdict",
]
