"""Uploads in pieces: order, limits, hostile ids, expiry, processes that die, and any mixture of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cards.limits import MAX_CHUNK_BYTES, MAX_VIDEO_MESSAGE_BYTES
from deepscan_client import DeepScanError, ErrorCode, LimitError, MediaError, OverloadedError, RequestError
from pipelines.video import upload
from pipelines.video.upload import Spool, spool_folder


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def left(spool: Spool) -> list[Path]:
    return list(spool.folder.iterdir())


def test_pieces_become_one_file_that_ends_with_its_request(spool: Spool) -> None:
    other = Spool(spool.folder)  # another instance of the model
    assert spool.append("me", 0, b"abc", last=False) == 3
    assert other.append("me", 3, b"defg", last=False) == 7
    assert spool.append("me", 7, b"", last=True) == 7
    with other.claim("me") as path:
        assert path.read_bytes() == b"abcdefg"
        with pytest.raises(RequestError, match="another request"), spool.claim("me"):
            pass
        assert spool.sweep() == 0
    assert left(spool) == []
    with pytest.raises(RequestError) as caught, spool.claim("me"):
        pass
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_request_that_fails_leaves_nothing(spool: Spool) -> None:
    spool.append("me", 0, b"abc", last=True)
    with pytest.raises(ZeroDivisionError), spool.claim("me"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), spool.whole(b"abc"):
        raise ZeroDivisionError
    with spool.whole(b"abc") as path:
        assert path.read_bytes() == b"abc"
    assert left(spool) == []


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 5, 2**62, -1])
def test_a_piece_that_is_not_the_next_one_changes_nothing(spool: Spool, offset: int) -> None:
    spool.append("me", 0, b"abc", last=False)
    with pytest.raises(RequestError):
        spool.append("me", offset, b"xyz", last=False)
    spool.append("me", 3, b"d", last=True)
    with pytest.raises(RequestError, match="last piece"):
        spool.append("me", 4, b"e", last=False)
    with spool.claim("me") as path:
        assert path.read_bytes() == b"abcd"


def test_an_upload_that_never_began_or_is_not_whole_is_named(spool: Spool) -> None:
    with pytest.raises(RequestError) as caught:
        spool.append("me", 5, b"x", last=False)
    assert caught.value.code is ErrorCode.NOT_FOUND
    spool.append("me", 0, b"x", last=False)
    with pytest.raises(RequestError, match="not whole"), spool.claim("me"):
        pass


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "%2e%2e", "x" * 128])
def test_no_id_leaves_the_folder(spool: Spool, name: str) -> None:
    spool.append(name, 0, b"x", last=True)
    with spool.claim(name) as path:
        assert path.resolve().parent.parent == spool.folder.resolve()
    assert [path.name for path in spool.folder.parent.iterdir()] == ["spool"]


@pytest.mark.parametrize("name", ["", "x" * 129, "a\0b", "a\nb", "Ü", "\u202e"])
def test_an_id_that_is_none_is_refused(spool: Spool, name: str) -> None:
    with pytest.raises(RequestError):
        spool.append(name, 0, b"x", last=True)
    with pytest.raises(RequestError), spool.claim(name):
        pass
    assert left(spool) == []


def test_limits_have_types(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitError):
        spool.append("me", 0, bytes(MAX_CHUNK_BYTES + 1), last=False)
    with pytest.raises(LimitError, match="pieces"), spool.whole(bytes(MAX_VIDEO_MESSAGE_BYTES + 1)):
        pass
    with pytest.raises(MediaError), spool.whole(b""):
        pass
    with pytest.raises(MediaError):
        spool.append("me", 0, b"", last=True)
    monkeypatch.setattr(upload, "MAX_VIDEO_BYTES", 5)
    spool.append("large", 0, b"abcd", last=False)
    with pytest.raises(LimitError):
        spool.append("large", 4, b"ef", last=False)
    assert left(spool) == []  # what is too large can never become a video
    small = Spool(spool.folder, most_bytes=10, most_uploads=2)
    small.append("a", 0, b"abcd", last=False)
    with small.whole(b"abcd"):
        for refused in (lambda: small.append("b", 0, b"x", last=True), lambda: small.append("a", 4, b"xyz", last=True)):
            with pytest.raises(OverloadedError):
                refused()
    small.append("b", 0, b"x", last=True)


def test_a_full_disk_costs_one_piece_that_can_be_sent_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    spool.append("me", 0, b"abc", last=False)
    with monkeypatch.context() as patched:
        patched.setattr(upload, "_write", full)
        for name, offset in (("me", 3), ("new", 0)):
            with pytest.raises(OverloadedError, match="No space"):
                spool.append(name, offset, b"d", last=True)
    assert spool.append("me", 3, b"d", last=True) == 4
    assert spool.append("new", 0, b"d", last=True) == 1


def test_an_abandoned_upload_expires_and_one_at_work_does_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path, idle_seconds=0.2)
    spool.append("left", 0, b"x", last=False)
    spool.append("forgotten", 0, b"x", last=True)
    spool.append("alive", 0, b"x", last=False)
    with spool.whole(b"at work") as path:
        time.sleep(0.15)
        spool.append("alive", 1, b"", last=False)
        time.sleep(0.1)
        assert spool.sweep() == 2
        assert path.exists()
    with pytest.raises(RequestError, match="expired"):
        spool.append("left", 1, b"y", last=True)
    spool.append("alive", 1, b"y", last=True)


def test_what_a_killed_process_held_is_swept(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from pipelines.video.upload import Spool
with Spool(Path({str(tmp_path)!r})).whole(b"x"):
    print("held", flush=True)
    os.kill(os.getpid(), 9)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "held" in done.stdout
    assert len(list(tmp_path.iterdir())) == 1
    assert Spool(tmp_path, idle_seconds=0.0).sweep() == 1
    assert list(tmp_path.iterdir()) == []


def test_of_many_writers_of_one_piece_one_wins(spool: Spool) -> None:
    def send(byte: int) -> bool:
        try:
            Spool(spool.folder).append("me", 0, bytes([byte]) * 1000, last=True)
        except RequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(32))) == 1
    with spool.claim("me") as path:
        data = path.read_bytes()
        assert data == data[:1] * 1000


def test_the_folder_is_named_by_the_server_or_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSCAN_SPOOL", "/somewhere")
    assert spool_folder() == Path("/somewhere")
    monkeypatch.delenv("DEEPSCAN_SPOOL")
    assert spool_folder().name.endswith(f"-{os.getppid()}")


PIECES = st.tuples(
    st.sampled_from(["a", "b", "../a", ""]),
    st.integers(-1, 12),
    st.binary(max_size=5),
    st.booleans(),
    st.sampled_from(["append", "claim", "sweep"]),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(PIECES, max_size=20))
def test_any_mixture_of_pieces_gives_a_whole_file_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bytes, bool, str]]
) -> None:
    spool = Spool(tmp_path_factory.mktemp("fuzz") / "spool", most_bytes=30, most_uploads=2)
    known: dict[str, bytes] = {}
    whole: set[str] = set()
    for name, offset, chunk, last, what in steps:
        if what == "sweep":
            assert spool.sweep() == 0
            continue
        said = _tried(spool, name, offset, chunk, last, what)
        if isinstance(said, DeepScanError):
            assert said.code is not ErrorCode.INTERNAL
            assert said.remedy
        elif what == "claim":
            assert name in whole
            assert said == known.pop(name)
            whole.discard(name)
        else:
            assert name not in whole
            assert offset == len(known.get(name, b""))
            known[name] = known.get(name, b"") + chunk
            assert said == len(known[name])
            whole |= {name} if last else set()
    assert {path.name for path in spool.folder.parent.iterdir()} == {"spool"}
    assert len(list(spool.folder.iterdir())) == len(known)


def _tried(spool: Spool, name: str, offset: int, chunk: bytes, last: bool, what: str) -> bytes | int | DeepScanError:
    try:
        if what == "append":
            return spool.append(name, offset, chunk, last)
        with spool.claim(name) as path:
            return path.read_bytes()
    except DeepScanError as error:
        return error
