"""`to_plain`: the same logits, no sum of two live paths, published sizes, refusals."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.cases import SHALLOWEST, small
from zoo import Classifier
from zoo.classifier import Provenance
from zoo.data import Preprocessing
from zoo.export import export
from zoo.models import Layer, Sum, create_model, family_of, merge, split
from zoo.models.folding import NotPlainError
from zoo.models.plain import PLAIN_KINDS, PlainLayer
from zoo.pretrained import load_pretrained

# Ids that differ from others here by their activation alone are left to one of them.
SHAPED = ("vanilla_", "rescaled_")
# Circular padding, means of even windows, frozen heads, learnt gates and scalars beside a shortcut.
REFUSED = ("delta_tanh", "identity_matters", "van18", "fixup_", "skipinit_", "nf_", "r_isonet")
CASES = [
    id for id in SHALLOWEST
    if not id.startswith((*SHAPED, *REFUSED)) or id.startswith("vanilla") and "lrelu" in id
]  # fmt: skip
ONE_OF_A_FAMILY = list({family_of(id): id for id in reversed(CASES)}.values())
PLAIN_KERNELS = {"conv", "activation", "max_pool", "mean", "dense", "per_location"} | set(
    PLAIN_KINDS
)


def _random(id, dtype="float32", **options):
    """Weights and statistics that are not their initial values, factors of either sign."""
    model = create_model(id, abstract=True, dtype=dtype, param_dtype=dtype, **small(id, **options))
    graphdef, abstract = split(model)
    generator = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith(".kernel"):
            return generator.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        signs = 1 if name.endswith(".var") else generator.choice([-1, 1], shape)
        return signs * generator.uniform(0.5, 1.5, shape)

    return merge(graphdef, {n: jnp.asarray(draw(n, x.shape), dtype) for n, x in abstract.items()})


def _sums(layers):
    return [layer for layer in layers if isinstance(layer, Sum)]


def _shortcuts(model):
    """Sums of which a path is not linear."""
    found = [one for part in model.layout for one in _sums(part.layers)]
    kinds = {"conv", "standardized_conv", "norm", "scale", "shift"}
    return [
        one for one in found
        if any(isinstance(x, Sum) or x.kind not in kinds for path in one.branches for x in path)
    ]  # fmt: skip


def _logits(models, images):
    structures, params = zip(*map(split, models), strict=True)

    @jax.jit
    def run(params, images):
        return [merge(*one)(images) for one in zip(structures, params, strict=True)]

    return [np.asarray(one, np.float64) for one in run(params, images)]


def _additions(jaxpr, live):
    """Equations that add two values which both depend on the live inputs, calls entered."""
    live, found = {v for v, is_live in zip(jaxpr.invars, live, strict=True) if is_live}, []
    for eqn in jaxpr.eqns:
        alive = [not hasattr(v, "val") and v in live for v in eqn.invars]
        if eqn.primitive.name in ("add", "sub", "add_any") and sum(alive) > 1:
            found.append(eqn)
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and len(inner.invars) == len(alive):
                found += _additions(inner, alive)
        if any(alive):
            live |= set(eqn.outvars)
    return found


def _live_additions(model, side):
    graphdef, params = split(model)
    images = jax.ShapeDtypeStruct((1, side, side, model.config.in_channels), jnp.float32)
    closed = jax.make_jaxpr(lambda p, x: merge(graphdef, p)(x))(params, images)
    live = [False] * len(params) + [True]
    return _additions(closed.jaxpr, live)


@pytest.mark.parametrize(
    ("id", "dtype", "side"),
    [(id, "float64", 16) for id in CASES] + [(id, "float32", 17) for id in ONE_OF_A_FAMILY],
)
def test_logits_are_kept_and_no_two_live_paths_are_added(id, dtype, side):
    tolerance = {"float64": 1e-10, "float32": 1e-4}[dtype]
    with jax.enable_x64(dtype == "float64"):
        model = _random(id, dtype, scan=False)
        widen = bool(_shortcuts(model))
        plain, report = zoo.to_plain(model, widen=widen)
        side = max(side, side % 2 + model.config.smallest_image_size)
        shape = (2, side, side, model.config.in_channels)
        images = jnp.asarray(np.random.default_rng(1).normal(size=shape), dtype)
        expected, got = _logits((model, plain), images)
        additions = [bool(_live_additions(one, side)) for one in (model, plain)]
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert {one.kind for part in plain.layout for one in part.layers} <= PLAIN_KERNELS
    assert additions == [any(_sums(part.layers) for part in model.layout), False]
    assert report.parameters[1] == sum(x.size for x in split(plain)[1].values())
    # What follows an SReLU's ReLU is added by one weight a channel.
    assert widen or report.macs[1] <= 1.02 * report.macs[0]


@pytest.mark.parametrize("id", ["vanilla_resnet18_tat_lrelu", "diracnet18", "repvgg_a0"])
def test_its_kernel_graph_is_a_chain(id):
    plain, _ = zoo.to_plain(create_model(id, abstract=True, **small(id)))
    assert zoo.kernel_graph(plain, (1, 32, 32, 3)).is_chain


@pytest.mark.parametrize(
    ("id", "before", "after"),
    [
        ("diracnet18", 11_523_368, 11_511_784),
        ("diracnet34", 21_638_952, 21_616_232),
        ("diracnet28_5", 9_124_250, 9_110_730),
        ("diracnet28_10", 36_450_090, 36_423_050),
        ("diracnet34_2", 1_854_378, 1_847_626),
        ("repvgg_a0", None, 8_309_384),
        ("repvgg_a1", None, 12_789_864),
        ("repvgg_a2", None, 25_499_944),
        ("repvgg_b0", None, 14_339_048),
        ("repvgg_b1", None, 51_829_480),
        ("repvgg_b2", None, 80_315_112),
        ("repvgg_b3", None, 110_960_872),
        ("resnet50_v1", 25_557_032, None),
        ("resnet50", 25_549_352, None),
    ],
)
def test_published_sizes(id, before, after):
    widen = id.startswith("resnet")
    _, report = zoo.to_plain(create_model(id, abstract=True), widen=widen)
    assert before in (None, report.parameters[0]) and after in (None, report.parameters[1])
    assert f"{report.parameters[0]:,} -> {report.parameters[1]:,}" in str(report)


def test_a_classifier_is_exported_folded_and_loads(tmp_path):
    model = _random("diracnet28_5", depth=10)
    data = Preprocessing((16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    classifier = Classifier(model, data, tuple("abcdefghij"), Provenance("diracnet28_5"))
    plain, report = zoo.to_plain(classifier)
    path = export(classifier, tmp_path / "folded.safetensors", plain=True)
    loaded = load_pretrained(path)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    assert np.array_equal(loaded.logits(images), plain.logits(images))
    expected = np.asarray(classifier.logits(images))
    np.testing.assert_allclose(loaded.logits(images), expected, atol=1e-4 * np.abs(expected).max())
    assert loaded.provenance.arch == "plain" and loaded.config == plain.config
    assert loaded.manifest.params == report.parameters[1]
    assert plain.provenance.report.changes == (str(report),)
    again, same = zoo.to_plain(loaded)
    assert again.config == loaded.config and same.parameters == (report.parameters[1],) * 2


@pytest.mark.parametrize("id", [id for id in SHALLOWEST if id.startswith(REFUSED)])
def test_what_has_no_plain_form_is_refused_in_a_sentence(id):
    with pytest.raises(NotPlainError, match="cannot carry|of kind .* neither linear nor one of"):
        zoo.to_plain(create_model(id, abstract=True, **small(id)), widen=True)


def test_a_van_is_plain_once_its_gates_are_closed():
    """Its kernels are those of the layers, as they were."""
    model = _random("van18")
    with pytest.raises(NotPlainError, match="kind gate"):
        zoo.to_plain(model)
    closed = model.freeze()
    plain, report = zoo.to_plain(closed)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    expected, got = _logits((closed, plain), images)
    np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(expected).max())
    gates = sum(
        name.endswith("gates.0.value") or "gates.1.value" in name for name in split(closed)[1]
    )
    assert report.parameters[0] - report.parameters[1] == gates
    assert not _live_additions(plain, 16)


def test_shortcuts_are_refused_until_widening_is_asked_for():
    model = create_model("resnet18_v1", abstract=True, **small("resnet18_v1"))
    with pytest.raises(NotPlainError, match=r"stages.0.blocks.0 adds two live .*widen=True gives"):
        zoo.to_plain(model)
    smooth = create_model("rescaled_resnet50_dks_softplus", abstract=True)
    with pytest.raises(NotPlainError, match="allowed: convolutions with ReLU between them"):
        zoo.to_plain(smooth, widen=True)


def test_a_layer_nobody_knows_is_refused_by_its_kind():
    model = create_model("plain", abstract=True)

    class Strange(type(model)):
        @property
        def layout(self):
            first, *others = super().layout
            return (first, *(others[:1]), *_with(others[1:], Layer("gate")))

    def _with(parts, layer):
        return [type(one)(one.role, one.name, (layer, *one.layers)) for one in parts]

    model.__class__ = Strange
    with pytest.raises(NotPlainError, match="kind gate, which is neither linear nor one of conv"):
        zoo.to_plain(model)


@pytest.mark.parametrize("text", ["conv channels=8 kernel_size=3 stride=2 groups=2", "activation"])
def test_layers_are_what_their_text_says(text):
    assert str(PlainLayer.parse(text)) == text


@pytest.mark.parametrize("text", ["", "conv", "conv channels=x", "conv size=3", "nothing"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="layer .*"):
        create_model("plain", layers=("activation", text))


def test_a_config_survives_json():
    config = create_model("plain", abstract=True).config
    again = create_model("plain", abstract=True, layers=json.loads(json.dumps(config.layers)))
    assert again.config == config
