"""Training: the schedule by hand, and a run that is stopped anywhere ends with the weights of one that was not."""

import errno
import hashlib
import itertools
import math
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.data import miniatures
from wbcore.checkpoints import load_model
from wbcore.devices import choose_device
from wbcore.errors import InputError
from wbcore.files import ROOT
from wbcore.measuring.recognition import HeldOut, top1_share
from wbcore.models.dovit import DoViT, SegmenterConfig
from wbcore.recipes import Recipe
from wbcore.train import Trainer, learning_rate, parameter_groups

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=1e-2, precision="float32", label_smoothing=0.1)
VARIANTS = {
    "adamw": (RECIPE, tiny.CONFIG),
    "lion": (replace(RECIPE, optimizer="lion", learning_rate=1e-3, decay_all=True, clip_norm=None), tiny.CONFIG),
    "ema": (replace(RECIPE, ema_decay=0.9), tiny.CONFIG),
    "drop_path": (RECIPE, replace(tiny.CONFIG, drop_path=0.3)),
    "bfloat16": (replace(RECIPE, precision="bfloat16"), tiny.CONFIG),
}


def trainer(output, settings=RECIPE, config=tiny.CONFIG, *, batches=None, name="tiny", save_every=math.inf):
    return Trainer(
        tiny.model(config),
        batches or tiny.ColourBatches(),
        settings,
        output=output,
        name=name,
        device="cpu",
        save_every_seconds=save_every,
    )


def test_learning_rate_by_hand():
    settings = replace(RECIPE, epochs=3, warmup_epochs=0.5, learning_rate=0.8)
    rates = [learning_rate(settings, step, 4) for step in range(12)]
    assert rates[:3] == pytest.approx([0.4, 0.8, 0.8])  # two steps of warm-up, then the cosine from its top
    assert rates[7] == pytest.approx(0.4)  # half of the ten steps that are left
    assert rates[11] == pytest.approx(0.4 * (1 + math.cos(0.9 * math.pi)))
    assert all(late < early for early, late in itertools.pairwise(rates[2:]))


def test_learning_rate_without_warm_up():
    assert learning_rate(replace(RECIPE, warmup_epochs=0), 0, 4) == RECIPE.learning_rate


def test_poly_by_hand():
    settings = replace(RECIPE, warmup_epochs=0, learning_rate=0.8, least_learning_rate=0.1, schedule="poly", power=0.5)
    rates = [learning_rate(settings, step, 3) for step in range(9)]
    assert rates == pytest.approx([0.1 + 0.7 * (1 - step / 9) ** 0.5 for step in range(9)])


def test_new_heads_learn_faster_and_every_parameter_learns():
    backbone = replace(tiny.CONFIG, attention="mhsa", feedforward="mlp")
    network = DoViT(SegmenterConfig(backbone, 5, decisions=(1,)))
    for decay_all in (False, True):
        groups = parameter_groups(network, replace(RECIPE, head_scale=7.0, decay_all=decay_all))
        scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
        assert sum(len(group["params"]) for group in groups) == len(scales) == len(list(network.parameters()))
        assert {scales[id(p)] for p in network.backbone.parameters()} == {1.0}
        assert {scales[id(p)] for part in (network.probes, network.decoder) for p in part.parameters()} == {7.0}
        decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
        assert (id(network.decoder.batch_norm.weight) in decayed) == decay_all
        assert id(network.decoder.hidden.weight) in decayed


def test_training_learns(tmp_path):
    batches = tiny.ColourBatches(num_examples=64)
    # Without the LayerNorm of each patch, which would hide how bright it is.
    config = replace(tiny.CONFIG, patch_embedding="plain")
    run = trainer(tmp_path, replace(RECIPE, epochs=8, warmup_epochs=1), config, batches=batches)

    others = HeldOut("colours", "colours", batches.fingerprint, 24, 50, batches.num_classes, partial(batches.batch, 99))
    before = top1_share(run.model.eval(), others)
    weights = run.run()
    model, _ = load_model(weights)
    assert top1_share(model.eval(), others) > max(0.6, before + 0.2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, variant):
    settings, config = VARIANTS[variant]
    whole = trainer(tmp_path / "whole", settings, config).run()
    for steps in (2, 3):  # in the middle of an epoch, and across the end of one
        assert trainer(tmp_path / "parts", settings, config).run(max_steps=steps) is None
    parts = trainer(tmp_path / "parts", settings, config).run()
    assert parts.read_bytes() == whole.read_bytes()


def test_average_of_weights(tmp_path):
    last = load_file(trainer(tmp_path / "last", RECIPE).run())
    mean = load_file(trainer(tmp_path / "mean", replace(RECIPE, ema_decay=0.9)).run())
    assert any(not torch.equal(last[name], mean[name]) for name in last)
    state = torch.load(tmp_path / "mean" / "last.ckpt", weights_only=True)
    assert all(torch.equal(state["model"][name], last[name]) for name in last)  # the average does not touch training


def test_a_deadline_stops_with_a_checkpoint(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("wbcore.train.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    run = trainer(tmp_path / "late")
    assert run.run(deadline=0) is None
    assert run.step == 0
    run = trainer(tmp_path / "parts")
    assert run.run(deadline=next(ticks) + 8) is None
    assert 0 < run.step < run.total_steps
    assert torch.load(run.checkpoint, weights_only=True)["step"] == run.step
    whole = trainer(tmp_path / "whole").run()
    assert trainer(tmp_path / "parts").run().read_bytes() == whole.read_bytes()


def test_on_epoch_and_card(tmp_path):
    seen = []

    def measure(epoch, model):
        assert not model.training
        seen.append(epoch)
        return {"top1": epoch / 10}

    weights = trainer(tmp_path).run(on_epoch=measure)
    assert seen == [1, 2, 3]
    _, card = load_model(weights)
    assert card.name == "tiny"
    assert card.seed == 0
    assert card.metrics == {"top1": 0.3}
    assert card.data == {"name": "colours", "examples_per_epoch": 24, "classes": 5, "sha256": "0" * 64}
    assert card.recipe["learning_rate"] == RECIPE.learning_rate
    assert card.config["dim"] == tiny.CONFIG.dim
    assert set(card.training) == {"seconds", "device", "software"}
    assert card.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_metrics_outlive_a_kill_after_the_last_step(tmp_path, monkeypatch):
    def killed(_run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path).run(on_epoch=lambda epoch, _model: {"top1": epoch / 10})
    assert not (tmp_path / "model.safetensors").exists()
    weights = trainer(tmp_path).run(on_epoch=lambda _epoch, _model: pytest.fail("there is nothing left to measure"))
    assert load_model(weights)[1].metrics == {"top1": 0.3}


def test_weights_in_half_precision(tmp_path):
    options = {"output": tmp_path, "name": "tiny", "device": "cpu"}
    run = Trainer(tiny.model(), tiny.ColourBatches(), RECIPE, dtype=torch.float16, **options)
    half = load_file(run.run())
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert all(torch.equal(tensor, run.model.state_dict()[name].half()) for name, tensor in half.items())


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's compiler uses it
def test_compiled_training_is_the_same_training(tmp_path):
    whole = trainer(tmp_path / "whole").run()
    with torch.compiler.set_stance("force_eager"):  # everything but the compiler, which takes a minute
        compiled = trainer(tmp_path / "compiled", replace(RECIPE, compile=True)).run()
    assert compiled.read_bytes() == whole.read_bytes()


def test_a_checkpoint_that_does_not_know_the_newest_fields_goes_on(tmp_path):
    run = trainer(tmp_path / "parts")
    run.run(max_steps=4)
    state = torch.load(run.checkpoint, weights_only=True)
    del state["identity"]["recipe"]["rand_augment"], state["identity"]["config"]["std"]
    del state["metrics"], state["random_cuda"]
    torch.save(state, run.checkpoint)
    whole = trainer(tmp_path / "whole").run()
    assert trainer(tmp_path / "parts").run().read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settings": replace(RECIPE, learning_rate=0.5)}, "recipe"),
        ({"config": replace(tiny.CONFIG, feedforward="mlp")}, "config"),
        ({"batches": tiny.ColourBatches(seed=1)}, "data"),
        ({"batches": tiny.ColourBatches(num_examples=32)}, "num_examples"),
        ({"name": "other"}, "name"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused_and_kept(tmp_path, change, named):
    run = trainer(tmp_path)
    run.run(max_steps=1)
    before = run.checkpoint.read_bytes()
    with pytest.raises(InputError, match=f"another run \\({named} differs\\)"):
        trainer(tmp_path, **change).run()
    assert run.checkpoint.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda _: b"", lambda _: b"\x80\x04K\x01."])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_checkpoint_is_named_and_kept(tmp_path, damage):
    run = trainer(tmp_path)
    run.run(max_steps=1)
    damaged = damage(run.checkpoint.read_bytes())
    run.checkpoint.write_bytes(damaged)
    with pytest.raises(InputError, match="not a whole checkpoint"):
        trainer(tmp_path).run()
    assert run.checkpoint.read_bytes() == damaged


@pytest.mark.parametrize("variant", ["adamw", "lion", "ema"])
@pytest.mark.parametrize("name", ["head.weight", "blocks.0.norm.bias"])
def test_a_gradient_that_is_not_finite_keeps_the_last_checkpoint(tmp_path, variant, name):
    settings, config = VARIANTS[variant]
    trainer(tmp_path / "broken", settings, config).run(max_steps=2)
    broken = trainer(tmp_path / "broken", settings, config, save_every=-1)
    before = broken.checkpoint.read_bytes()
    hook = dict(broken.model.named_parameters())[name].register_hook(lambda gradient: gradient + math.inf)
    with pytest.raises(
        InputError, match=r"tiny: the weights are not finite at step 3 .*lower learning_rate.*last\.ckpt"
    ):
        broken.run()
    hook.remove()
    assert broken.checkpoint.read_bytes() == before
    whole = trainer(tmp_path / "whole", settings, config).run()
    assert trainer(tmp_path / "broken", settings, config).run().read_bytes() == whole.read_bytes()


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run = trainer(tmp_path)
    run.run(max_steps=1)
    before = run.checkpoint.read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"last\.ckpt was not written: the disk is full"):
            trainer(tmp_path).run(max_steps=1)
    assert run.checkpoint.read_bytes() == before
    assert list(tmp_path.iterdir()) == [run.checkpoint]
    whole = trainer(tmp_path / "whole").run()
    assert trainer(tmp_path).run().read_bytes() == whole.read_bytes()


def test_too_few_examples(tmp_path):
    with pytest.raises(InputError, match="7 examples, fewer than batch_size=8"):
        trainer(tmp_path, batches=tiny.ColourBatches(num_examples=7))


def test_device(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name) for name in (None, "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    with pytest.raises(InputError, match="device='gpu' is not to be had: choose cpu or cuda"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == "cpu"
    with pytest.raises(InputError, match=r"device='cuda' is not to be had: choose cpu$"):
        Trainer(tiny.model(), tiny.ColourBatches(), RECIPE, output=tmp_path, name="tiny", device="cuda")


COMMAND = """
import sys, torch
torch.set_num_threads(1)
from wbcore import cli
from wbcore.models import BackboneConfig, zoo
from wbcore.train import Trainer
zoo.MODELS["tiny"] = BackboneConfig(image_size=16, patch_size=8, dim=12, depth=1, heads=3)
Trainer.__init__.__kwdefaults__["save_every_seconds"] = 0.0
sys.exit(cli.main(sys.argv[1:]))
"""


def test_killed_without_warning_and_started_again(tmp_path):
    miniatures.image_folder(tmp_path)
    settings = ["epochs=12", "batch_size=2", "precision=float32", "learning_rate=1e-3"]
    command = [sys.executable, "-c", COMMAND, "train", "tiny", "--data", "imagenet", "--data-root", str(tmp_path)]
    command += ["--device", "cpu", *(part for one in settings for part in ("--set", one)), "--output"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    checkpoint = tmp_path / "killed" / "last.ckpt"
    with subprocess.Popen([*command, str(checkpoint.parent)], **quiet) as process:
        while not checkpoint.is_file() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert 0 < step < 36
    digests = set()
    for output in (checkpoint.parent, tmp_path / "whole"):
        subprocess.run([*command, str(output)], check=True, **quiet)
        digests.add(hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1


WORKER = """
import itertools, os, sys, torch
from types import SimpleNamespace
torch.set_num_threads(1)
from tests import test_train
from wbcore import train
ticks = itertools.count()
train.time = SimpleNamespace(monotonic=lambda: next(ticks))
run = test_train.trainer(sys.argv[1])
run.run(deadline=float(sys.argv[2 + int(os.environ["RANK"])]))
print(run.step)
"""


def two_processes(output, *deadlines):
    """Train with two processes, each with its own deadline in readings of its clock; the step that each stops after."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    workers = []
    for rank in ("0", "1"):
        environment = {**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", WORKER, str(output), *deadlines]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        workers.append(subprocess.Popen(command, env=environment, cwd=ROOT, **pipes))
    steps = []
    for worker in workers:
        printed, errors = worker.communicate()
        assert worker.returncode == 0, errors
        steps.append(int(printed))
    return steps


def test_two_processes_train_as_one(tmp_path):
    alone = load_file(trainer(tmp_path / "alone").run())
    first, other = two_processes(tmp_path / "both", "5", "inf")
    assert 0 < first == other < 9  # the main process's clock decides for both
    assert two_processes(tmp_path / "both", "inf", "0") == [9, 9]
    both = load_file(tmp_path / "both" / "model.safetensors")
    # The mean of two halves is summed in another order than the whole, and Adam divides by small numbers.
    for name, tensor in alone.items():
        torch.testing.assert_close(both[name], tensor, atol=1e-4, rtol=1e-3)
