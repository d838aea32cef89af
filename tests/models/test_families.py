"""Every family is trained, stored, loaded, planned and published, by its shallowest member."""

import numpy as np
import pytest

from tests.cases import SHALLOWEST, small
from zoo.models import family_of, fixed_of
from zoo.planning.plan import plan
from zoo.pretrained import load_pretrained, write_pretrained
from zoo.recipes import load_recipe
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    fit,
    validate,
)

OF_EACH_FAMILY = list({family_of(id): id for id in reversed(SHALLOWEST)}.values())
RECIPES = {
    "looks_linear": "looks_linear18",
    "isonet": "r_isonet18",
    "delta_tanh": "delta_tanh16",
    "van": "van18",
    "fixup": "fixup_resnet18",
    "normalizer_free": "skipinit_resnet18",
    "identity_matters": "identity_matters55",
}


def _config(id):
    options = small(id)
    return TrainConfig(
        steps=3,
        model=ModelConfig(id, options.pop("num_classes"), **options),
        data=DataConfig("digits", batch_size=16),
        optimizer=OptimizerConfig("sgd", learning_rate=0.01, weight_decay=1e-4),
        eval=EvalConfig(limit=32, batch_size=32),
        checkpoint=CheckpointConfig(every_steps=3),
    )


@pytest.mark.slow
@pytest.mark.parametrize("id", OF_EACH_FAMILY)
def test_it_is_trained_stored_loaded_published_and_planned(id, tmp_path):
    trained = fit(_config(id), tmp_path / "run", progress=False)
    assert trained.step == 3 and np.isfinite(trained.metrics["loss"])
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    logits = trained.model.logits(images)
    again = load_pretrained(trained.run_dir)
    np.testing.assert_array_equal(again.logits(images), logits)
    folder = tmp_path / f"{id}.digits"
    write_pretrained(folder, trained.model, metrics={}, recipe={}, data_terms="digits")
    published = load_pretrained(f"dir:{folder}")
    np.testing.assert_array_equal(published.logits(images), logits)
    assert fixed_of(published.network) == fixed_of(trained.model.network)
    assert plan(_config(id), "cpu:1").memory.parameters > 0


@pytest.mark.parametrize("name", RECIPES)
def test_each_family_has_a_recipe_that_trains_all_its_members(name):
    own = load_recipe(name)
    family = family_of(own.model.arch)
    assert family is family_of(RECIPES[name])
    for id in (own.model.arch, RECIPES[name]):
        config = load_recipe(name, id)
        validate(config)
        assert config.model.arch == id
