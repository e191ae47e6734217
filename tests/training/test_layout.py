"""Reading data: the founding layout, the shared layout, manifests, and what hostile manifests get."""

from __future__ import annotations

import csv
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepscan_client.errors import DeepScanError, RequestError
from training.data.layout import DataError, data_root, read_data, write_manifest
from training.data.manifest import Row, read_manifest
from training.data.relations import clip_identities
from training.prepare import data_folder

FILES = (
    "real/train/img1.jpg",
    "real/train/img2.JPG",
    "real/val/img3.jpg",
    "fake/train/deepfake1.jpg",
    "fake/train/flux/deepfake2.png",
    "fake/val/deepfake3.jpg",
    "real_videos/train/video1.mp4",
    "fake_videos/val/deepfake1.mp4",
    "real_audio/train/audio1.wav",
    "fake_audio/train/synth1.wav",
)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_the_founding_layout_is_read_with_label_medium_and_split(tmp_path: Path) -> None:
    rows = read_data(touch(tmp_path, *FILES, "real/train/notes.txt", "real/train/.hidden.jpg"))
    assert {(r.path, r.label, r.medium, r.split) for r in rows} == {
        (name, int(name.startswith("fake")), medium, name.split("/")[1])
        for name in FILES
        for medium in [("video" if "_videos" in name else "audio" if "_audio" in name else "image")]
    }
    assert {r.source for r in rows if "flux" in r.path} == {"flux"}
    assert [r.path for r in read_data(tmp_path, medium="video")] == [n for n in FILES if "_videos" in n]


def test_photos_without_train_and_val_have_no_split(tmp_path: Path) -> None:
    rows = read_data(touch(tmp_path, "real/a.jpg", "fake/gan/b.jpg"))
    assert [(r.path, r.split, r.source) for r in rows] == [("real/a.jpg", "", "real"), ("fake/gan/b.jpg", "", "gan")]


def test_the_shared_layout_carries_licences_and_clip_ids(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/images/real/mebeauty/a.jpg",
        "train/images/fake/stylegan3/b.jpg",
        "train/videos/fake/ffpp_c23_faceswap/faceswap__033_097.mp4",
        "train/audio/fake/sam/x.flac",
        "dev/images/g/real/never.jpg",
    )
    (tmp_path / "licences.csv").write_text(
        "source,licence,evidence,commercial\nimages/real/mebeauty,Unsplash,stated,yes\naudio/fake/sam,free,stated,yes\n"
    )
    rows = read_data(tmp_path)
    assert [(r.source, r.medium, r.commercial) for r in rows] == [
        ("mebeauty", "image", "yes"),
        ("stylegan3", "image", "no"),
        ("ffpp_c23_faceswap", "video", "no"),
        ("sam", "audio", "yes"),
    ]
    assert rows[2].identities == ("ffpp:033", "ffpp:097")
    assert {r.source for r in read_data(tmp_path, licences="permissive")} == {"mebeauty", "sam"}


def test_clips_that_belong_together_share_an_identity() -> None:
    def joined(left: tuple[str, str], right: tuple[str, str]) -> bool:
        return bool(set(clip_identities(*left)) & set(clip_identities(*right)))

    assert joined(("playmate_demo", "img42.mp4"), ("sonic_playmate_page", "vs_sonic_0_right.mp4"))
    assert joined(("tpsm_liveportrait_page", "tpsm.mp4"), ("liveportrait_demo", "cross0_ours.mp4"))
    assert joined(("latentsync_demo", "infinitetalk_page_1.mp4"), ("infinitetalk_demo", "dub_4.mp4"))
    assert joined(("sadtalker_demo", "zzww_sadtalker.mp4"), ("real_clips", "videoretalking_face1.mp4"))
    assert joined(("synctalk_demo", "may_a.mp4"), ("real_clips", "aniportrait_pose_ref.mp4"))
    assert joined(("wav2lip_student_results", "salwin.mp4"), ("wav2lip_inputs", "bazigar.mp4"))
    assert joined(("dfd_actors_c40", "08__podium_speech_happy.mp4"), ("dfd_actors_c40", "08__talking_against_wall.mp4"))
    assert not joined(("real_clips", "videoretalking_face3.mp4"), ("real_clips", "videoretalking_face1.mp4"))
    assert not joined(("latentsync_demo", "infinitetalk_page_1.mp4"), ("latentsync_demo", "vidlab7_demo1_out.mp4"))


@pytest.mark.skipif(not data_folder().is_dir(), reason="the training data is not here")
def test_the_shared_data_reads_the_same_photos_as_before() -> None:
    rows = read_data(data_folder(), medium="image")
    old = read_manifest(data_folder())
    assert [(r.path, r.label, r.identities, r.commercial) for r in rows] == [
        (r.path, r.label, r.identities, r.commercial) for r in old
    ]
    assert sum(r.medium == "video" for r in read_data(data_folder())) == 322


ROWS = [
    Row("a/b c.jpg", 1, "gan", ("p:1", "p:2"), "CC BY 4.0, with comma", "yes", "image", "train", "stylegan3"),
    Row("ü.mp4", 0, "web", (), "unknown", "no", "video", "", ""),
]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path, name: str) -> None:
    write_manifest(ROWS, tmp_path / name)
    assert read_data(tmp_path / name) == ROWS
    assert data_root(tmp_path / name) == tmp_path
    assert read_data(tmp_path / name, licences="permissive") == ROWS[:1]


def manifest(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "m.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_two_columns_are_enough(tmp_path: Path) -> None:
    rows = read_data(manifest(tmp_path, "\ufeffPath,Label\r\nx.jpg,Fake\r\n\r\nsub\\y.wav,0\r\n"))
    assert [(r.path, r.label, r.source, r.medium, r.commercial) for r in rows] == [
        ("x.jpg", 1, "fake", "image", "no"),
        ("sub/y.wav", 0, "real", "audio", "no"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("path,source\na.jpg,b\n", "no column label"),
        ("path,label,identiy\na.jpg,real,x\n", "'identiy'"),
        ("path,label,path\na.jpg,real,x\n", "row 1, column path"),
        ("path,label\na.jpg,real\nb.jpg,maybe\n", "row 3, column label"),
        ("path,label\na.jpg,real,more\n", "row 2, column label"),
        ("path,label\na.jpg\n", "row 2, column label"),
        ("path,label\na.jpg,real\na.jpg,fake\n", "row 3, column path"),
        ("path,label\n,real\n", "row 2, column path"),
        ("path,label\na.xyz,real\n", "row 2, column medium"),
        ("path,label,split\na.jpg,real,test\n", "row 2, column split"),
        ("path,label,commercial\na.jpg,real,perhaps\n", "row 2, column commercial"),
        ('path,label\n"a.jpg,real\n', "no CSV"),
        (b"path,label\n\xff\xfe.jpg,real\n", "not UTF-8"),
        ("path,label\n", "no photos"),
    ],
)
def test_a_wrong_manifest_is_named_by_row_and_column(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_data(manifest(tmp_path, text))
    assert caught.value.remedy
    assert isinstance(caught.value, RequestError)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd.jpg",
        "../x.jpg",
        "a/../../x.jpg",
        "..\\x.jpg",
        "C:\\x.jpg",
        "C:x.jpg",
        "\\\\host\\x.jpg",
        ".",
        "out.jpg",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    touch(tmp_path, "target.jpg")
    (inner / "out.jpg").symlink_to(tmp_path / "target.jpg")
    with pytest.raises(DataError, match="row 2, column path"):
        read_data(manifest(inner, f"path,label\n{path},real\n"))


def test_a_broken_parquet_and_odd_cells_are_named(tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no such thing PAR1")
    with pytest.raises(DataError, match="no Parquet"):
        read_data(tmp_path / "broken.parquet")
    parquet.write_table(arrow.table({"path": ["a.jpg"], "label": [0.5]}), tmp_path / "odd.parquet")
    with pytest.raises(DataError, match="row 1, column label"):
        read_data(tmp_path / "odd.parquet")
    table = arrow.table({"path": ["a.jpg"], "label": [1], "identity": [["p", "q"]], "commercial": [True]})
    parquet.write_table(table, tmp_path / "lists.parquet")
    assert read_data(tmp_path / "lists.parquet")[0].identities == ("p", "q")
    assert read_data(tmp_path / "lists.parquet")[0].commercial == "yes"


def test_no_known_layout_says_what_is_expected(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", touch(tmp_path, "x.txt") / "x.txt"):
        with pytest.raises(DataError) as caught:
            read_data(path)
        assert caught.value.remedy
    touch(tmp_path, "real/train/a.jpg")
    with pytest.raises(DataError, match="video"):
        read_data(tmp_path, medium="video")
    with pytest.raises(DataError, match="commercial"):
        read_data(tmp_path, licences="permissive")


def attempt(path: Path) -> tuple[list[Row], DeepScanError | None]:
    """Rows, or the typed error; any other exception fails the test."""
    try:
        return read_data(path), None
    except DeepScanError as error:
        return [], error


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(alphabet=string.printable, max_size=120).map(str.encode)))
def test_any_bytes_give_rows_or_a_typed_error(tmp_path: Path, content: bytes) -> None:
    for name in ("f.csv", "f.parquet"):
        for head in (b"", b"path,label\n"):
            (tmp_path / name).write_bytes(head + content)
            rows, error = attempt(tmp_path / name)
            assert error is None or error.remedy
            assert all(tmp_path in (tmp_path / row.path).resolve().parents for row in rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(max_size=12), st.sampled_from(["real", "fake", "1", " x"]), st.text(max_size=8))))
def test_any_cells_give_rows_or_a_typed_error(tmp_path: Path, cells: list[tuple[str, str, str]]) -> None:
    with (tmp_path / "g.csv").open("w", newline="", encoding="utf-8", errors="replace") as handle:
        csv.writer(handle).writerows([("path", "label", "source"), *((f"{a}.jpg", b, c) for a, b, c in cells)])
    rows, error = attempt(tmp_path / "g.csv")
    assert error.remedy if error else len(rows) == len(cells)
