"""What DeepScan accepts, in one place. The gateway and the pipeline enforce the same numbers."""

from __future__ import annotations

from typing import Final

MAX_IMAGE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of one encoded picture."""
MAX_IMAGE_PIXELS: Final = 64 * 1000 * 1000
"""Pixels of one picture, read from its header before anything is decoded."""
MAX_IMAGE_SIDE: Final = 20_000
"""Pixels of one side, so that a strip of 1 x 64,000,000 is refused too."""
MAX_FACES: Final = 64
"""Faces judged in one picture, the largest first; the verdict says when some were left out."""
MAX_BATCH_FILES: Final = 64
"""Files of one ``batch-predict`` request."""
MAX_BATCH_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all files of one ``batch-predict`` request together."""
MAX_OPTIONS_BYTES: Final = 4096
"""Bytes of the JSON options of one request."""
MAX_VIDEO_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Bytes of one video file."""
MAX_VIDEO_SECONDS: Final = 3600
"""Seconds of one video."""
MAX_VIDEO_FRAMES: Final = 250_000
"""Frames of one video, counted from its packets before anything is decoded."""
MAX_INDEX_ENTRIES: Final = 2_000_000
"""Frames and samples of all tracks that the tables of an MP4 count, those of each edit again: an index of them is 24
bytes each, some 100 MB at the most, and built before anything can be asked. An hour of film has 300,000."""
MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of those tables."""
MAX_ANIMATION_FRAMES: Final = 5_000
"""Pictures of one animated GIF, WebP or PNG: their times are known only after all of them were decoded."""
MAX_ANIMATION_PIXELS: Final = 2_000_000_000
"""Pixels of all those pictures together: each is drawn on a canvas of the whole size, however small it is in the file,
and a thousand million of them take about three seconds. So 31 may have the largest size, or 960 one of 1920 x 1080."""
MAX_JUDGED_FRAMES: Final = 300
"""Frames of one video that are looked at, whatever its length; a longer one is sampled more thinly, and says so."""
MAX_JUDGED_FPS: Final = 240.0
"""Frames a second that may be asked for: those of slow motion."""
MAX_TRACKED_FACES: Final = 6
"""Faces followed in one frame of a video, the largest first; the verdict says when some were left out."""
MAX_VIDEO_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a video that comes in one message to Triton, which is in its memory several times; larger ones come in
pieces."""
MAX_CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one piece of a video that is uploaded in pieces."""
MAX_UPLOADS: Final = 64
"""Videos that a server holds on its disk at the same time, those at work included."""
MAX_SPOOL_BYTES: Final = 8 * 1024 * 1024 * 1024
"""Bytes of all those videos together."""
UPLOAD_IDLE_SECONDS: Final = 60.0
"""An upload that nobody goes on with or asks for is deleted after so long."""
MAX_AUDIO_BYTES: Final = 384 * 1024 * 1024
"""Bytes of one recording: an hour of 16-bit mono at 48 kHz is 346 MB. Sound is decoded from memory, and the request is
there three times inside the server, which as a whole stays under 4 GB."""
MAX_AUDIO_SECONDS: Final = 2 * 3600
"""Seconds of one recording, counted while it is decoded; where a header tells it reliably, before."""
MAX_AUDIO_CHANNELS: Final = 16
"""Channels of one recording; they are averaged."""
MIN_SAMPLE_RATE: Final = 4_000
"""Samples a second, below which there is no speech to be judged."""
MAX_SAMPLE_RATE: Final = 384_000
"""Samples a second."""
