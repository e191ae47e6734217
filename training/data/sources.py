"""What the training sources are: which fakes went through the same pipeline as which reals, and their families.

A *pair* is a set of fake sources with the real sources that they are drawn beside. Batches are drawn by pair, so that
a network cannot tell the classes apart by camera, style or compression. Galleries of fakes whose makers published no
originals (``matched=False``) have no such partner: each of their fakes is drawn beside one of the real photos that look
most like it (``training.data.style``), so that the gallery's manner says little about the class.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourcePair:
    """Fake sources, the real sources beside them, their share of the batches, and whether they share a pipeline."""

    name: str
    fakes: tuple[str, ...]
    reals: tuple[str, ...]
    share: float
    matched: bool = True


FFHQ = ("ffhq_a", "ffhq_b", "ffhq_c")
PORTRAITS = ("mebeauty", "stock_photos", "london_studio", "canada_studio", "press_photos", "family_photos")
#: Where partners in style are looked for.
STYLES = (*PORTRAITS, *FFHQ, "web_photos", "politicians_web")

#: Clips of talking heads: re-enactment, lip sync and audio-driven video; most have no original.
TALKING_FAKES = tuple(
    f"clip:{name}"
    for name in (
        *("actalker_demo", "aniportrait_demo", "aniportrait_liveportrait_page", "anitalker_demo"),
        *("dagan_liveportrait_page", "deepfake_morgan_freeman", "face_vid2vid_liveportrait_page"),
        *("fadm_liveportrait_page", "fantasyportrait_demo", "fantasytalking_demo", "fomm_liveportrait_page"),
        *("geneface_demo", "hunyuanportrait_demo", "infinitetalk_demo", "keyface_demo", "keysync_demo"),
        *("latentsync_demo", "liveportrait_demo", "makeittalk_demo", "mcnet_liveportrait_page", "playmate_demo"),
        *("real3dportrait_demo", "sadtalker_demo", "sadtalker_video_lip_sync_demo", "sonic_playmate_page"),
        *("styletalk_demo", "synctalk_demo", "tpsm_liveportrait_page", "veo3_demo", "video_retalking_demo"),
        "wav2lip_student_results",
    )
)
TALKING_REALS = tuple(
    f"clip:{name}"
    for name in (
        *("aniportrait_driving", "dreamtalk", "fantasyportrait_driving", "grid_lipnet_samples", "latentsync_inputs"),
        *("liax_driving", "liveportrait_driving", "liveportrait_page_driving", "misc_talking_heads", "real_clips"),
        *("styletalk_samples", "videoretalking_inputs", "wav2lip_inputs", "ffpp_c23_youtube", "dfd_actors_c40"),
    )
)

PAIRS: tuple[SourcePair, ...] = (
    SourcePair("openforensics", ("openforensics",), ("openforensics",), 0.15),
    SourcePair("ffpp_c23", ("ffpp_c23_deepfakes",), ("ffpp_c23_youtube",), 0.06),
    SourcePair(
        "ffpp_c40",
        ("ffpp_c40_deepfakes", "ffpp_c40_face2face", "ffpp_c40_faceswap", "ffpp_c40_neuraltextures"),
        ("ffpp_c40_youtube", "dfd_actors_c40"),
        0.06,
    ),
    SourcePair("ffpp_tight", ("ffpp_tight_deepfakes",), ("ffpp_tight_youtube",), 0.06),
    SourcePair("ciplab", ("ciplab_composites",), ("ciplab_photos",), 0.04),
    SourcePair("politicians", ("flux_lora_politicians",), ("politicians_web",), 0.07),
    SourcePair(
        "stylegan",
        ("stylegan2_tpdne_a", "stylegan2_tpdne_b", "stylegan2_tpdne_c", "stylegan2ada", "stylegan3", "stylegan_misc"),
        FFHQ,
        0.13,
    ),
    SourcePair("restored", ("gpen_restored", "stylegan2_finetuned"), (*FFHQ, "ciplab_photos", "mebeauty"), 0.03, False),
    SourcePair("chat_galleries", ("nanobanana_pro", "gpt4o_image", "gpt_image", "gpt_image_2"), STYLES, 0.13, False),
    SourcePair(
        "diffusion_galleries", ("flux_closeups", "stable_diffusion_21", "diffusion_portraits"), STYLES, 0.12, False
    ),
    SourcePair("costume_galleries", ("sd15_lora_portraits",), STYLES, 0.04, False),
    # Frames of clips (training.data.stills); absent where a run does not load them.
    SourcePair(
        "clips_ffpp",
        ("clip:ffpp_c23_deepfakes", "clip:ffpp_c23_face2face", "clip:ffpp_c23_faceswap"),
        ("clip:ffpp_c23_youtube",),
        0.03,
    ),
    SourcePair(
        "clips_ffpp_c40",
        ("clip:ffpp_c40_neuraltextures",),
        ("clip:ffpp_c40_youtube", "clip:dfd_actors_c40"),
        0.02,
    ),
    SourcePair("talking_heads", TALKING_FAKES, TALKING_REALS, 0.055, False),
)

#: Sources whose file names carry the ids of clips, ``method__target_source_frame`` or ``method__clip_frame``.
CLIP_SOURCES = tuple(source for pair in PAIRS if pair.name.startswith("ffpp") for source in (*pair.fakes, *pair.reals))

#: Small kinds that no training run sees: they only watch the run.
WATCHED = ("gpen_restored", "stylegan2ada", "diffusion_portraits", "gpt_image")
