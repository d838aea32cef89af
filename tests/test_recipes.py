"""Recipes: each is valid for its networks, by name, from a file and on the command line."""

import dataclasses

import pytest

from tests.conftest import REPOSITORY
from zoo.cli import _parse, main
from zoo.models import list_models
from zoo.recipes import RECIPES, in1k, load_recipe
from zoo.recipes.digits import learning_rate
from zoo.training import ConfigError, KfacConfig, load_config, validate

DEPTHS, METHODS = (50, 101, 152, 200), ("tat_lrelu", "dks_softplus")
OF_THE_PAPERS = [f"vanilla_resnet{depth}_{method}" for depth in DEPTHS for method in METHODS]
FILES = sorted((REPOSITORY / "configs").glob("*.py"))
OTHERS = ["rescaled_resnet50_dks_softplus", "resnet50", "resnet101"]


def test_every_module_of_recipes_is_listed():
    modules = {path.stem for path in (REPOSITORY / "zoo" / "recipes").glob("*.py")}
    assert modules - {"__init__", "networks", "sweeps"} == set(RECIPES)
    assert {"cifar10", "digits", "diracnet"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("arch", [None, "resnet50", "vanilla_resnet101_dks_softplus"])
def test_a_recipe_trains_the_network_it_is_asked_for(name, arch):
    config = load_recipe(name, arch)
    validate(config, device_count=2)
    assert config.model.arch == arch or arch is None
    if arch == "resnet50" and config.optimizer.name == "sgd":
        assert config.optimizer.clip_norm is None


@pytest.mark.parametrize("arch", OF_THE_PAPERS + OTHERS)
def test_imagenet_is_trained_as_published(arch):
    config = load_recipe("in1k", arch)
    assert arch in list_models()
    assert (config.epochs, config.data.batch_size) == (90, 1024)
    assert config.schedule.warmup_fraction == pytest.approx(5 / 90)
    assert config.optimizer.learning_rate == 0.1
    assert config.regularization.label_smoothing == 0.1
    decays = arch.startswith("resnet")
    assert config.optimizer.weight_decay == (1e-4 if decays else 0.0)


def test_the_flags_of_kfac_are_the_settings_of_the_released_recipe():
    """kfac-jax, examples/lrelunet101_imagenet/pipeline.py."""
    flags = in1k.__doc__.partition("K-FAC ")[2].partition("--workdir DIR")[2]
    flags = flags.partition("Hardware")[0].split()
    arch = ["--model.arch", "vanilla_resnet101_tat_lrelu"]
    _, command = _parse(["train", "--recipe", "in1k", *arch, "--workdir", "w", *flags])
    validate(command.settings, device_count=8)
    optimizer = command.settings.optimizer
    assert (optimizer.name, optimizer.learning_rate) == ("kfac", 3e-4)
    assert (optimizer.momentum, optimizer.weight_decay, optimizer.clip_norm) == (0.9, 0.0, None)
    assert optimizer.kfac == KfacConfig(1e-3, 1e-3, curvature_decay=0.99, inverse_period=50)


@pytest.mark.parametrize(
    ("arch", "rate"),
    [
        ("vanilla_resnet50_tat_lrelu", 0.1),
        ("vanilla_resnet152_tat_lrelu", 0.03),
        ("resnet50", 0.3),
        ("vanilla_resnet50_he_relu", 0.1),
    ],
)
def test_digits_take_the_rate_that_the_trials_chose(arch, rate):
    assert learning_rate(arch) == load_recipe("digits", arch).optimizer.learning_rate == rate


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_to_copy_is_the_recipe_until_it_is_changed(path):
    name = path.stem.removesuffix("_digits")
    for arch in (None, "resnet50"):
        assert load_config(path, arch) == load_recipe(name, arch)


def test_a_file_may_ignore_the_network(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from zoo.recipes import load_recipe\ndef get_config(): return load_recipe('smoke')\n"
    )
    assert load_config(path, "resnet50") == load_recipe("smoke")


@pytest.mark.parametrize("equals", [True, False])
def test_the_network_on_the_command_line_decides_what_depends_on_it(equals):
    options = {"--recipe": "digits", "--model.arch": "resnet50"}
    words = [f"{k}={v}" for k, v in options.items()] if equals else sum(options.items(), ())
    _, command = _parse(["train", *words, "--workdir", "w", "--steps", "3"])
    assert command.settings == dataclasses.replace(load_recipe("digits", "resnet50"), steps=3)


MISTAKES = {
    "unknown recipe": (["--recipe", "digit"], "no recipe 'digit'; nearest: digits; all: cifar10"),
    "neither": ([], "give --recipe NAME"),
    "both": (["--recipe", "digits", "configs/digits.py"], "not both"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(capsys, monkeypatch, case):
    options, match = MISTAKES[case]
    monkeypatch.chdir(REPOSITORY)
    assert main(["train", *options, "--workdir", "w"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert match in line


def test_an_unknown_recipe_is_a_configuration_error():
    with pytest.raises(ConfigError, match="all: cifar10, cifar10_two_cores, .*digits"):
        load_recipe("zzz")
