"""The closed lists of words that results and errors may contain.

A program may switch on these. New ones are added here and nowhere else.
"""

from __future__ import annotations

from enum import Enum


class _Code(str, Enum):
    """A string enum that prints and serialises as its plain value."""

    def __str__(self) -> str:
        return str(self.value)


class Label(_Code):
    """What a verdict says of one input."""

    REAL = "real"
    FAKE = "fake"
    INCONCLUSIVE = "inconclusive"


class Medium(_Code):
    """The kind of input."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    MULTIMODAL = "multimodal"


class Reason(_Code):
    """Why a verdict is inconclusive, or what a reader should know beside its label."""

    NO_FACE = "no_face"
    """No face was found, so that nothing could be scored."""
    FACE_TOO_SMALL = "face_too_small"
    """Every face is smaller than the card's limit; the probability stands but is not acted on."""
    LOW_QUALITY = "low_quality"
    """The face is too blurred or too dark to be judged at the operating point."""
    NEAR_THRESHOLD = "near_threshold"
    """The probability lies inside the record's abstention band around the threshold."""
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    """The face that decides is unlike the faces that the network was trained on; far outside, the label is
    inconclusive."""
    FUSION_MISMATCH = "fusion_mismatch"
    """Other members ran than the fusion was fitted on: the mean of their calibrated log-odds was taken."""
    UNCALIBRATED = "uncalibrated"
    """A network that ran has no calibration in its record: its raw logit was taken."""
    FACES_CUT = "faces_cut"
    """More faces were found than the limit: the largest were judged."""
    CUSTOM_THRESHOLD = "custom_threshold"
    """The caller's own threshold replaced the record's operating point."""
    # Of sound. What each is measured by, and its limit, stands in pipelines/audio/quality.py.
    SILENCE = "silence"
    """The recording is silent, or so quiet that only its last bits move."""
    NO_SPEECH = "no_speech"
    """There is sound, but nobody speaks in it."""
    TOO_SHORT = "too_short"
    """Less than two seconds of speech: the probability stands but is not acted on."""
    MUSIC = "music"
    """Most of the sound is music, or music lies under the speech."""
    CLIPPING = "clipping"
    """The recording was overdriven: its peaks are cut flat."""
    NARROW_BAND = "narrow_band"
    """Nothing above the telephone band (8 kHz sampling), where much of what gives a fake away would be."""
    NOISY = "noisy"
    """Noise covers the low-level traces that tell synthetic speech from real."""
    LOSSY_CODEC = "lossy_codec"
    """A lossy codec left its marks, which may hide or imitate the traces of synthesis."""
    CUT_OFF = "cut_off"
    """The file ends early or is damaged inside: what could be decoded was judged."""
    SUSPICIOUS_PARTS = "suspicious_parts"
    """The recording as a whole was not found fake, but some of its seconds sound synthetic by themselves
    (``Verdict.suspicious``): it may be real with a false piece, or those seconds may be a false alarm."""
    # Of video. What each is measured by, and its limit, stands in pipelines/video/verdict.py.
    FEW_FRAMES = "few_frames"
    """The face is seen in too few frames: the probability stands but is not acted on."""
    STILL_FACE = "still_face"
    """The face does not move from frame to frame, as in a slide show: each picture was judged by itself."""
    SAMPLED_THINLY = "sampled_thinly"
    """The video is too long for the usual number of frames a second: fewer were judged (``DecodeInfo.notes``)."""
    HIDDEN_FRAMES = "hidden_frames"
    """The file holds frames that its edit list or its tables do not show: they were not judged, and another player may
    show them (``DecodeInfo.notes``)."""
    NO_SOUND = "no_sound"
    """Pictures and sound were asked for, and no sound could be judged: the pictures alone decided
    (``DecodeInfo.notes`` say why)."""


class ErrorCode(_Code):
    """What went wrong, for programs. The exception class says what a caller can do about it."""

    # The input cannot be judged: sending it again will not help.
    EMPTY = "empty"
    NOT_MEDIA = "not_media"
    UNSUPPORTED = "unsupported_format"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    ANIMATED = "animated_image"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_LONG = "too_long"
    NO_SOUND = "no_sound"
    # The request was wrong.
    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    UNAUTHORIZED = "unauthorized"
    # The service could not answer now.
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    DEADLINE = "deadline_exceeded"
    CANCELLED = "cancelled"
    # The service is broken, and a person must look at it.
    INTERNAL = "internal"
    BAD_ANSWER = "bad_answer"
    # The installation is wrong.
    BAD_CARD = "bad_card"
    BAD_RECORD = "bad_record"
    HASH_MISMATCH = "hash_mismatch"
    MODEL_MISSING = "model_missing"
    ENVIRONMENT = "environment"
