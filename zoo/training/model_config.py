"""Which network a run trains: an id, and the options of its family.

Owns nothing of any family: the fields of a `ModelConfig` are those of the `Config` of its id's
family, so that `--model.width 0.5` exists where the family has a width.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from zoo.classifier import OWN
from zoo.models import Network, create_model, family_of, variant_of

_DEFAULT_ARCH = "vanilla_resnet50_tat_lrelu"
# The preprocessing decides the channels, the data the classes unless it is said here.
NOT_OPTIONS = ("in_channels", "num_classes")


@dataclasses.dataclass(frozen=True, init=False)
class ModelConfig:
    """Arguments of `zoo.create_model`.

      ModelConfig("vanilla_resnet50_tat_lrelu", stem="cifar", width=0.25)

    An instance is of a subclass made for its id, whose further fields are the family's options and
    whose defaults are what the id stands for.

    Attributes:
      arch: model id, one of `zoo.list_models()`, or "own" for a network that has none.
      num_classes: None takes the number of classes of the training data.

    Raises:
      UnknownModelError: for an unknown id; names the nearest.
      TypeError: for an option that the family does not have.
    """

    arch: str = _DEFAULT_ARCH
    num_classes: int | None = None

    def __new__(cls, arch: str = _DEFAULT_ARCH, *_: Any, **__: Any) -> "ModelConfig":
        """An instance of the class of this id."""
        return object.__new__(cls.of(arch) if cls is ModelConfig else cls)

    def __post_init__(self) -> None:
        if type(self) is not self.of(self.arch):
            raise TypeError(f"another arch has other options; take with_arch({self.arch!r})")

    def __reduce__(self) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return functools.partial(ModelConfig, **values), ()

    @staticmethod
    def of(arch: str) -> type["ModelConfig"]:
        """The class whose fields are the options of this id."""
        return _class_of(arch)

    @classmethod
    def kind_for(cls, values: Mapping[str, Any]) -> type["ModelConfig"]:
        """The class that JSON values are decoded into; says so if their id is unknown."""
        arch = values.get("arch", _DEFAULT_ARCH)
        if not isinstance(arch, str):
            raise ValueError(f"arch: {arch!r} given, a model id expected; all: zoo list")
        return cls.of(arch)

    def with_arch(self, arch: str) -> "ModelConfig":
        """The same for another id: what was set is kept where its family has the option."""
        names = {field.name for field in dataclasses.fields(self.of(arch))}
        kept = {name: value for name, value in self.changes.items() if name in names}
        return ModelConfig(arch, self.num_classes, **kept)

    def with_options(self, **options: Any) -> "ModelConfig":
        """The same with other options."""
        return ModelConfig(self.arch, self.num_classes, **{**self.changes, **options})

    @property
    def options(self) -> dict[str, Any]:
        """All options of the family by name."""
        return {name: getattr(self, name) for name in _option_names(self.arch)}

    @property
    def precision(self) -> str:
        """Dtype of the computation."""
        return self.options.get("dtype", "float32")

    @property
    def changes(self) -> dict[str, Any]:
        """The options that differ from what the id stands for."""
        if self.arch == OWN:
            return {}
        default = variant_of(self.arch).config
        return {n: value for n, value in self.options.items() if value != getattr(default, n)}

    def create(self, *, in_channels: int, num_classes: int, **how: Any) -> Network:
        """The network; `how` is what else `create_model` takes.

        Raises:
          ValueError: for invalid options.
        """
        sizes = {"in_channels": in_channels, "num_classes": num_classes}
        return create_model(self.arch, **self.options, **sizes, **how)

    def mistakes(self) -> list[str]:
        """What is wrong with each option, one at a time."""
        found = []
        for name, value in self.changes.items():
            try:
                dataclasses.replace(variant_of(self.arch).config, **{name: value})
            except ValueError as error:
                found.append(str(error))
        return found


_FIXED: list[Any] = [
    ("arch", str, dataclasses.field(default=OWN)),
    ("num_classes", int | None, dataclasses.field(default=None)),
]


@functools.cache
def _class_of(arch: str) -> type[ModelConfig]:
    if arch == OWN:
        return dataclasses.make_dataclass("ModelConfig", _FIXED, bases=(ModelConfig,), frozen=True)
    family, default = family_of(arch), variant_of(arch).config
    hints = {field.name: field.type for field in dataclasses.fields(family.Config)}
    options = [
        (name, hints[name], dataclasses.field(default=getattr(default, name)))
        for name in _option_names(arch)
    ]
    fields = [("arch", str, dataclasses.field(default=arch)), *_FIXED[1:], *options]
    made = dataclasses.make_dataclass("ModelConfig", fields, bases=(ModelConfig,), frozen=True)
    made.__doc__ = f"{ModelConfig.__doc__}\n\n{family.Config.__doc__}"
    return made


def _option_names(arch: str) -> tuple[str, ...]:
    fields = () if arch == OWN else dataclasses.fields(variant_of(arch).config)
    return tuple(field.name for field in fields if field.name not in NOT_OPTIONS)
