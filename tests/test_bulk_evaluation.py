"""Many models at once: a row each, whatever becomes of the others; batches that fit in memory."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights import CLASSES, ID, random_source, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.cli import main
from zoo.data import Preprocessing
from zoo.data.records import ArraySource
from zoo.evaluation import OutOfMemoryError, bulk, evaluate, evaluate_all, evaluate_within_memory
from zoo.evaluation.result import failed_row
from zoo.pretrained import write_pretrained
from zoo.pretrained.index import write_index

OTHER = ID.replace(".", ".other_")


@pytest.fixture
def two_weights(checkpoints):
    """The published weight, and another of the same classes, whose file is damaged."""
    write_pretrained(
        checkpoints / OTHER, tiny_model(seed=1), metrics={}, recipe={"steps": 1}, data_terms="noise"
    )
    write_index(checkpoints)
    damaged = next(p for p in sorted((checkpoints / OTHER).rglob("*")) if p.stat().st_size > 10_000)
    intact = damaged.read_bytes()
    damaged.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    return damaged, intact


@pytest.fixture
def photos(tmp_path):
    """A folder with seven classes of two grey pictures each."""
    from PIL import Image

    generator = np.random.default_rng(3)
    for name in CLASSES:
        (tmp_path / "photos" / "val" / name).mkdir(parents=True)
        for i in range(2):
            pixels = generator.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / "val" / name / f"{i}.png")
    return tmp_path / "photos"


def test_a_model_that_fails_says_why_and_ends_no_other(two_weights, photos, tmp_path, capsys):
    damaged, intact = two_weights
    file = tmp_path / "results.csv"
    command = ["eval", "--models", "vanilla*", "--data", f"folder:{photos}", "--split", "val",
               "--csv", str(file), "--json"]  # fmt: skip

    def run():
        code = main(command)
        captured = capsys.readouterr()
        stored = list(csv.DictReader(file.read_text().splitlines()))
        return code, json.loads(captured.out), captured.err, {r["model"]: r for r in stored}

    code, rows, shown, stored = run()
    assert code == 1 and {row["model"] for row in rows} == {ID, OTHER} == set(stored)
    by_model = {row["model"]: row for row in rows}
    expected = evaluate(tiny_model(), f"folder:{photos}", split="val")
    assert by_model[ID] == {"model": ID, **json.loads(json.dumps(expected.to_json()))}
    assert float(stored[ID]["top1"]) == expected.top1 and not stored[ID]["error"]
    assert damaged.name in by_model[OTHER]["error"] == stored[OTHER]["error"]
    assert not stored[OTHER]["top1"] and "2 of 2: " in shown

    damaged.write_bytes(intact)
    code, rows, _, stored = run()
    by_model = {row["model"]: row for row in rows}
    assert code == 0 and by_model[ID] == {"model": ID, "skipped": f"its row is in {file}"}
    assert by_model[OTHER]["n"] == 14 and len(stored) == 2 and not stored[OTHER]["error"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give one model, or --models"),
        ([ID, "--models", "*"], "give one model, or --models"),
        (["--models", "nothing*"], "no published weight matches 'nothing*'"),
        (["--models", "*", "--logits", "x.npz"], "--logits is for one model"),
    ],
)
def test_mistakes_are_named(arguments, sentence, checkpoints, photos, capsys):
    where = ["--data", f"folder:{photos}", "--split", "val"]
    assert main(["eval", *arguments, *where]) == 2
    assert sentence in capsys.readouterr().err


def exhausting(largest):
    """`evaluate` on devices that hold `largest` examples; the error is XLA's own."""
    tried = []

    def run(model, source, *, batch_size, **options):
        tried.append(batch_size)
        if batch_size > largest:
            jax.block_until_ready(jax.jit(lambda: jnp.ones((1 << 46,)) + 1)())
        return evaluate(model, source, batch_size=batch_size, **options)

    return run, tried


def test_batches_are_halved_until_they_fit(monkeypatch):
    model, source = tiny_model(), random_source(37)
    run, tried = exhausting(5)
    monkeypatch.setattr(bulk, "evaluate", run)
    result = evaluate_within_memory(model, source, batch_size=256)
    assert tried == [256, 18, 9, 4] and result.batch_size == 4
    whole = evaluate(model, source)
    assert (result.correct1, result.correct5, result.n) == (whole.correct1, whole.correct5, 37)


def test_where_not_even_one_example_fits_the_row_says_so(monkeypatch):
    run, tried = exhausting(0)
    monkeypatch.setattr(bulk, "evaluate", run)
    with pytest.raises(OutOfMemoryError, match="one example a device .*RESOURCE_EXHAUSTED"):
        evaluate_within_memory(tiny_model(), random_source(9), batch_size=2)
    assert tried == [2, 1]
    rows = list(evaluate_all([ID], random_source(9), batch_size=1))
    assert "one example a device" in rows[0]["error"]


def test_other_errors_of_xla_are_not_memory(monkeypatch):
    def run(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    monkeypatch.setattr(bulk, "evaluate", run)
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        evaluate_within_memory(tiny_model(), random_source(9), batch_size=8)


def test_failures_have_the_columns_of_results():
    source = ArraySource("noise", "val", CLASSES, np.zeros((7, 8, 8, 1), np.uint8), np.arange(7))
    row = evaluate(tiny_model(), source).to_row("m")
    assert list(row) == list(failed_row("m", "noise", "val", "highest", "why"))
    assert set(vars(Preprocessing((8, 8)))) < set(row)
