"""A training run, as `scripts/synthetic_pretrain.py` calls it.

A run's folder holds config.yaml, run.json (versions, git revision, databases), metrics.jsonl,
checkpoints (`rt.checkpoint`) and, at the end, loss.png and training.json. The same command started
again continues from the last checkpoint; a finished run says so.
"""

from pathlib import Path

from rt.config import to_dict
from rt.corpus import open_corpus
from rt.loader import Share
from rt.ranks import join_ranks
from rt.runs import Run, stop_signals
from rt.train_config import TrainConfig
from rt.trainer import Trainer


def run(config: TrainConfig) -> Path:
    """Train as the config says, alone or as one of torchrun's processes; the run's folder.

    SIGTERM, SIGINT and SIGUSR1 save a checkpoint and return. Raises InputError for a config that
    does not fit the data, the machine or an earlier run in the same folder, and for a loss that
    is not finite.
    """
    trainer = config.trainer
    with join_ranks(trainer.device, trainer.threads) as ranks, stop_signals() as stop:
        Share(0, ranks.world_size, trainer.micro_batches).check(config.data.batch_size)
        corpus = open_corpus(config.data, config.model.class_targets)
        record = Run(Path(trainer.run_dir), to_dict(config), corpus.names())
        state = record.last_state()
        if state is not None and state["finished"]:
            if ranks.is_main:
                early = ", stopped early" if state["stopped_early"] else ""
                print(f"{record.folder}: this run is finished after {state['step']} steps{early}")
                record.finish(again=False)
            return record.folder
        worker = Trainer(config, corpus, ranks, record, state)
        ranks.barrier()  # everyone has read the folder before the first one writes to it
        if ranks.is_main:
            record.begin(ranks.world_size)
        finished = worker.train(stop)
        if ranks.is_main and finished:
            record.finish()
    return record.folder
