"""`Classifier`: a network with everything it needs to answer, as one value.

What is loaded, trained, evaluated, fine-tuned, exported and pushed is a classifier. The network in
it is an ordinary NNX module of structure and weights; nothing is attached to it.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.data import Preprocessing
from zoo.models import Network, Params, Shaping, Solved, merge, rebuilt, split

if TYPE_CHECKING:
    from zoo.pretrained.manifest import Manifest

OWN = "own"
"""What configurations and records say where the user's own object stands in for a name."""


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a network has from its weights, and what not.

    Attributes:
      source: id of the weight, or the architecture.
      kept: parameters as they were.
      adapted: parameters computed from those of the weight.
      new: parameters newly initialised, to be trained before evaluation.
      changes: further differences from the weight, each a clause.
    """

    source: str
    kept: tuple[str, ...]
    new: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        clauses = [f"{len(self.kept)} parameters kept", *self.changes]
        if self.adapted:
            clauses.append(f"adapted: {', '.join(self.adapted)}")
        if self.new:
            names = ", ".join(self.new)
            clauses.append(f"newly initialised, to be trained before evaluation: {names}")
        return f"{self.source}: {'; '.join(clauses)}"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a classifier comes from; carried along, never guessed from an id.

    Attributes:
      arch: id of the architecture, "" for a network of one's own.
      shaping: the methods that solved the activations, as they were used.
      manifest: of the published weight; None for fresh weights and those of a run.
      report: in what the network differs from those weights, where it was adapted.
      run: what a training run says beside its network, as fields of a manifest: its metrics,
        recipe and terms of its data.
    """

    arch: str = ""
    shaping: tuple[Shaping, ...] = ()
    manifest: "Manifest | None" = None
    report: LoadReport | None = None
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """Id of the weight, else of the architecture, else "own network"."""
        return self.manifest.id if self.manifest else self.arch or "own network"


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A network, how images are brought to it, what its answers mean, and where it comes from.

      model = zoo.load_pretrained("vanilla_resnet50_tat_lrelu.digits")
      logits = model(model.preprocess("three.png"))

    Attributes:
      network: structure and weights: a `Network`, or any NNX module images -> logits.
      preprocess: brings files and arrays into the form that the network was trained on.
      classes: their names in the order of the logits; empty where they have none.
      provenance: architecture, shaping methods, published weight.
    """

    network: Network
    preprocess: Preprocessing
    classes: tuple[str, ...] = ()
    provenance: Provenance = Provenance()

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits [batch, classes] of images as `preprocess` gives them; uint8 is normalised."""
        return self.network(self._normalised(images))

    def logits(self, images: jax.Array) -> jax.Array:
        """Logits [batch, classes] of uint8 images [batch, height, width, channel]."""
        return logits(self.network, self.preprocess, images)

    def features(self, images: jax.Array) -> jax.Array:
        """The last feature map, activated, [batch, ..., channel]."""
        return self.network.features(self._normalised(images))

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """Outputs of the stages, finest first."""
        return self.network.feature_maps(self._normalised(images))

    def embed(self, images: jax.Array) -> jax.Array:
        """Features averaged over locations, [batch, channel]: what the head takes."""
        return self.network.embed(self._normalised(images))

    def forward_head(self, features: jax.Array, *, pre_logits: bool = False) -> jax.Array:
        """Logits of what `features` gave; averaged over locations only with `pre_logits`."""
        axes = tuple(range(1, features.ndim - 1))
        pooled = jnp.mean(features.astype(jnp.float32), axis=axes)
        head = self.network.head
        return pooled if pre_logits or head is None else head(pooled).astype(jnp.float32)

    def get_classifier(self) -> nnx.Module | None:
        """The head, pooled features -> logits; None without classes."""
        return self.network.head

    def reset_classifier(self, num_classes: int, *, seed: int = 0) -> "Classifier":
        """With a new head for so many classes, untrained; 0 leaves the head out."""
        from zoo.pretrained.adapting import adapt

        return adapt(self, num_classes=num_classes, seed=seed)

    def split(self) -> tuple[nnx.GraphDef, Params]:
        """Structure of the network, and its parameters by name."""
        return split(self.network)

    def with_params(self, params: Params) -> "Classifier":
        """With other parameters of the same names and shapes."""
        return dataclasses.replace(self, network=merge(split(self.network)[0], params))

    def fresh(self, *, seed: int = 0, abstract: bool = False, **options: Any) -> Network:
        """The same network with fresh weights and other options."""
        return rebuilt(self.network, seed=seed, abstract=abstract, **options)

    @property
    def manifest(self) -> "Manifest | None":
        """Of the published weight it comes from."""
        return self.provenance.manifest

    @property
    def solved(self) -> Solved:
        """The activations and the methods that solved them."""
        return Solved(getattr(self.network, "activations", ()), self.provenance.shaping)

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        if isinstance(self.network, Network):
            return self.network.config.num_classes
        return len(self.classes)

    @property
    def config(self) -> Any:
        """What the network is rebuilt from."""
        return self.network.config

    def _normalised(self, images: jax.Array) -> jax.Array:
        images = jnp.asarray(images)
        return self.preprocess.normalize(images) if images.dtype == jnp.uint8 else images


def logits(network: Any, preprocess: Preprocessing, images: jax.Array) -> jax.Array:
    """Logits of uint8 images [batch, height, width, channel]; may be traced."""
    return network(preprocess.normalize(images))
