"""A configuration survives JSON, and all its mistakes come in one message."""

import dataclasses
import json
import pickle

import pytest

from tests.conftest import REPOSITORY
from tests.training.tiny import BASE, optimizer, tiny
from zoo.cli import main
from zoo.data import Augmentation
from zoo.models import UnknownModelError
from zoo.training import (
    ConfigError,
    DataConfig,
    EvalConfig,
    LogConfig,
    MeshConfig,
    ModelConfig,
    RegularizationConfig,
    ResumeError,
    ScheduleConfig,
    TrainConfig,
    load_config,
    validate,
)
from zoo.training.folder import check_config

MISTAKES = [
    (tiny(steps=None), r"steps=None, epochs=None: give exactly one"),
    (tiny(epochs=2.0), r"steps=12, epochs=2.0: give exactly one"),
    (tiny(steps=0), r"steps=0: give a whole number >= 1"),
    (tiny(steps=None, epochs=-1.0), r"epochs=-1.0: give a positive"),
    (tiny(seed=-1), r"seed=-1"),
    (tiny(precision="exact"), r"precision='exact' is unknown.*allowed: default, high, highest"),
    (tiny(trainable="("), r"trainable='\(' is not a regular expression"),
    (tiny(ema_decay=1.0), r"ema_decay=1.0: give a number from 0 to 1, less than 1"),
    (
        tiny(model=ModelConfig(stem="cifra")),
        r"model.stem: 'cifra' given; allowed: 'imagenet'",
    ),
    (tiny(model=ModelConfig(width=-1.0)), r"model.width=-1.0; give a positive"),
    (tiny(data=DataConfig("digit")), r"data.name: unknown data set 'digit'; nearest: digits"),
    (tiny(data=DataConfig(batch_size=20)), r"20 does not divide among 8 devices .*: 16"),
    (tiny(data=DataConfig(workers=-1)), r"data.workers=-1"),
    (tiny(data=DataConfig(split="training")), r"data.split='training' is unknown; nearest: train"),
    (tiny(optimizer=optimizer(name="adam")), r"optimizer.name='adam' is unknown; nearest: adamw"),
    (tiny(optimizer=optimizer(learning_rate=-0.1)), r"learning_rate=-0.1: give a positive"),
    (tiny(optimizer=optimizer(weight_decay=-1.0)), r"weight_decay=-1.0"),
    (tiny(optimizer=optimizer(clip_norm=0.0)), r"clip_norm=0.0"),
    (tiny(optimizer=optimizer(decay_pattern="[")), r"decay_pattern='\[' is not a regular"),
    (tiny(optimizer=optimizer(accumulate_steps=3)), r"16 does .*accumulate_steps=3; .*: 24"),
    (tiny(schedule=ScheduleConfig(warmup_steps=50)), r"warmup_steps=50 is longer than .* 12 steps"),
    (tiny(schedule=ScheduleConfig(warmup_steps=1, warmup_fraction=0.1)), r"give only one of them"),
    (tiny(regularization=RegularizationConfig(mixup=0.7, cutmix=0.7)), r"sum must not exceed 1"),
    (tiny(regularization=RegularizationConfig(label_smoothing=2.0)), r"label_smoothing=2.0"),
    (tiny(log=LogConfig(every_steps=0)), r"log.every_steps=0: give a whole number >= 1"),
    (tiny(eval=EvalConfig(batch_size=12)), r"eval.batch_size=12 does not divide among 8 devices"),
    (tiny(mesh=MeshConfig(devices=9)), r"mesh.devices=9: only 8 devices are there"),
    (tiny(mesh=MeshConfig(rules=("kernel",))), r"mesh.rules: 'kernel'; give PATTERN=AXES"),
    (tiny(mesh=MeshConfig(rules=("k=data,data",))), r"splits two dimensions"),
]


@pytest.mark.fault("D14")
@pytest.mark.parametrize(("config", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_each_mistake_is_named_with_what_to_do(config, message):
    with pytest.raises(ConfigError, match=message):
        validate(config, device_count=8)


def test_an_unknown_arch_has_no_options():
    with pytest.raises(UnknownModelError, match="nearest: vanilla_resnet50_tat_lrelu"):
        ModelConfig("vanila_resnet50_tat_lrelu")
    with pytest.raises(ConfigError, match="model: unknown model 'vanila'"):
        TrainConfig.from_json({"model": {"arch": "vanila"}})
    with pytest.raises(TypeError, match="with_arch"):
        dataclasses.replace(ModelConfig(), arch="resnet50")


def test_another_arch_keeps_what_was_set_and_takes_its_own_defaults():
    narrow = ModelConfig("vanilla_resnet50_tat_lrelu", 7, stem="cifar", width=0.5)
    other = narrow.with_arch("resnet50")
    assert other == ModelConfig("resnet50", 7, stem="cifar", width=0.5)
    assert (other.options["norm"], narrow.options["norm"]) == ("batch", "none")
    assert pickle.loads(pickle.dumps(other)) == other and hash(other) != hash(narrow)


@pytest.mark.fault("D14")
def test_all_mistakes_come_in_one_message():
    config = tiny(
        steps=5,
        model=ModelConfig(width=-1.0),
        data=DataConfig("imagnet", batch_size=30),
        optimizer=optimizer(learning_rate=-1.0),
        schedule=ScheduleConfig("cosin", warmup_steps=9),
    )
    with pytest.raises(ConfigError, match="6 mistakes") as caught:
        validate(config, device_count=8)
    words = ("width=-1.0", "imagnet", "batch_size=30", "learning_rate", "cosin", "warmup_steps=9")
    assert all(word in str(caught.value) for word in words)


def test_valid_configurations_pass():
    validate(BASE, device_count=8)
    validate(TrainConfig(epochs=1.5, data=DataConfig("folder:/photos")), device_count=1)
    validate(load_config(REPOSITORY / "configs" / "smoke_digits.py"), device_count=1)


def test_json_round_trip_keeps_every_field():
    config = tiny(
        augmentation=Augmentation(crop_padding=1, random_resized_crop=(0.5, 1.0)),
        mesh=MeshConfig(rules=("head.kernel=-,data",)),
        data=DataConfig("folder:x", classes=("cat", "dog"), limit=3),
        ema_decay=0.99,
    )
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_json_of_wrong_names_and_types_is_refused_at_once():
    values = BASE.to_json()
    values["optimizer"]["learning_rat"] = 0.1
    values["steps"] = "many"
    values["preprocessing"]["channels"] = 7
    with pytest.raises(ConfigError, match="nearest: learning_rate") as caught:
        TrainConfig.from_json(values)
    assert "steps: 'many' given, int expected" in str(caught.value)


def test_a_wrong_type_is_found_whoever_wrote_it():
    with pytest.raises(ConfigError, match="steps: 2.5 given, int expected"):
        validate(tiny(steps=2.5))


def test_steps_of_epochs_are_rounded_up():
    config = dataclasses.replace(BASE, steps=None, epochs=2.0)
    assert config.total_steps(100) == 13  # ceil(2 * 100 / 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no configuration file"),
        ("x = 1", "defines no get_config"),
        ("def get_config(): return 3", "returned int, not TrainConfig"),
    ],
)
def test_configuration_files_that_are_none_are_refused(tmp_path, text, message):
    path = tmp_path / "config.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_field_younger_than_the_run_counts_with_its_default(tmp_path):
    record = {"config": TrainConfig().to_json()}
    del record["config"]["ema_decay"]
    check_config(tmp_path, record, TrainConfig())
    with pytest.raises(ResumeError, match="ema_decay: None -> 0.9"):
        check_config(tmp_path, record, TrainConfig(ema_decay=0.9))


@pytest.mark.parametrize("name", ["folder:photos", "csv:photos.csv", "cifar10"])
def test_other_data_than_digits_is_not_made_eight_grey_pixels_of(name, capsys, tmp_path):
    command = ["train", "configs/smoke_digits.py", "--workdir", str(tmp_path / "run")]
    assert main([*command, "--data.name", name]) == 2
    said = capsys.readouterr().err
    assert "8 x 8 grey pixels of every image; set preprocessing.image-size" in said
    assert not (tmp_path / "run").exists()
    advised = said.split("such as ")[1].split()
    assert main([*command, "--data.name", name, *advised, "--data.data-dir", str(tmp_path)]) == 2
    assert "grey pixels" not in capsys.readouterr().err
