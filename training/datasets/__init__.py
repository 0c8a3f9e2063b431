"""Readers of data sets, by the name that a recipe's `data.reader` gives."""

from __future__ import annotations

from pathlib import Path

from model.errors import FulcrumError
from model.schema import DataSpec
from training.datasets.source import LogSource, LogStream

__all__ = ["READERS", "read_source", "stream_source"]

READERS = (
    *("files", "kuairand", "census-income", "ali-ccp", "aliexpress"),
    *("synthetic", "bench", "correlated"),
)


def read_source(data: DataSpec, folder: Path | None) -> LogSource:
    """Read the data set that `data` declares.

    Args:
        data: the recipe's data part.
        folder: of their files; None for the data sets that need none.

    Raises:
        FulcrumError: unknown reader, missing or unreadable files.
    """
    match data.reader:
        case "files":
            from training.datasets.files import read_files

            return read_files(data, folder)
        case "kuairand":
            from training.datasets.kuairand import read_kuairand

            return read_kuairand(data, folder)
        case "census-income":
            from training.datasets.census_income import read_census_income

            return read_census_income(data, folder)
        case "ali-ccp":
            from training.datasets.alibaba import read_ali_ccp

            return read_ali_ccp(data, folder)
        case "aliexpress":
            from training.datasets.alibaba import read_aliexpress

            return read_aliexpress(data, folder)
        case "synthetic":
            from training.datasets.synthetic import read_synthetic

            return read_synthetic(data, folder)
        case "bench":
            from training.datasets.bench import read_bench

            return read_bench(data, folder)
        case "correlated":
            from training.datasets.correlated import read_correlated

            return read_correlated(data, folder)
    raise FulcrumError(f"data.reader: unknown reader {data.reader!r}; the readers are {', '.join(READERS)}")


def stream_source(data: DataSpec, folder: Path | None) -> LogStream:
    """Open the data set that `data` declares, to be read piece by piece.

    Raises:
        FulcrumError: its reader needs the whole log, or files are missing or unreadable.
    """
    if data.reader != "files":
        raise FulcrumError(
            f"training.stream: the reader {data.reader!r} needs the whole log in memory; "
            "only `files` streams, from Parquet"
        )
    from training.datasets.files import stream_files

    return stream_files(data, folder)
