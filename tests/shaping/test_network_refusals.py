"""Every network that cannot be shaped gets its own sentence: what, where, and what to do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

import zoo

WIDTH = 8
DKS = zoo.DKS("tanh")


class Net(nnx.Module):
    """One layer and its activation, then `use(self, y, x)`."""

    def __init__(self, use, weight=(WIDTH, WIDTH), **parts):
        self.first = nnx.Param(jnp.ones((WIDTH, WIDTH)))
        self.weight = nnx.Param(jnp.ones(weight))
        self.act = zoo.ShapedActivation("tanh")
        self.use = use
        for name, part in parts.items():
            setattr(self, name, part)

    def __call__(self, x, *others):
        return self.use(self, self.act(x @ self.first[...]), x, *others)


def attention(m, y, x):
    return jax.nn.softmax(y @ y.swapaxes(-1, -2)) @ y


def shaped(net, *shapes, method=DKS, **options):
    return lambda: zoo.shape(net, method, *shapes or [(4, WIDTH)], **options)


def traced(net, *shapes, **options):
    return lambda: zoo.kernel_graph(net, *shapes or [(4, WIDTH)], **options)


def conv(m, y, x):
    return m.conv(y)


def normed(m, y, x):
    return m.norm(y)


def unnormalised(m, y, x):
    return m.act((y + m.act(y) @ m.weight[...]) @ m.first[...])


def mask(x):
    return jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)


def decides(m, y, x):
    return y if y.sum() > 0 else x


RNGS = nnx.Rngs(0)
IMAGE = (1, 6, 6, WIDTH)

TABLE = {
    "LayerNorm": (
        shaped(Net(normed, norm=nnx.LayerNorm(WIDTH, rngs=RNGS))),
        "the network contains LayerNorm, whose statistics have no kernel map; remove it "
        "(BatchNorm can be folded into the layer before it), shaped networks need no "
        "normalisation (FILE, after 1 nonlinear layers)",
    ),
    "BatchNorm": (
        shaped(Net(normed, norm=nnx.BatchNorm(WIDTH, rngs=RNGS))),
        "the network contains BatchNorm, whose statistics have no kernel map; remove it "
        "(BatchNorm can be folded into the layer before it), shaped networks need no "
        "normalisation (FILE, after 1 nonlinear layers)",
    ),
    "GroupNorm": (
        shaped(Net(normed, norm=nnx.GroupNorm(WIDTH, num_groups=2, rngs=RNGS))),
        "the network contains GroupNorm, whose statistics have no kernel map; remove it "
        "(BatchNorm can be folded into the layer before it), shaped networks need no "
        "normalisation (FILE, after 1 nonlinear layers)",
    ),
    "statistics by hand": (
        shaped(Net(lambda m, y, x: y - y.mean(0))),
        "the network combines a signal with its own mean, as normalisation layers do; "
        "remove the layer, shaped networks keep their scale by themselves (FILE, after 1 "
        "nonlinear layers)",
    ),
    "norm by hand": (
        shaped(Net(lambda m, y, x: y / jnp.linalg.norm(y, axis=-1, keepdims=True))),
        "the network reduces over the channels (reduce_sum), as softmax and LayerNorm do,"
        " for which there is no kernel map; remove it, or keep it outside the traced "
        "function (FILE, after 1 nonlinear layers)",
    ),
    "gate": (
        shaped(Net(lambda m, y, x: y * jax.nn.sigmoid(y @ m.weight[...]))),
        "the network multiplies signals, as gates do, so that slopes add up to 2 or more "
        "whatever the activation; put a normalised sum in place of the product",
    ),
    "gate of the same layer": (
        shaped(Net(lambda m, y, x: y * jnp.flip(y, 0))),
        "the network multiplies a signal by values that are not independent of it, as "
        "normalisation layers and attention do; remove it, or let each factor have an "
        "affine layer of its own (FILE, after 1 nonlinear layers)",
    ),
    "attention": (
        shaped(Net(attention), (2, 4, WIDTH)),
        "the network joins two signals by dot_general, as attention does, for which there"
        " is no kernel map; remove it (FILE, after 1 nonlinear layers)",
    ),
    "softmax": (
        shaped(Net(lambda m, y, x: jax.nn.softmax(y @ m.weight[...]))),
        "the network applies softmax, which has no kernel map; return the logits before "
        "it (FILE, after 1 nonlinear layers)",
    ),
    "sum": (
        shaped(Net(unnormalised)),
        "the network adds signals with weights 1, 1 in FILE, whose squares add to 2 "
        "instead of 1; weigh them by w and sqrt(1 - w^2), such as 0.8 and 0.6, or divide "
        "the sum by 1.414 (FILE, after 2 nonlinear layers)",
    ),
    "sum with itself": (
        shaped(Net(lambda m, y, x: 0.6 * y + 0.8 * y)),
        "the network adds a signal to itself, so the summands are not independent; put an"
        " affine layer of its own at the end of one of them (FILE, after 1 nonlinear "
        "layers)",
    ),
    "sum of activations": (
        shaped(Net(lambda m, y, x: 0.6 * y + 0.8 * m.act(y @ m.weight[...]))),
        "the network adds 2 signals that do not end in an affine layer of their own, so "
        "they are not independent; end all but one in a dense layer or a convolution "
        "(FILE, after 2 nonlinear layers)",
    ),
    "sum of one layer": (
        shaped(Net(lambda m, y, x: 0.6 * (x @ m.weight[...]) + 0.8 * (y @ m.weight[...]))),
        "the network adds two signals that end in the same weights, so they are not "
        "independent; give each its own affine layer (FILE, after 1 nonlinear layers)",
    ),
    "cond": (
        shaped(Net(lambda m, y, x: lax.cond(x[0, 0] > 0, jnp.negative, jnp.positive, y))),
        "the network runs one of several branches (cond), so it is not one network; "
        "decide with Python's if and for, or repeat layers with jax.lax.scan (FILE, after"
        " 1 nonlinear layers)",
    ),
    "while": (
        shaped(Net(lambda m, y, x: lax.while_loop(lambda z: z[0, 0] < 9, m.act, y))),
        "the network runs a loop whose length depends on data (while), so it is not one "
        "network; decide with Python's if and for, or repeat layers with jax.lax.scan "
        "(FILE, after 1 nonlinear layers)",
    ),
    "Python if": (
        shaped(Net(decides)),
        "the network reads values of a signal in Python (if, while, int), so it is not "
        "one network; decide by shapes and options",
    ),
    "NumPy": (
        shaped(Net(lambda m, y, x: np.sin(y))),
        "the network hands a signal to NumPy, where it cannot be followed; compute with jax.numpy",
    ),
    "no activation": (
        shaped(Net(lambda m, y, x: x @ m.weight[...])),
        "the network has no nonlinear layer to shape; apply a zoo.ShapedActivation "
        "between its affine layers",
    ),
    "unmarked activation": (
        shaped(Net(lambda m, y, x: jax.nn.relu(y @ m.weight[...]))),
        "the network applies a nonlinearity that is not marked, relu (primitive max); use"
        ' zoo.ShapedActivation("relu") for it (FILE, after 1 nonlinear layers)',
    ),
    "activation of the module's file": (
        shaped(Net(lambda m, y, x: zoo.ShapedActivation("sin")(y @ m.weight[...]))),
        "the network applies sin from outside its modules, where it cannot be replaced; "
        "keep it as an attribute, as in self.activation = zoo.ShapedActivation(...)",
    ),
    "PReLU": (
        shaped(Net(lambda m, y, x: m.prelu(y @ m.weight[...]), prelu=nnx.PReLU())),
        "the network multiplies a signal by a scalar weight whose value is not known "
        "while tracing, as PReLU and ReZero do; use a Python number (FILE, after 1 "
        "nonlinear layers)",
    ),
    "LayerScale": (
        shaped(Net(lambda m, y, x: y * m.weight[0])),
        "the network multiplies a signal by a vector of weights, as BatchNorm and "
        "LayerScale do; fold it into the affine layer before it (FILE, after 1 nonlinear "
        "layers)",
    ),
    "maxout": (
        shaped(Net(lambda m, y, x: jnp.maximum(y @ m.weight[...], y @ m.first[...]))),
        "the network picks the max of several signals, as maxout does, for which there is"
        " no kernel map; apply an activation to one signal (FILE, after 1 nonlinear "
        "layers)",
    ),
    "scale": (
        shaped(Net(lambda m, y, x: m.act(0.5 * (y @ m.weight[...])))),
        "the network multiplies a signal by 0.5 before a nonlinear layer, so its scale is"
        " no longer 1; remove the factor (FILE, after 1 nonlinear layers)",
    ),
    "shift": (
        shaped(Net(lambda m, y, x: y @ m.weight[...] + 0.5)),
        "the network adds the number 0.5 to a signal, which the kernel maps do not see; "
        "remove it, shifts belong to the activation (FILE, after 1 nonlinear layers)",
    ),
    "noise": (
        shaped(Net(lambda m, y, x: y + jax.random.normal(jax.random.key(0), y.shape))),
        "the network adds numbers that are no weights to a signal, as noise and fixed "
        "position codes do; remove them, or add them before the first layer (FILE, after "
        "1 nonlinear layers)",
    ),
    "dropout": (
        shaped(Net(lambda m, y, x: jnp.where(mask(y), y / 0.5, 0))),
        "the network selects elements of a signal (select_n), as dropout in training and "
        "masks do; trace it in evaluation mode, and write activations as "
        "zoo.ShapedActivation (FILE, after 1 nonlinear layers)",
    ),
    "dropout by a product": (
        shaped(Net(lambda m, y, x: y * mask(y))),
        "the network multiplies a signal by numbers that are no weights, as dropout in "
        "training and masks do; trace it in evaluation mode and without masks (FILE, "
        "after 1 nonlinear layers)",
    ),
    "constant channels": (
        shaped(Net(lambda m, y, x: jnp.concatenate([y, jnp.ones((4, 1))], -1))),
        "the network concatenates a signal with constant channels, which have no kernel "
        "map; do it before the first layer (FILE, after 1 nonlinear layers)",
    ),
    "different locations": (
        shaped(Net(lambda m, y, x: jnp.concatenate([y, m.act(y @ m.weight[...])], 0))),
        "the network concatenates different signals along another axis than the channels,"
        " so locations differ in their kernel maps; concatenate the last axis, or keep "
        "them apart (FILE, after 2 nonlinear layers)",
    ),
    "channel maximum": (
        shaped(Net(lambda m, y, x: y.max(-1))),
        "the network reduces over the channels (reduce_max), as softmax and LayerNorm do,"
        " for which there is no kernel map; remove it, or keep it outside the traced "
        "function (FILE, after 1 nonlinear layers)",
    ),
    "even kernel": (
        shaped(Net(conv, conv=nnx.Conv(WIDTH, WIDTH, (2, 2), rngs=RNGS)), IMAGE),
        "the parameter conv.kernel is a convolution kernel of (2, 2), which has no centre"
        " tap; use odd sizes",
    ),
    "transposed convolution": (
        shaped(
            Net(conv, conv=nnx.ConvTranspose(WIDTH, WIDTH, (3, 3), rngs=RNGS, strides=2)), IMAGE
        ),
        "the parameter conv.kernel belongs to a transposed convolution, whose centre tap "
        "reaches only some locations; use a convolution after jnp.repeat or "
        "jax.image.resize",
    ),
    "tied weights": (
        shaped(Net(lambda m, y, x: m.act(y @ m.weight[...]) @ m.weight[...].T)),
        "the parameter weight is used in two different ways; give each use its own",
    ),
    "changed weights": (
        shaped(Net(lambda m, y, x: y @ (m.weight[...] / 3))),
        "the parameter weight passes through div before it meets the signal, so how it "
        "should begin is open; let the layer use the parameter itself",
    ),
    "sort": (
        shaped(Net(lambda m, y, x: jnp.sort(y))),
        "the network applies the primitive sort, which has no kernel map; build the "
        "network from dense layers, convolutions, zoo.ShapedActivation, pooling, "
        "normalised sums and concatenations (FILE, after 1 nonlinear layers)",
    ),
    "Fourier transform": (
        shaped(Net(lambda m, y, x: jnp.fft.fft(y).real)),
        "the network applies the primitive fft, which has no kernel map; build the "
        "network from dense layers, convolutions, zoo.ShapedActivation, pooling, "
        "normalised sums and concatenations (FILE, after 1 nonlinear layers)",
    ),
    "scan over a signal": (
        shaped(Net(lambda m, y, x: lax.scan(lambda c, row: (c, row), 0.0, y)[1])),
        "the network scans over the elements of a signal; carry the signal instead (FILE,"
        " after 1 nonlinear layers)",
    ),
    "scan of growing shapes": (
        shaped(
            Net(lambda m, y, x: lax.scan(lambda c, _: (jnp.hstack([c, c]), None), y, None, 3)[0])
        ),
        "the network does not run on inputs of shape (4, 8), float32: scan body function "
        "carry input and carry output must have equal types, but they differ; pass the "
        "shapes and the dtype that it takes, batch axis included",
    ),
    "independent of the input": (
        shaped(Net(lambda m, y, x: m.act(m.weight[...]))),
        "the network returns no array that depends on its input; return what its layers compute",
    ),
    "two outputs": (
        shaped(Net(lambda m, y, x: (y, y @ m.weight[...]))),
        "the network returns 2 arrays that depend on its input; trace a function that returns one",
    ),
    "another shape": (
        shaped(Net(lambda m, y, x: y), (4, 9)),
        "the network does not run on inputs of shape (4, 9), float32: dot_general "
        "requires contracting dimensions to have the same shape, got (9,) and (8,); pass "
        "the shapes and the dtype that it takes, batch axis included",
    ),
    "two inputs for one": (
        shaped(Net(decides), (4, WIDTH), (4, WIDTH)),
        "the network does not run on inputs of shape (4, 8), (4, 8), float32: decides() "
        "takes 3 positional arguments but 4 were given; pass the shapes and the dtype "
        "that it takes, batch axis included",
    ),
    "integers before an activation": (
        shaped(Net(lambda m, y, x: m.act(x)), dtype=jnp.int32),
        "the network does not run on inputs of shape (4, 8), int32: tanh needs "
        "floating-point input, got int32; cast it first; pass the shapes and the dtype "
        "that it takes, batch axis included",
    ),
    "TAT of two kinds": (
        shaped(
            Net(
                lambda m, y, x: m.other(y @ m.weight[...]), other=zoo.ShapedActivation("leaky_relu")
            ),
            method=zoo.TAT("tanh"),
            per_kind=True,
        ),
        "the network applies leaky_relu and tanh, which TAT shapes by different targets "
        "(eta and tau); use one of them throughout, or DKS for both",
    ),
    "function": (
        shaped(lambda x: x),
        "shape takes an NNX module or a callable pytree, got function; solve the "
        "activation by method.solve(zoo.kernel_graph(function, shape)) and set the "
        "weights yourself",
    ),
    "Linen": (
        shaped(linen.Dense(4)),
        "shape takes an NNX module or a callable pytree, got Dense; pass "
        "nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(input)",
    ),
    "class": (
        traced(Net),
        "kernel_graph takes a module or a function of the inputs, got the class Net; "
        "build the network first, or wrap it in a function",
    ),
    "list": (
        traced([1, 2]),
        "kernel_graph takes a module or a function of the inputs, got list; build the "
        "network first, or wrap it in a function",
    ),
    "example of nothing": (
        lambda: zoo.shape(Net(decides), DKS),
        "no input was described; pass the shape of each, such as (1, 224, 224, 3)",
    ),
    "example that is no shape": (
        shaped(Net(decides), (-4, WIDTH)),
        "the example shape (-4, 8) holds no whole numbers >= 1; pass one tuple for each "
        "input, such as (1, 224, 224, 3)",
    ),
    "example that is complex": (
        shaped(Net(decides), dtype=jnp.complex64),
        "dtype=complex64 has no kernel maps; use a real type such as float32, and split "
        "complex inputs into two channels",
    ),
}

PLACE = re.compile(r"/\S+?\.py:\d+")


def sentence(make):
    with pytest.raises(ValueError) as caught:
        make()
    return PLACE.sub("FILE", str(caught.value))


@pytest.mark.parametrize("name", TABLE)
def test_sentence(name):
    make, expected = TABLE[name]
    assert sentence(make) == expected
    assert "\n" not in expected and "; " in expected


def test_every_network_has_its_own_sentence():
    sentences = [expected for _, expected in TABLE.values()]
    assert len(TABLE) >= 20 and len(set(sentences)) == len(sentences)
