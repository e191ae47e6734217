"""Write the watched and scored clips into one folder for another machine: ``python -m training.video.parcel FOLDER``.

``training.video.train --parcel`` and ``training.video.sweep`` read it. Embeddings of all named networks go in, and the
pictures that ``hybrid`` takes unless ``--without-pictures`` is given.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import cv2

from cards.repository import ModelRepository
from training.prepare import data_folder
from training.video.material import Parcel, write_parcel
from training.video.table import read_table
from training.video.train import weights_of


def main(arguments: list[str] | None = None) -> int:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--embeddings", nargs="+", default=["frame_cnn", "portrait_cnn"], help="of these networks")
    parser.add_argument("--without-pictures", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    repository = ModelRepository()
    clips, missing = read_table(options.data, options.cache, repository, options.embeddings)
    weights = weights_of(repository, options.embeddings)
    write_parcel(options.folder, Parcel.of(clips, weights, None if options.without_pictures else options.cache))
    for file in sorted(options.folder.glob("*.npz")):
        print(f"{file}: {file.stat().st_size} bytes, {len(clips)} clips, {len(missing)} missing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
