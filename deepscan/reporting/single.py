"""All that was said of one file as one HTML page that fetches nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from deepscan.parts import deciding_part
from deepscan.scan import without_track_maps
from deepscan_client import Verdict

_KINDS = {".jpg": "image/jpeg", ".png": "image/png"}


def single_page(
    name: str, verdict: Verdict, picture: tuple[str, bytes] | None, looks: Sequence[tuple[str, bytes]] = ()
) -> str:
    """The page of a verdict; whatever comes from the file or the server is escaped.

    Args:
        name: of the file, as it was given.
        verdict: what was said of it.
        picture: end of its name and bytes, where there is one.
        looks: words and JPEG of some moments of a video.
    """
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("single.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(
        name=name,
        v=verdict,
        decides=deciding_part(verdict),
        picture=None if picture is None else _data(*picture),
        looks=[(words, _data(".jpg", data)) for words, data in looks],
        text=without_track_maps(verdict).to_json(),
    )


def _data(form: str, data: bytes) -> str:
    return f"data:{_KINDS[form]};base64,{base64.b64encode(data).decode()}"
