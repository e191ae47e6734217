"""The verdict cache and the book of records by themselves."""

from __future__ import annotations

from pathlib import Path

from deepscan_client import ModelInfo, make_verdict
from ml_backend.inference.cache import Key, RecordBook, VerdictCache
from ml_backend.inference.stats import percentiles


def key(number: int) -> Key:
    return ("image", str(number), False, None, None, "records")


def test_the_cache_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    one = len(make_verdict().to_json())
    cache = VerdictCache(3.5 * one / 1e6, 60)
    for number in range(5):
        cache.put(key(number), make_verdict())
    assert len(cache) == 3
    assert cache.bytes == 3 * one
    assert [cache.get(key(number)) is not None for number in range(5)] == [False, False, True, True, True]
    assert (cache.hits, cache.misses) == (3, 2)


def test_a_verdict_larger_than_the_cache_is_not_kept() -> None:
    cache = VerdictCache(0.0001, 60)
    cache.put(key(1), make_verdict())
    assert len(cache) == 0


def test_the_fingerprint_follows_answers_and_records_on_disk(tmp_path: Path) -> None:
    record = tmp_path / "image_verdict" / "1" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    book = RecordBook(tmp_path)
    seen = [book.fingerprint]
    book.observe(make_verdict(models=(ModelInfo("frame_cnn", "1", "aaaaaaaaaaaa"),)))
    seen.append(book.fingerprint)
    book.observe(make_verdict(models=(ModelInfo("frame_cnn", "2", "bbbbbbbbbbbb"),)))
    seen.append(book.fingerprint)
    record.write_text('{"fusion": "refitted"}')
    book.refresh()
    seen.append(book.fingerprint)
    assert len(set(seen)) == 4
    book.observe(make_verdict())  # a photo without a face names fewer models, and changes nothing
    book.refresh()
    assert book.fingerprint == seen[-1]
    assert book.answered == {"frame_cnn": "2:bbbbbbbbbbbb"}


def test_percentiles_are_nearest_rank() -> None:
    assert percentiles([]) == {}
    assert percentiles([7.0]) == {"p50": 7.0, "p90": 7.0, "p95": 7.0, "p99": 7.0}
    assert percentiles(range(1, 101)) == {"p50": 50, "p90": 90, "p95": 95, "p99": 99}
