"""The training loop: classification or segmentation, on one device or many, resumable to the same weights."""

import io
import math
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast, compile_regions
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from wbcore._compat import import_timm
from wbcore.checkpoints import ModelCard, save_model
from wbcore.data.batches import Batches, stream
from wbcore.devices import choose_device
from wbcore.errors import InputError
from wbcore.files import write_bytes
from wbcore.models.backbone import Backbone
from wbcore.models.dovit import DoViT
from wbcore.provenance import provenance
from wbcore.recipes import Recipe

import_timm()
from timm.optim import create_optimizer_v2, param_groups_weight_decay  # noqa: E402 # pyright: ignore[reportPrivateImportUsage]

CHECKPOINT = "last.ckpt"
WEIGHTS = "model.safetensors"


@runtime_checkable
class Objective(Protocol):
    """What a training lowers."""

    def __call__(self, outputs: Any, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch, from what the model made of it, the normalised images and the labels."""
        ...

    def describe(self) -> dict[str, Any]:
        """What of it decides the weights, for checkpoint and card."""
        ...


class Classification:
    """Cross-entropy of the logits of a classifier."""

    def __init__(self, recipe: Recipe) -> None:
        self._smoothing = recipe.label_smoothing

    def __call__(self, outputs: torch.Tensor, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return F.cross_entropy(outputs.float(), labels, label_smoothing=self._smoothing)

    def describe(self) -> dict[str, Any]:
        return {}  # the recipe says it all


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of one step: linear warm-up, then half a cosine, or a power of what is left, to the least."""
    total, warmup = recipe.epochs * steps_per_epoch, round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    left = 0.5 * (1 + math.cos(math.pi * done)) if recipe.schedule == "cosine" else (1 - done) ** recipe.power
    return recipe.least_learning_rate + (recipe.learning_rate - recipe.least_learning_rate) * left


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters with their weight decay, and with ``lr_scale`` where a new head learns faster than its backbone."""
    parts = [(model, 1.0)]
    if isinstance(model, DoViT):
        parts = [(part, 1.0 if part is model.backbone else recipe.head_scale) for part in model.children()]
    if recipe.decay_all:
        groups = [({"params": list(part.parameters()), "weight_decay": recipe.weight_decay}, s) for part, s in parts]
    else:
        groups = [
            (group, scale) for part, scale in parts for group in param_groups_weight_decay(part, recipe.weight_decay)
        ]
    return [group | {"lr_scale": scale} for group, scale in groups if group["params"]]


class Trainer:
    """Trains one model by one recipe, writing everything to one folder.

    The folder holds ``last.ckpt`` while training goes on and ``model.safetensors`` with its card at the end, in
    ``dtype`` if one is given; ``start`` says on the card which weights the model began with.  Every batch depends on
    (seed, epoch, step) alone, so a run that was killed continues to the very weights that an uninterrupted run reaches
    (exactly on the CPU with one thread count).
    Raises: InputError if there is no such device, the checkpoint in the folder belongs to another run, or the weights
    stop being finite; no checkpoint ever holds such weights.
    """

    def __init__(
        self,
        model: Backbone | DoViT,
        batches: Batches,
        recipe: Recipe,
        *,
        objective: Objective | None = None,
        output: Path | str,
        name: str,
        seed: int = 0,
        device: str | None = None,
        save_every_seconds: float = 60.0,
        dtype: torch.dtype | None = None,
        start: dict[str, str] | None = None,
    ) -> None:
        self.recipe, self.batches, self.output = recipe, batches, Path(output)
        self.objective = objective or Classification(recipe)
        self.name, self.seed, self.save_every_seconds, self.dtype = name, seed, save_every_seconds, dtype
        self.start = {} if start is None else {"start": start}
        # Precision is ours to set: an Accelerator's is shared by all of a process.
        self.accelerator = Accelerator(cpu=choose_device(device) == "cpu")
        if recipe.batch_size % self.accelerator.num_processes:
            raise InputError(
                f"batch_size={recipe.batch_size} is not divisible by {self.accelerator.num_processes} processes"
            )
        self.steps_per_epoch = batches.num_examples // recipe.batch_size
        if not self.steps_per_epoch:
            raise InputError(
                f"{batches.name} has {batches.num_examples} examples, fewer than batch_size={recipe.batch_size}: "
                "lower batch_size"
            )
        optimizer = create_optimizer_v2(
            parameter_groups(model, recipe),
            opt="momentum" if recipe.optimizer == "sgd" else recipe.optimizer,  # timm's sgd is Nesterov's
            lr=recipe.learning_rate,
            momentum=0.9,
        )
        self.model = model.train()
        self.network, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.average = None
        if recipe.ema_decay is not None:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))
        self.forward = self.network
        if recipe.compile:
            torch.compiler.reset()  # what other models of this process left counts against a limit
            self.forward = compile_regions(self.network)  # one layer is compiled and serves for all
        self.step, self.seconds = 0, 0.0
        self.metrics: dict[str, float] = {}
        """What was measured after the last epoch."""

    @property
    def total_steps(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def checkpoint(self) -> Path:
        return self.output / CHECKPOINT

    @property
    def weights(self) -> Path:
        return self.output / WEIGHTS

    def run(
        self,
        *,
        max_steps: int | None = None,
        deadline: float = math.inf,
        on_epoch: Callable[[int, Any], dict[str, float]] | None = None,
    ) -> Path | None:
        """Train to the end, from the folder's checkpoint if there is one.

        Stops early, with a checkpoint, after ``max_steps`` steps or once ``time.monotonic()`` reaches ``deadline``.

        ``on_epoch(epochs_done, model)`` may measure the model; what it returns stands on the card.
        Returns the weights' path, or ``None`` if steps are left.
        """
        if self.checkpoint.is_file():
            self._restore()
        stop = self.total_steps if max_steps is None else min(self.total_steps, self.step + max_steps)
        bar = tqdm(
            total=self.total_steps,
            initial=self.step,
            desc=self.name,
            unit="step",
            disable=None if self.accelerator.is_main_process else True,
        )
        started = saved = time.monotonic()
        done_before = self.seconds
        batches = stream(self.batches, self._schedule(stop))
        (late,) = self._agreed(started >= deadline)
        with bar:
            while self.step < stop and not late:
                loss = self._train_step(*next(batches))
                self.step += 1
                bar.update()
                now = time.monotonic()
                self.seconds = done_before + now - started
                late, due = self._agreed(now >= deadline, now - saved > self.save_every_seconds)
                due = due or late or self.step == stop
                epoch_ends = self.step % self.steps_per_epoch == 0
                if due or epoch_ends:
                    self._require_finite(loss)
                if epoch_ends:
                    bar.set_postfix(loss=f"{float(loss):.3f}")
                    if on_epoch is not None and self.accelerator.is_main_process:
                        self.metrics = on_epoch(self.step // self.steps_per_epoch, self._best_model())
                        self.model.train()
                if due:
                    self._save()
                    saved = time.monotonic()
        return None if self.step < self.total_steps else self._finish()

    def _agreed(self, *decisions: bool) -> list[bool]:
        """The main process's decisions in every process: clocks differ, and all must stop after the same step."""
        if self.accelerator.num_processes == 1:
            return list(decisions)
        return broadcast(torch.tensor(decisions, dtype=torch.uint8, device=self.accelerator.device)).bool().tolist()

    def _schedule(self, stop: int) -> Iterator[tuple[int, range]]:
        """Epoch and positions of this process's share of every step that is left."""
        share = self.recipe.batch_size // self.accelerator.num_processes
        for number in range(self.step, stop):
            epoch, step = divmod(number, self.steps_per_epoch)
            first = step * self.recipe.batch_size + self.accelerator.process_index * share
            yield epoch, range(first, first + share)

    def _train_step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        device = self.accelerator.device
        images = self.model.normalise(images.to(device, non_blocking=True))
        labels = labels.to(device, non_blocking=True)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step, self.steps_per_epoch) * group["lr_scale"]
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            loss = self.objective(self.forward(images), images, labels)
        self.accelerator.backward(loss)
        if self.recipe.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss.detach()

    def _require_finite(self, loss: torch.Tensor) -> None:
        """A loss or a gradient that is not finite shows in the weights or the optimiser's state from then on.

        Looking there, and only before anything is kept, costs no synchronisation at each step; and as these tensors are
        the same in all processes, all come to the same answer.
        """
        states: list[dict[str, Any]] = [self.model.state_dict(), *self.optimizer.state.values()]
        tensors = [value for state in states for value in state.values() if torch.is_tensor(value)]
        finite = [tensor.isfinite().all() for tensor in tensors if tensor.device == loss.device]  # not step counters
        if not torch.stack(finite).all():
            raise InputError(
                f"{self.name}: the weights are not finite at step {self.step} (the loss is {float(loss)}); lower "
                "learning_rate or set clip_norm"
                + (f" (the last good state is in {self.checkpoint})" if self.checkpoint.is_file() else "")
            )

    def _best_model(self) -> Backbone | DoViT:
        """The averaged weights where the recipe has an average, else the model itself, in evaluation mode."""
        model = self.model if self.average is None else self.average.module
        return model.eval()  # pyright: ignore[reportReturnType]

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return {
            "name": self.name,
            "seed": self.seed,
            "recipe": asdict(self.recipe),
            "config": asdict(self.model.config),
            "data": self.batches.fingerprint,
            "num_examples": self.batches.num_examples,
            **self.objective.describe(),
        }

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        content = io.BytesIO()
        torch.save(
            {
                "identity": self._identity(),
                "step": self.step,
                "seconds": self.seconds,
                "model": self.model.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "random": torch.get_rng_state(),
                "random_cuda": torch.cuda.get_rng_state() if self.accelerator.device.type == "cuda" else None,
                "metrics": self.metrics,
            },
            content,
        )
        write_bytes(self.checkpoint, content.getvalue())

    def _restore(self) -> None:
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            found = state["identity"]
            found["recipe"] = _completed(Recipe, found["recipe"])
            found["config"] = _completed(type(self.model.config), found["config"])
        except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise InputError(f"{self.checkpoint} is not a whole checkpoint: remove the file to start anew") from error
        wanted = self._identity()
        different = [key for key in wanted if _plain(wanted[key]) != _plain(found.get(key))]
        if different:
            raise InputError(
                f"{self.checkpoint} belongs to another run ({different[0]} differs): choose another output folder, "
                "or remove the file to start anew"
            )
        self.step, self.seconds, self.metrics = state["step"], state["seconds"], state.get("metrics", {})
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self.accelerator.device.type == "cuda" and state.get("random_cuda") is not None:
            torch.cuda.set_rng_state(state["random_cuda"])

    def card(self, metrics: dict[str, float]) -> ModelCard:
        """The card of the model as it is now, with ``metrics`` on it."""
        where = provenance(self.accelerator.device)
        return ModelCard(
            name=self.name,
            config=asdict(self.model.config),
            data={
                "name": self.batches.name,
                "examples_per_epoch": self.batches.num_examples,
                "classes": self.batches.num_classes,
                "sha256": self.batches.fingerprint,
            },
            recipe={**asdict(self.recipe), **self.objective.describe()},
            seed=self.seed,
            commit=where["commit"],
            metrics=metrics,
            training={
                "seconds": round(self.seconds, 1),
                "device": where["device"],
                "software": where["software"],
                **self.start,
            },
        )

    def _finish(self) -> Path:
        if self.accelerator.is_main_process:
            save_model(self._best_model(), self.weights, self.card(self.metrics), dtype=self.dtype)
        self.accelerator.wait_for_everyone()
        return self.weights


def _completed(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Fields of ``kind`` that a checkpoint is too old to know have their defaults, which change nothing."""
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING} | values


def _plain(value: Any) -> Any:
    """Tuples as lists, so that a value equals itself after a round trip through a file."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
