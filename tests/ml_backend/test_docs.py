"""``docs/rest.md`` names every setting, error code and end point that there is, with the right defaults."""

from __future__ import annotations

from pathlib import Path

from cards.limits import MAX_BATCH_BYTES, MAX_BATCH_FILES, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_JUDGED_FRAMES
from deepscan_client import AsyncDeepScanClient, AsyncFakeTransport, ErrorCode
from ml_backend.inference.app import create_app
from ml_backend.inference.settings import Settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "rest.md").read_text(encoding="utf-8")


def test_every_setting_is_described_with_its_default() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `DEEPSCAN_")]
    described = {
        name.strip(" `"): default.strip(" `")
        for row in rows
        for name, default in zip(row.split("|")[1].split(","), row.split("|")[2].split(","))
    }
    assert set(described) == {f"DEEPSCAN_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, (int, float, str)) and not isinstance(field.default, bool):
            shown = described[f"DEEPSCAN_{name.upper()}"]
            assert shown == (field.default if isinstance(field.default, str) else f"{field.default:g}"), name


def test_every_error_code_and_end_point_is_described() -> None:
    for code in ErrorCode:
        assert f"`{code}`" in TEXT, code
    app = create_app(AsyncDeepScanClient(transport=AsyncFakeTransport()), canary=b"")
    for path in app.openapi()["paths"]:
        assert path in TEXT or f"`/{path.rsplit('/', 1)[-1]}`" in TEXT, path


def test_the_limits_are_those_of_the_code() -> None:
    photo = f"{MAX_IMAGE_BYTES >> 20} MiB and {MAX_IMAGE_PIXELS // 10**6} million pixels"
    batch = f"{MAX_BATCH_FILES} files and {MAX_BATCH_BYTES >> 20} MiB"
    words = " ".join(TEXT.split())
    assert photo in words
    assert batch in words
    assert f"At most {MAX_JUDGED_FRAMES} frames of one video are judged" in words
