"""Verdicts for people: a picture, an annotated video, a page.

Each file is named ``<number>_<name>``, so that no name can leave its folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepscan.inputs import MOVING, Found, check_media, read_media
from deepscan.parts import deciding_part
from deepscan.safe import plain
from deepscan_client import InternalError, Medium, Verdict

if TYPE_CHECKING:
    from deepscan.scan import Result

_NAME_BYTES = 240
"""Of the name of a file that is written: most file systems take 255 with its number and its end."""
Write = Callable[["Result", Path, int], Path | None]


@dataclass(frozen=True)
class Drawings:
    """What is written of each file that was judged, and where; None for nothing of that kind."""

    pictures: str | None = None
    annotated: str | None = None
    pages: str | None = None

    @property
    def heat(self) -> frozenset[Medium]:
        """The media whose heat maps are drawn."""
        photos = {Medium.IMAGE} if self.pictures is not None or self.pages is not None else set()
        videos = set(MOVING) if self.annotated is not None or self.pages is not None else set()
        return frozenset(photos | videos)

    @property
    def wanted(self) -> list[tuple[str, Write]]:
        """The folders, and what writes one file into each."""
        each: list[tuple[str | None, Write]] = [
            (self.pictures, write_picture),
            (self.annotated, write_video),
            (self.pages, write_page),
        ]
        return [(folder, write) for folder, write in each if folder is not None]


def write_picture(result: Result, folder: Path, number: int) -> Path | None:
    """Write the picture of one result.

    A photo gets its boxes and heat maps (.jpg); a recording its spectrogram, a video some of its frames, both with a
    timeline (.png).

    Returns:
        The file, or None where there is nothing to draw.

    Raises:
        OSError: it cannot be written.
        DeepScanError: the file changed after it was judged.
    """
    drawn = draw(result)
    if drawn is None:
        return None
    form, data = drawn
    file = _name(result.found, folder, number, form)
    file.write_bytes(data)
    return file


def write_video(result: Result, folder: Path, number: int) -> Path | None:
    """Write a video with box, score and heat map of each face (.mp4); errors and answer as of ``write_picture``."""
    if result.verdict is None or result.verdict.medium not in MOVING:
        return None
    from pipelines.video.overlay import MAX_SIDE, frames_a_second, write_annotated
    from pipelines.video.sampling import open_source

    source = open_source(check_media(result.found))
    fps = frames_a_second(source.info.seconds, source.info.fps)
    file = _name(result.found, folder, number, ".mp4")
    write_annotated(source.frames(fps=fps, max_side=MAX_SIDE), result.verdict, file)
    return file


def write_page(result: Result, folder: Path, number: int) -> Path | None:
    """Write a page that says everything of one file (.html); errors and answer as of ``write_picture``."""
    if result.verdict is None:
        return None
    from deepscan.reporting.single import single_page

    file = _name(result.found, folder, number, ".html")
    page = single_page(plain(result.found.path), result.verdict, draw(result), _looks(result.found, result.verdict))
    file.write_text(page, encoding="utf-8")
    return file


def draw(result: Result) -> tuple[str, bytes] | None:
    """The picture of a result, as the end of its name (.jpg or .png) and its bytes."""
    if result.verdict is None:
        return None
    form = ".png"
    if result.verdict.medium is Medium.AUDIO:
        drawn = _recording(result.found, result.verdict)
    elif result.verdict.medium in MOVING:
        drawn = _video(result.found, result.verdict)
    elif result.verdict.faces:
        drawn, form = _overlay(result.found, result.verdict), ".jpg"
    else:
        return None
    return form, _encoded(drawn, form)


def _encoded(pixels: Any, form: str) -> bytes:
    import cv2

    encoded, data = cv2.imencode(form, pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92] if form == ".jpg" else [])
    if not encoded:
        raise InternalError(f"a picture of {pixels.shape} cannot be encoded as {form}")
    return bytes(data.tobytes())


def _name(found: Found, folder: Path, number: int, form: str) -> Path:
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(found.path).stem)
    stem = stem.encode()[:_NAME_BYTES].decode(errors="ignore")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{number:05d}_{stem.lstrip('.') or 'file'}{form}"


def _overlay(found: Found, verdict: Verdict) -> Any:
    from pipelines.image.decode import decode_image
    from pipelines.image.overlay import draw_overlay
    from pipelines.image.probe import probe_image

    return draw_overlay(decode_image(probe_image(read_media(found)).picture), verdict)


def _recording(found: Found, verdict: Verdict) -> Any:
    from pipelines.audio.picture import draw_recording
    from pipelines.audio.source import open_audio

    return draw_recording(open_audio(read_media(found)).blocks(), verdict)


def _video(found: Found, verdict: Verdict) -> Any:
    from pipelines.video.picture import THUMBNAILS, draw_video
    from pipelines.video.sampling import open_source

    frames = open_source(check_media(found)).frames(num_frames=THUMBNAILS, max_side=320)
    return draw_video(frames, verdict)


def _looks(found: Found, verdict: Verdict) -> list[tuple[str, bytes]]:
    """Words and JPEG of close looks at a video's face; none of other media."""
    if verdict.medium not in MOVING:
        return []
    if deciding_part(verdict) == "sound":  # then so is the timeline, which says nothing of the face
        verdict = replace(verdict, timeline=())
    from pipelines.video.closeups import close_looks
    from pipelines.video.sampling import open_source

    looks = []
    for moment, pixels in close_looks(open_source(check_media(found)), verdict):
        around = "" if moment.probability is None else f", probability around it {moment.probability:.2f}"
        looks.append((f"{moment.time:.1f} s{around}", _encoded(pixels, ".jpg")))
    return looks
