"""A family of sixty lines, unknown to everything else, goes through every room without an edit.

It has two activations, a third that doubles the channels, and tokens in place of feature maps.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import zoo
from zoo.checkpoint import list_steps
from zoo.complexity import count_params
from zoo.export import export
from zoo.finetuning import finetune
from zoo.inspection import inspect
from zoo.models import FeatureInfo, Layer, Network, NetworkConfig, Part, Variant, layers_of, split
from zoo.models.layers import Dense, scaled_uniform_orthogonal
from zoo.models.registry import _FAMILIES, _VARIANTS
from zoo.planning.plan import plan
from zoo.pretrained import load_pretrained, write_index, write_pretrained
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    fit,
)  # fmt: skip

ID = "tokens_dks"


@dataclasses.dataclass(frozen=True)
class TokenConfig(NetworkConfig):
    """Options of the toy.

    Attributes:
      patch: side of a token in pixels.
      channels: of a token.
      blocks: their number.
    """

    patch: int = 2
    channels: int = 16
    blocks: int = 3

    @property
    def image_size(self):
        return 8

    @property
    def smallest_image_size(self):
        return self.patch


class TokenBlock(nnx.Module):
    def __init__(self, config, activations, rngs):
        options = {"initializer": scaled_uniform_orthogonal, **config.dtypes, "rngs": rngs}
        self.first = Dense(config.channels, config.channels, **options)
        self.second = Dense(2 * config.channels, config.channels, **options)
        self.smooth, self.rectified = activations

    def __call__(self, x):
        x = self.first(self.smooth(x))
        x = jnp.concatenate([self.rectified(x), self.rectified(-x)], axis=-1)  # CReLU
        return self.second(x)


class Tokens(Network):
    Config = TokenConfig

    def __init__(self, config, activations, *, rngs):
        self.config, self.activations = config, activations
        options = {"initializer": scaled_uniform_orthogonal, **config.dtypes, "rngs": rngs}
        self.embedding = Dense(config.patch**2 * self.input_channels, config.channels, **options)
        self.body = nnx.List([TokenBlock(config, activations, rngs) for _ in range(config.blocks)])
        self.head = self.new_head(config.channels, scaled_uniform_orthogonal, rngs=rngs)

    @classmethod
    def variants(cls):
        return {ID: Variant(TokenConfig(num_classes=10), (zoo.DKS("tanh"), zoo.EOC()))}

    @property
    def layout(self):
        kinds = (("activation", ""), ("dense", "first"), ("crelu", ""), ("dense", "second"))
        blocks = [
            Part("block", f"body.{i}", tuple(
                Layer(kind, f"body.{i}.{name}" if name else "") for kind, name in kinds
            ))
            for i in range(self.config.blocks)
        ]  # fmt: skip
        stem = Part("stem", "embedding", (Layer("patches"), Layer("dense", "embedding")))
        return (self.input_part, stem, *blocks, Part("pool", "", (Layer("mean"),)), self.head_part)

    def block_outputs(self, images):
        x, p = self.normalize_input(images), self.config.patch
        n, h, w, c = x.shape
        x = x.reshape(n, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
        x = self.embedding(x.reshape(n, h * w // p**2, p * p * c))
        outputs = {"embedding": x}
        for i, block in enumerate(self.body):
            x = outputs[f"body.{i}"] = block(x)
        return outputs

    def feature_maps(self, images):
        return [list(self.block_outputs(images).values())[-1]]

    def features(self, images):
        return self.feature_maps(images)[-1]

    @property
    def feature_info(self):
        return (FeatureInfo("body", self.config.channels, self.config.patch),)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The family, known for these tests alone."""
    zoo.register_family(Tokens)
    yield
    _FAMILIES.pop(ID)
    _VARIANTS.pop(ID)


def _config(**changes):
    base = TrainConfig(
        steps=5,
        model=ModelConfig(ID, channels=8),
        data=DataConfig("digits", batch_size=16),
        optimizer=OptimizerConfig("sgd", learning_rate=0.05),
        eval=EvalConfig(limit=64, batch_size=64),
        checkpoint=CheckpointConfig(every_steps=5),
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return fit(_config(), tmp_path_factory.mktemp("run"), progress=False)


def test_it_is_created_with_its_options_and_both_activations_solved():
    model = zoo.create_model(ID, channels=8, in_channels=1)
    assert [one.phi for one in model.activations] == ["tanh", "relu"]
    assert zoo.list_models("tokens*") == [ID]
    with pytest.raises(ValueError, match="unknown option width; allowed: .*patch"):
        zoo.create_model(ID, width=2)
    with pytest.raises(TypeError, match="width"):
        ModelConfig(ID, width=2)


def test_it_trains_with_kfac_too(trained, tmp_path):
    assert trained.step == 5 and np.isfinite(trained.metrics["loss"])
    kfac = _config(optimizer=OptimizerConfig("kfac", learning_rate=0.05))
    assert np.isfinite(fit(kfac, tmp_path, progress=False).metrics["loss"])


def test_it_resumes_evaluates_and_predicts(trained):
    model = load_pretrained(trained.run_dir)
    assert list_steps(trained.run_dir) and model.provenance.arch == ID
    assert model.solved == trained.model.solved and len(model.solved.shaping) == 2
    assert zoo.evaluate(model, "digits", split="test").n == 360
    image = np.zeros((8, 8), np.uint8)
    assert zoo.predict(model, [image])[0]["class"] in model.classes


@pytest.mark.parametrize("train", ["last:1", "all"])
def test_it_is_fine_tuned_in_part_with_layer_decay(trained, tmp_path, train):
    result = finetune(
        load_pretrained(trained.run_dir), "digits", workdir=tmp_path, classes=("1", "7"),
        train=train, layer_decay=0.5, steps=3, batch_size=16, progress=False,
    )  # fmt: skip
    before, after = trained.model.split()[1], result.model.split()[1]
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    if result.step and train == "last:1":
        assert {name.split(".")[0] for name in moved} <= {"body", "head"}
        assert not any(name.startswith(("body.0", "body.1")) for name in moved)


def test_it_is_adapted_to_other_classes_and_channels(trained):
    model = load_pretrained(trained.run_dir, num_classes=3)
    assert model(jnp.zeros((1, 8, 8, 1))).shape == (1, 3)
    assert model.provenance.report.new == ("head.bias", "head.kernel")
    assert model.reset_classifier(0)(jnp.zeros((1, 8, 8, 1))).shape == (1, 8)


def test_it_is_planned_and_inspected():
    config = _config(model=ModelConfig(ID, 10, channels=8))
    assert plan(config, "cpu:1").memory.parameters > 0
    report = inspect(zoo.create_model(ID, in_channels=1))
    assert report.verdict


def test_it_is_published_loaded_by_id_and_exported(trained, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(folder))
    terms = {"metrics": {}, "recipe": {}, "data_terms": "digits"}
    write_pretrained(folder / f"{ID}.digits", trained.model, **terms)
    write_index(folder)
    model = load_pretrained(f"{ID}.digits")
    assert count_params(model.network) == model.manifest.params
    path = export(model, tmp_path / "tokens.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    assert np.array_equal(load_pretrained(path).logits(images), trained.model.logits(images))
    with pytest.raises(ValueError, match="embedding has a layer of kind patches"):
        export(model, tmp_path / "torch", format="torch")


def test_its_layout_owns_every_parameter():
    model = zoo.create_model(ID, abstract=True)
    names = list(split(model)[1])
    assert all(sum(part.owns(name) for part in model.layout) == 1 for name in names)
    assert [layer.kind for layer in layers_of(model.layout)].count("dense") == 8
