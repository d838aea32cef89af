"""The ImageNet recipes: each is valid, names its own network and the published settings."""

import pytest

from tests.conftest import REPOSITORY
from zoo.cli import _parse
from zoo.models import list_models
from zoo.training import KfacConfig, load_config, validate

RECIPES = sorted((REPOSITORY / "configs").glob("*_in1k.py"))
DEPTHS, METHODS = (50, 101, 152, 200), ("tat_lrelu", "dks_softplus")
WANTED = {f"vanilla_resnet{depth}_{method}" for depth in DEPTHS for method in METHODS} | {
    "rescaled_resnet50_dks_softplus",
    "resnet50",
    "resnet101",
}


def test_there_is_a_recipe_for_every_network_of_the_papers():
    assert {path.stem.removesuffix("_in1k") for path in RECIPES} == WANTED


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_the_network_of_its_name_as_published(path):
    config = load_config(path)
    validate(config, device_count=8)
    assert config.model.arch == path.stem.removesuffix("_in1k")
    assert config.model.arch in list_models()
    assert (config.epochs, config.data.batch_size) == (90, 1024)
    assert config.schedule.warmup_fraction == pytest.approx(5 / 90)
    assert config.optimizer.learning_rate == 0.1
    assert config.regularization.label_smoothing == 0.1
    assert "not yet trained by us" in path.read_text()


def test_the_flags_of_kfac_are_the_settings_of_the_released_recipe():
    """kfac-jax, examples/lrelunet101_imagenet/pipeline.py."""
    lines = (REPOSITORY / "configs" / "in1k.py").read_text().split("--workdir DIR")[1]
    flags = lines.split("Measured")[0].split()
    recipe = str(REPOSITORY / "configs" / "vanilla_resnet101_tat_lrelu_in1k.py")
    _, command = _parse(["train", recipe, "--workdir", "w", *flags])
    validate(command.settings, device_count=8)
    optimizer = command.settings.optimizer
    assert (optimizer.name, optimizer.learning_rate) == ("kfac", 3e-4)
    assert (optimizer.momentum, optimizer.weight_decay, optimizer.clip_norm) == (0.9, 0.0, None)
    assert optimizer.kfac == KfacConfig(1e-3, 1e-3, curvature_decay=0.99, inverse_period=50)
