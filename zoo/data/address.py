"""What the name of a data set means: one grammar, for every function and every command.

NAME         one of `DATA_SETS`, or registered by `zoo.register_source`; its files are in
             `data_dir`, or in a cache
folder:PATH  class folders of images
csv:FILE     a table with the columns path and label, and split if it has one
tfds:NAME    a TensorFlow data set that is already prepared as ArrayRecord

Needs neither NumPy nor JAX: help texts and checks of configurations read it.
"""

import dataclasses
import re
from pathlib import Path

from zoo.common.words import nearest

DATA_SETS = (
    "digits", "cifar10", "cifar100", "imagenet2012",
    "imagenetv2", "imagenet-a", "imagenet-r", "imagenet-sketch",
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_added: list[str] = []
_FORMS = {"folder": "PATH", "csv": "FILE", "tfds": "NAME"}
_HERE = "digits"  # comes with a library
GRAMMAR = ", ".join([*DATA_SETS, *(f"{kind}:{rest}" for kind, rest in _FORMS.items())])


@dataclasses.dataclass(frozen=True)
class DataAddress:
    """A data set.

    Attributes:
      kind: "named", or what stands before the colon.
      name: of the data set, or what stands behind the colon.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return self.name if self.kind == "named" else f"{self.kind}:{self.name}"

    @property
    def folder(self) -> Path | None:
        """The folder of `folder:PATH`."""
        return Path(self.name).expanduser() if self.kind == "folder" else None

    @property
    def takes_data_dir(self) -> bool:
        """Whether its files are somewhere that has to be said."""
        return self.kind not in ("folder", "csv") and self.name != _HERE

    @property
    def placeless(self) -> "DataAddress":
        """The same without the part that differs between machines."""
        return self if self.folder is None else DataAddress(self.kind, self.folder.name)


def parse_data(text: str) -> DataAddress:
    """What `text` means, by the grammar above.

    Raises:
      ValueError: nothing of this kind; names the nearest and all forms.
    """
    names = (*DATA_SETS, *_added)
    if text in names:
        return DataAddress("named", text)
    kind, _, rest = text.partition(":")
    if kind in _FORMS and rest:
        return DataAddress(kind, rest)
    near = nearest(text, (*names, *(f"{kind}:" for kind in _FORMS)), 2)
    allowed = ", ".join([*_added, GRAMMAR])
    raise ValueError(f"unknown data set {text!r}; {near}{near and '; '}allowed: {allowed}")


def add_name(name: str) -> None:
    """Makes `name` a data set's from now on.

    Raises:
      ValueError: if it is taken, or has other characters than a-z, 0-9, - and _.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"name {name!r} of a data set; allowed: lower-case letters, digits, - and _"
        )
    if name in (*DATA_SETS, *_added):
        raise ValueError(f"the name {name!r} of a data set is taken; choose another")
    _added.append(name)
