"""Which clips belong together: a person, an original and its fakes, one published page.

File names of FaceForensics++ carry the ids of their clips, the same in stills and clips. What else belongs together
is told by the data's own description (``README.md`` beside it) and by names that name one original: see ``TABLE``.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from training.data.sources import CLIP_SOURCES

#: Source of clips, pattern of the file's name without its suffix, and the group that the clip belongs to.
TABLE: tuple[tuple[str, str, str], ...] = (
    ("playmate_demo", "*", "playmate"),
    ("sonic_playmate_page", "*", "playmate"),
    ("*_liveportrait_page", "*", "liveportrait"),
    ("liveportrait_demo", "*", "liveportrait"),
    ("liveportrait_driving", "*", "liveportrait"),
    ("liveportrait_page_driving", "*", "liveportrait"),
    ("real_clips", "liveportrait_*", "liveportrait"),
    ("latentsync_demo", "infinitetalk_page_*", "infinitetalk"),
    ("infinitetalk_demo", "*", "infinitetalk"),
    ("*", "zzww_*", "videoretalking"),
    ("real_clips", "videoretalking_face1", "videoretalking"),
    ("geneface_demo", "*", "may"),
    ("synctalk_demo", "*", "may"),
    ("real_clips", "aniportrait_pose_ref", "may"),
    ("wav2lip_student_results", "*", "wav2lip_students"),
    ("wav2lip_inputs", "*", "wav2lip_students"),
    # Not in the description; the names say it.
    ("latentsync_demo", "vidlab7_*", "vidlab7"),
    ("latentsync_inputs", "*", "vidlab7"),
    ("aniportrait_demo", "aragaki", "aragaki"),
    ("aniportrait_driving", "aragaki_driving", "aragaki"),
    ("styletalk_demo", "andrew_*", "andrew"),
    ("styletalk_samples", "andrew_*", "andrew"),
)

_IDS = re.compile(r"(?<!\d)\d{3}(?!\d)")


def clip_identities(source: str, name: str) -> tuple[str, ...]:
    """What a clip of ``<source>/<name>`` must stay together with: clip ids, people and groups of ``TABLE``.

    >>> clip_identities("ffpp_c23_faceswap", "faceswap__033_097.mp4")
    ('ffpp:033', 'ffpp:097')
    >>> clip_identities("fomm_liveportrait_page", "fomm.mp4")
    ('clips:liveportrait',)
    """
    stem = name.rsplit(".", 1)[0]
    found: list[str] = []
    if "__" in stem and (source in CLIP_SOURCES or source.startswith(("ffpp", "dfd"))):
        tail = stem.split("__", 1)
        if source.startswith("dfd"):
            found.append(f"dfd:{tail[0]}")
        else:
            found += [f"ffpp:{digits}" for digits in _IDS.findall(tail[1])]
    if source == "dreamtalk":  # M030_front_angry_level3_001: the first word is the actor
        found.append(f"mead:{stem.split('_')[0]}")
    found += [
        f"clips:{group}" for where, what, group in TABLE if fnmatchcase(source, where) and fnmatchcase(stem, what)
    ]
    return tuple(dict.fromkeys(found))
