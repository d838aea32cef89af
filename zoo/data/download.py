"""Downloading a data set's archive from its official home, checked before it gets its name."""

import os
import uuid
from pathlib import Path

from zoo import transfer
from zoo.common.console import Progress
from zoo.transfer import OFFLINE_VARIABLE

DATA_DIR_VARIABLE = "ZOO_DATA_DIR"


def default_data_dir() -> Path:
    """Folder of downloaded data sets: $ZOO_DATA_DIR, else `data` in the cache."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    return Path(given).expanduser().resolve() if given else transfer.cache_home() / "data"


def fetch(url: str, sha256: str, target: Path, *, instead: str) -> None:
    """Downloads `url` to `target`, which comes into being whole and with the right hash or not.

    Args:
      url: address of the file.
      sha256: hex digest the content must have.
      target: path of the file; its folder is made.
      instead: what the user can do by hand, for the error message.

    Raises:
      ValueError: if $ZOO_OFFLINE is set, the folder cannot be written, the address cannot be
        reached or the content is not the expected one.
    """
    absent = f"{target.name} is not in {target.parent}"
    if transfer.is_offline():
        raise ValueError(f"{absent} and {OFFLINE_VARIABLE} is set; {instead}")
    # A name of its own: two processes that both download do not write into each other's file.
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with Progress(target.name, in_bytes=True) as bar:
                digest = transfer.Digest(sha256)
                transfer.fetch([url], target, digest, part=part, on_bytes=bar.advance)
        finally:
            for path in target.parent.glob(f"{part.name}*"):
                path.unlink()
    except OSError as error:
        raise ValueError(f"{absent} and {transfer.storage_error(error, target.parent)}") from error
    except transfer.DownloadError as error:
        raise ValueError(f"{absent} and could not be downloaded: {error}; {instead}") from error
