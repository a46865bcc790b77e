"""The loop over steps.

A step draws one global batch, which is defined without regard to the number of ranks: every rank
takes an equal share of its contexts, and losses and gradients are averaged over the ranks. Nothing
in a step depends on the clock or on state outside of a checkpoint, so a run that continues has the
losses of one that was never stopped.
"""

import math
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

import rustler
from plurel.errors import InputError
from plurel.rng import stream
from rt import checkpoint
from rt.average import WeightAverage
from rt.config import to_dict
from rt.corpus import Corpus, Database, build_sampler, open_stream, text_width
from rt.data import Batch
from rt.database_stream import DatabaseStream
from rt.early_stopping import EarlyStopping
from rt.embedding_file import check_fingerprint, one_fingerprint
from rt.heldout import HeldoutSet
from rt.loader import BatchStream, Loader, Share, dead_workers_named
from rt.logs import RunLog, Window
from rt.losses import Outputs, target_losses
from rt.model import RelationalTransformer, target_loss
from rt.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from rt.precision import autocast, choose
from rt.predictions import ContextSettings
from rt.ranks import Ranks
from rt.real_scores import SCORE, RealTasks, flat, mean_scores, with_mean
from rt.runs import Run
from rt.sharding import load_optimizer, number, shard, synchronise_gradients, whole
from rt.train_config import TrainConfig

WAIT_SECONDS = 5.0
"""Of waiting for databases, beyond which it is said."""
MOST_NAMED = 3
"""Contexts that an error names."""


def build_model(config: TrainConfig, d_text: int) -> RelationalTransformer:
    """A new model; its parameters are a function of the seed and the sizes."""
    seed = int(stream(config.seed, "model").integers(2**63))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return RelationalTransformer(config.model.config(d_text), config.model.attention)


def check_losses(losses: list[float], step: int, own: int = 0, contexts: str = "") -> None:
    """InputError, naming the rank and the step, if the loss of a rank is not finite. own: this
    rank, of which it tells first; contexts: its own whose loss is not."""
    wrong = [rank for rank, loss in enumerate(losses) if not math.isfinite(loss)]
    if wrong:
        rank = own if own in wrong else wrong[0]
        batch = f" ({contexts})" if rank == own else ", whose own line names the contexts"
        raise InputError(
            f"the loss is {losses[rank]} on rank {rank} at step {step}{batch}: continue from an "
            "earlier checkpoint with a lower optim.lr, or look at these rows"
        )


def unlike_numbers(outputs: Outputs, batch: Batch, databases: Sequence[Database]) -> str:
    """The targets of a batch whose loss is not finite, as "<database>/<task> row <row in the
    store>"; tasks are numbered as `rt.corpus.build_sampler` numbers them."""
    names = [
        f"{database.path.name}/{task.name}" for database in databases for task in database.tasks
    ]
    wrong = ~target_losses(outputs, batch)[0].isfinite().all(1)
    rows = zip(batch.context_task[wrong].tolist(), batch.target_row[wrong].tolist(), strict=True)
    found = [f"{names[task]} row {row}" for task, row in rows]
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


class Trainer:
    """The state of a run and its steps. `state`: of the checkpoint to continue from, or None.
    stream: what makes the databases of later steps, None if the corpus is that of all steps."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        ranks: Ranks,
        run: Run,
        state: dict[str, Any] | None,
        stream: DatabaseStream | None = None,
    ) -> None:
        sharded = config.trainer.sharding == "full" and ranks.world_size > 1
        ranks = replace(ranks, lockstep=sharded)
        self.config, self.corpus, self.ranks, self.run = config, corpus, ranks, run
        self.stream = stream
        self._wrong = ""
        data = config.data
        stores = [database.path for database in (*corpus.train, *corpus.heldout)]
        self.fingerprint = one_fingerprint(stores, data.embedder)
        counts = config.model.child_counts
        self.heldout = HeldoutSet(corpus.heldout, data, data.heldout_seed, counts)
        self.sampler = self._sampler()
        self.real = self._real_tasks()
        self.step = self.tokens = self.slots = self.best_step = 0
        self._saved_step = -1
        self.best = math.inf
        self.stopping = EarlyStopping(config.trainer.patience, config.trainer.min_delta)
        self.window = Window()
        self.model, self.average = self._models(stores[0], state)
        self.optimizer = build_optimizer(self.model, config.optim)
        if state is not None:
            self._restore(state)
        self.wrapped = ranks.wrap(self.model)
        self.wrapped.train()

    def _sampler(self) -> rustler.Sampler:
        """Of the databases that are trained on."""
        config = self.config
        return build_sampler(
            self.corpus.train,
            config.data,
            extra_target_share=config.data.extra_target_share,
            seed=config.seed,
            child_counts=config.model.child_counts,
        )

    def _models(
        self, store: Path, state: dict[str, Any] | None
    ) -> tuple[RelationalTransformer, WeightAverage | None]:
        """The live model, and the average of its weights if the run keeps one."""
        config, steps = self.config, 0
        if state is None:
            model = self._new_model(store)
        else:
            steps = state["step"]
            trained = checkpoint.load_settings(self.run.folder).fingerprint
            check_fingerprint(store, config.data.embedder, trained)
            model = checkpoint.load_model(self.run.folder, config.model.attention)
        model.to(self.ranks.device)
        average, decay = None, config.optim.ema_decay
        if decay is not None:
            average = WeightAverage(model, decay, steps)
            if state is not None:
                model.load_state_dict(state["live_weights"])
            self._shard(average.model)
        self._shard(model)
        return model, average

    def _new_model(self, store: Path) -> RelationalTransformer:
        """The model that the run starts from."""
        config, name = self.config, self.config.load_ckpt_path
        width = text_width(store, config.data.embedder)
        if name is None:
            return build_model(config, width)
        model = checkpoint.load_model(name, config.model.attention)
        if model.config.d_text != width:
            raise InputError(
                f"load_ckpt_path {name}: the model reads text embeddings of length "
                f"{model.config.d_text}, those of {config.data.embedder} have {width}: give the "
                "data.embedder that it was trained with"
            )
        check_fingerprint(store, config.data.embedder, model.settings.fingerprint)
        return model

    def _shard(self, model: RelationalTransformer) -> None:
        if self.ranks.lockstep:
            shard(model, self.ranks)

    def _real_tasks(self) -> RealTasks | None:
        """The real tasks that are scored, if there are any."""
        config = self.config
        if not config.evaluation.scored:
            return None
        data, evaluation = config.data, config.evaluation
        bf16 = choose(config.trainer.precision, self.ranks.device) == "bf16"
        settings = ContextSettings(
            data.embedder,
            data.context_length[0],
            next(iter(data.recipes.values())),
            batch_size=evaluation.batch_size,
            num_threads=data.sampler_threads,
            precision="bf16" if bf16 else "fp32",
            fingerprint=self.fingerprint,
        )
        return RealTasks(evaluation, settings)

    @property
    def done(self) -> float:
        """The share of the budget that is spent, 1 at the end of the run."""
        return self.config.trainer.done(self.step, self.tokens)

    @property
    def finished(self) -> bool:
        """Whether the budget is spent or validation has ended the run early."""
        return self.done >= 1 or self.stopping.due

    def train(self, stop: list[str]) -> bool:
        """Train until the run is finished (True) or until a rank has a signal in `stop` (False),
        which then says so on every rank."""
        with self._log() as log:
            if self.step == 0:
                self.evaluate(log)
            while not self.finished:
                stopped = self._train_window(log, stop)
                if not stopped and not self.finished:
                    stopped = self._next_window(log, stop)
                if stopped and not self.finished:
                    stop[:] = stop or [stopped]
                    log.say(f"{stopped}: saved after step {self.step}; start again to continue")
                    return False
        return True

    def _train_window(self, log: RunLog, stop: list[str]) -> str:
        """Train on the databases that are open, to the end of the run or of their steps; the name
        of the signal that ended it, or ""."""
        config, ranks = self.config, self.ranks
        end = None if self.stream is None else self.stream.window_end(self.step)
        share = Share(ranks.rank, ranks.world_size, config.trainer.micro_batches)
        batches = BatchStream(self.sampler, share, self.step, end)
        loading = Loader(batches, config.data.num_workers, config.data.prefetch)
        with dead_workers_named(ranks.rank), closing(loading) as loader:
            while not self.finished and self.step != end:
                try:
                    stopped = self.train_step(loader, log, stop)
                except Exception as error:
                    error.add_note(f"on rank {ranks.rank}, in step {self.step}")
                    raise
                self.after_step(log, stopped)
                if stopped:
                    return stopped
        return ""

    def _next_window(self, log: RunLog, stop: list[str]) -> str:
        """Open the databases of the steps to come; the name of the signal that came while they were
        waited for, or ""."""
        assert self.stream is not None  # only its windows end before the run
        begin = time.perf_counter()
        try:
            ready = self.stream.open(self.step)
        except InputError:
            self.save()
            raise
        if not ready:
            self.save()
            return (stop or ["a signal to another rank"])[0]
        waited = time.perf_counter() - begin
        if waited > WAIT_SECONDS:
            log.say(
                f"step {self.step}: waited {waited:.0f} s for new databases; "
                "data.generate.processes makes more at a time"
            )
        data = self.config.data
        class_targets, seed = self.config.model.class_targets, self.config.seed
        self.corpus = open_stream(self.stream, self.step, data, class_targets, seed)
        one_fingerprint([database.path for database in self.corpus.train], data.embedder)
        self.sampler = self._sampler()
        return ""

    def train_step(self, loader: Loader, log: RunLog, stop: list[str]) -> str:
        """One step of the optimizer; the name of the signal to stop by, or ""."""
        begin, waited = time.perf_counter(), loader.waited
        loss, tokens, slots = self._accumulate(loader)
        table = self.ranks.gather([loss, tokens, slots, len(stop)])
        check_losses(table[:, 0].tolist(), self.step, self.ranks.rank, self._wrong)
        norm = self._update()
        tokens, slots = int(table[:, 1].sum()), int(table[:, 2].sum())
        self.step, self.tokens, self.slots = self.step + 1, self.tokens + tokens, self.slots + slots
        seconds = time.perf_counter() - begin
        mean = math.fsum(table[:, 0].tolist()) / self.ranks.world_size
        self.window.add(mean, norm, tokens, seconds, loader.waited - waited)
        log.advance(1 if self.config.trainer.steps is not None else tokens)
        return (stop or ["a signal to another rank"])[0] if table[:, 3].any() else ""

    def after_step(self, log: RunLog, stopped: str) -> None:
        """Records, held-out losses and checkpoints that are due after a step."""
        trainer, last = self.config.trainer, self.done >= 1
        if self.step % self.config.logger.every == 0 or last:
            self._record(log)
        better = False
        if self.step % trainer.eval_every == 0 or last:
            better = self.evaluate(log)
        if self.stopping.due and not last:
            self._record(log)
            log.stopped_early(self.step, self.tokens, self.best_step)
        if better or self.finished or stopped or self.step % trainer.save_every == 0:
            self.save()

    def evaluate(self, log: RunLog) -> bool:
        """Measure and record the held-out loss, that of the weight average if there is one, and the
        scores on real tasks, which are those of the checkpoint's model (the average, or else the
        weights); whether that model is the best trained one yet, as trainer.select says."""
        precision = self.config.trainer.precision
        result = self.heldout.evaluate(self.model, self.ranks, precision)
        record = result.record()
        if self.average is not None:
            # before the first step they are the same
            if self.step > 0:
                result = self.heldout.evaluate(self.average.model, self.ranks, precision)
            losses = result.record().items()
            record |= {f"ema_{name}": loss for name, loss in losses if "constant" not in name}
        value = result.loss
        if self.real is not None:
            scores = self.real.scores(self.saved_model, self.ranks)
            means = mean_scores(scores)
            record |= means | flat(scores)
            value = -means[SCORE] if self.config.trainer.select == "score" else value
        log.heldout({"step": self.step, "tokens": self.tokens} | record)
        if self.step == 0:
            return False
        self.stopping.add(value)
        better = value < self.best
        if better:
            self.best, self.best_step = value, self.step
        return better

    @property
    def saved_model(self) -> RelationalTransformer:
        """The checkpoint's model: the weight average, if there is one, or else the weights."""
        return self.model if self.average is None else self.average.model

    def final_scores(self) -> dict[str, Any] | None:
        """Scores on real tasks of the best checkpoint and of the baselines, for validation and test
        rows, as plain values: {split: {"best" or a baseline's name: {"mean", "tasks"}}}. None if
        there are no real tasks. All ranks call it."""
        if self.real is None:
            return None
        self.ranks.barrier()  # the last checkpoint is one rank's to write, and all read the best
        best = checkpoint.load_model(self.run.folder / "best", self.config.model.attention)
        best.to(self.ranks.device)
        self._shard(best)
        result: dict[str, Any] = {}
        for split in self.real.splits():
            shown = self.config.logger.progress
            found = {"best": self.real.scores(best, self.ranks, split, show_progress=shown)}
            found |= self.real.baselines(self.ranks, split)
            result[split] = {name: with_mean(scores) for name, scores in found.items()}
        return result

    def save(self) -> None:
        """Write a checkpoint, with the weight average as its model if there is one; `best` points
        at it if its held-out loss is the best. All ranks call it."""
        if self._saved_step == self.step:
            return  # what is there is as good, and would be gone for a moment
        self._saved_step = self.step
        if not self.ranks.is_main and not self.ranks.lockstep:
            return
        weights, state = whole(self.saved_model.state_dict()), whole(self._state())
        if not self.ranks.is_main:
            return
        data = self.config.data
        plain = to_dict(data)
        context = {key: plain[key] for key in ("context_length", "recipes")}
        settings = checkpoint.Settings(data.embedder, context)
        folder = checkpoint.save_checkpoint(
            self.run.folder,
            self.step,
            self.saved_model,
            replace(settings, fingerprint=self.fingerprint),
            state,
            weights,
        )
        if self.best_step == self.step:
            checkpoint.point(self.run.folder, "best", folder)
        self.run.prune(self.config.trainer.keep)

    def _accumulate(self, loader: Loader) -> tuple[float, int, int]:
        """Gradients of this rank's share of a step; its loss, cells and slots."""
        parts = self.config.trainer.micro_batches
        loss, tokens, slots = 0.0, 0, 0
        for part in range(parts):
            batch = next(loader).to(self.ranks.device)
            loss += self._backward(batch, sync=part == parts - 1) / parts
            tokens, slots = tokens + batch.num_cells, slots + batch.row.numel()
        return loss, tokens, slots

    def _backward(self, batch: Batch, sync: bool) -> float:
        """Add the gradients of one micro-batch; gradients pass between ranks only if `sync`."""
        model, parts = self.wrapped, self.config.trainer.micro_batches
        waits = isinstance(model, DistributedDataParallel) and not sync
        if self.ranks.lockstep:
            synchronise_gradients(model, sync)
        with model.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with autocast(self.ranks.device, self.config.trainer.precision):
                outputs = model(batch, targets_only=True)
            loss = target_loss(outputs, batch)
            (loss / parts).backward()
        if not torch.isfinite(loss):
            with torch.no_grad():
                self._wrong = self._wrong or unlike_numbers(outputs, batch, self.corpus.train)
        return float(loss.detach())

    def _update(self) -> float:
        """Clip, step the optimizer, clear the gradients; the gradient's norm before clipping."""
        norm = number(clip_gradients(self.model.parameters(), self.config.optim.clip))
        if not math.isfinite(norm):
            raise InputError(
                f"the gradient is not finite at step {self.step}: try a lower optim.lr"
            )
        set_learning_rate(self.optimizer, learning_rate(self.config.optim, self.done))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.model)
        return norm

    def _record(self, log: RunLog) -> None:
        """Record the steps since the last record, if there are any."""
        if self.window.steps:
            lr = self.optimizer.param_groups[0]["lr"]
            counts = {"step": self.step, "tokens": self.tokens, "slots": self.slots}
            if self.stream is not None:
                counts["databases"] = self.stream.num_seen(self.step)
            log.training(counts | {"lr": lr} | self.window.record())
            self.window = Window()

    def _log(self) -> RunLog:
        trainer = self.config.trainer
        by_steps = trainer.steps is not None
        total, done = (
            (trainer.steps, self.step) if by_steps else (trainer.token_budget, self.tokens)
        )
        return RunLog(
            self.run.folder if self.ranks.is_main else None,
            self.config.logger,
            self.run.config,
            last_step=self.step or -1,
            progress=(total or 0, done, "step" if by_steps else "cell"),
        )

    def _state(self) -> dict[str, Any]:
        """All that continuing needs beside the checkpoint's model. Batches and held-out rows are
        functions of the seed and the step, and nothing in a step draws at random: torch's generator
        is kept for models that do."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "slots": self.slots,
            "best": self.best,
            "best_step": self.best_step,
            "finished": self.finished,
            "stopped_early": self.done < 1 and self.finished,
            "early_stopping": self.stopping.state(),
            # the checkpoint's model is the average
            "live_weights": None if self.average is None else self.model.state_dict(),
            "window": self.window.state(),
            "optimizer": self.optimizer.state_dict(),
            "random_state": torch.default_generator.get_state(),
            "config": dict(self.run.config),
            "databases": self.run.databases,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.tokens, self.slots = state["step"], state["tokens"], state["slots"]
        self.best, self.best_step = state["best"], state["best_step"]
        self.stopping = replace(self.stopping, **state["early_stopping"])
        self.window = Window(**state["window"])
        load_optimizer(self.optimizer, state["optimizer"])
        torch.default_generator.set_state(state["random_state"])
        best = self.run.folder / f"step_{self.best_step}"
        if self.ranks.is_main and best.is_dir():
            checkpoint.point(self.run.folder, "best", best)
