"""A run's model as a folder to publish: weights in bfloat16, config, model card, license.

The folder is what `rt.checkpoint.load_model` reads, here, as data of the package (`rt.shipped`) or
as a repository of the Hugging Face Hub. The card says what the run's own files and the scores that
are given say, and nothing else; what only people know stands in the notes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from plurel.errors import InputError
from rt.checkpoint import MODEL_FILE, find_checkpoint, load_model, load_trainer, save_pretrained
from rt.config import require, to_dict, unknown_key
from rt.logs import read_metrics
from rt.recipes import PRESETS, named
from rt.run_files import RunFiles, group, open_run
from rt.score_summary import COLUMNS, MODEL, joined, read_scores, score_table
from rt.settings import Settings

CARD, LICENSE = "README.md", "LICENSE"
_HEADER = {
    "license": "mit",
    "library_name": "plurel",
    "pipeline_tag": "tabular-classification",
    "tags": ["relational-databases", "relational-deep-learning", "synthetic-data", "tabular"],
}


@dataclass(frozen=True)
class Released:
    """The folder that was written; parameters of the model; bytes of its weights."""

    folder: Path
    parameters: int
    bytes: int


def release(
    run: Path,
    out: Path,
    name: str,
    license_text: str,
    *,
    checkpoint: str = "best",
    unfinished: bool = False,
    context_length: int | None = None,
    recipe: str | None = None,
    scores: Sequence[Path] = (),
    notes: str = "",
) -> Released:
    """Write a model of a run to the folder `out`, whole or not at all.

    checkpoint: `best`, `latest` or a step's folder in the run. unfinished: the run need not be at
    its end; the card says how far it is. context_length: cells of the contexts that the model reads
    where nothing else is asked for, None for those that it was trained with. recipe: of these
    contexts, by its name among `rt.recipes.PRESETS`, likewise. scores: files of `evaluate.py out=`
    of this model. notes: Markdown for the card. Raises InputError for a run that
    is not finished, unless that is asked for, and for scores that can't be read.
    """
    files = open_run(run)
    if files.result is None and not unfinished:
        raise InputError(
            f"{run} is not finished: start it again with the same command, it goes on, or publish "
            "what it has by --unfinished"
        )
    tables = [read_scores(path) for path in scores]
    place = find_checkpoint(run / checkpoint)
    model = load_model(place)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = _trained(files, place)
    settings = model.settings
    if context_length is not None:
        require(context_length > 0, "context_length", "1 or more", context_length)
        settings = replace(
            settings, context={**settings.context, "context_length": [context_length]}
        )
        trained["read"] = context_length
    if recipe is not None:
        settings = _reading(settings, recipe)
        trained["recipe"] = recipe
    card = _card(name, files, trained, parameters, tables, notes)
    texts = {CARD: card, LICENSE: license_text}
    save_pretrained(model, out, settings, dtype=torch.bfloat16, texts=texts)
    return Released(out, parameters, (out / MODEL_FILE).stat().st_size)


def _reading(settings: Settings, recipe: str) -> Settings:
    """The settings with a recipe that training from this model leaves out, for predictions."""
    if recipe not in PRESETS:
        raise InputError(unknown_key(f"recipe.{recipe}", PRESETS))
    others = {k: v for k, v in settings.context.get("recipes", {}).items() if k != recipe}
    # predictions take the first
    recipes = {recipe: to_dict(replace(named(recipe), weight=0.0)), **others}
    return replace(settings, context={**settings.context, "recipes": recipes})


def _trained(files: RunFiles, place: Path) -> dict[str, Any]:
    """What a checkpoint's state and the run's records up to it say of its training."""
    state = load_trainer(place)
    records = [r for r in read_metrics(files.folder) if r["step"] <= state["step"]]
    heldout = [record for record in records if "heldout_loss" in record]
    if not heldout:
        raise InputError(f"{files.folder}: its records hold no held-out loss")
    # the steps since the last record are in the state
    seconds = sum(r["seconds"] for r in records if "loss" in r) + state["window"]["seconds"]
    return {
        "steps": state["step"],
        "tokens": state["tokens"],
        "seconds": seconds,
        "databases": next((r["databases"] for r in records[::-1] if "databases" in r), None),
        "heldout": heldout,
    }


def _card(
    name: str,
    files: RunFiles,
    trained: Mapping[str, Any],
    parameters: int,
    scores: Sequence[Mapping[str, Any]],
    notes: str,
) -> str:
    """The model card, Markdown with the Hub's YAML header."""
    header = yaml.safe_dump(_HEADER, sort_keys=False).strip()
    parts = [
        f"---\n{header}\n---\n",
        f"# {name}\n",
        "A relational transformer that predicts on databases it has not seen: a binary or numeric "
        "target of any\ntable, from the rows around it that were known by then.\n",
        _use(name),
        "## Training\n",
        _training(files, trained, parameters),
    ]
    if notes:
        parts += ["## What was used for what\n", notes.strip() + "\n"]
    if scores:
        parts += ["## Scores\n", _scores(scores)]
    config = yaml.safe_dump(_without_places(files.config), sort_keys=False).strip()
    parts += ["## The run's config\n", f"```yaml\n{config}\n```\n"]
    return "\n".join(parts)


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    """One table of all files, which must be of the same split and protocol."""
    whole = joined(scores, (), MODEL)
    first = whole[0]
    most = f", at most {first['max_rows']:,} rows a task" if first.get("max_rows") else ""
    said = (
        f"Rows of the {first['split']} split{most}, protocol `{first['protocol']}`; column "
        f"{MODEL} is this model.\n\n"
    )
    return said + score_table(whole, COLUMNS, MODEL) + "\n"


def _use(name: str) -> str:
    return (
        "    from rt.predict import Predictor\n\n"
        f'    predictor = Predictor.from_pretrained("{name}")  # or the path of this folder\n'
        '    predictor.predict("my-database", "churn", [17, 23], at="2026-01-31")\n'
    )


def _training(files: RunFiles, trained: Mapping[str, Any], parameters: int) -> str:
    """What the run's files say, a line each."""
    where = files.folder
    data = group(files.config, "data", where)
    given = len(group(files.facts, "databases", where).get("train", []))
    lines = [
        f"{parameters:,} parameters; text embedder {data['embedder']}",
        f"regime {files.config.get('regime')}: {trained['databases'] or given:,} databases, "
        f"{trained['tokens']:,} tokens (cells without padding) in {trained['steps']:,} steps, "
        f"{trained['seconds'] / 3600:.1f} hours, "
        f"{trained['tokens'] / trained['seconds']:,.0f} tokens/s",
    ]
    lengths = " or ".join(map(str, data["context_length"]))
    chosen = [str(trained["read"])] if "read" in trained else []
    chosen += [f"the recipe {trained['recipe']}"] if "recipe" in trained else []
    read = f"; it reads {' and '.join(chosen)}, chosen after it" if chosen else ""
    lines.append(f"trained on contexts of {lengths} cells{read}")
    if files.result is None:
        trainer = group(files.config, "trainer", where)
        unit = "tokens" if trainer.get("token_budget") is not None else "steps"
        budget = trainer.get("token_budget") or trainer.get("steps")
        lines.append(f"**the run is not finished**: its budget is {budget:,} {unit}")
    heldout = trained["heldout"]
    name = "ema_heldout_loss" if "ema_heldout_loss" in heldout[-1] else "heldout_loss"
    curve = " → ".join(f"{record[name]:.3f}" for record in _spread(heldout, 8))
    lines.append(
        f"loss on held-out databases {curve} (the last at step {heldout[-1]['step']:,}); "
        f"of a constant answer {heldout[-1]['constant_loss']:.3f}"
    )
    start = files.facts.get("start")
    if start is not None:
        lines.append(f"began from {_without_places(start)}")
    versions = ", ".join(f"{name} {version}" for name, version in files.facts["versions"].items())
    lines.append(f"seed {files.config.get('seed')}; {versions}")
    lines += _revisions(files.facts, trained["steps"])
    return "".join(f"- {line}\n" for line in lines)


def _revisions(facts: Mapping[str, Any], steps: int) -> list[str]:
    """The sources that the steps were made with; none outside of a clone."""
    last = {"from_step": None, "git_revision": facts.get("git_revision")}
    found = [r for r in facts.get("revisions", [last]) if (r["from_step"] or 0) < steps]
    found = [revision for revision in found if revision["git_revision"]]
    if not found:
        return []
    if len(found) == 1:
        return [f"source revision {found[0]['git_revision']}"]

    def since(step: int | None) -> str:
        return "" if step is None else f" from step {step:,}"

    each = (f"{revision['git_revision']}{since(revision['from_step'])}" for revision in found)
    return [f"source revisions {', '.join(each)}"]


def _without_places(values: Any) -> Any:
    """Plain values, of paths in them the last name: the others are those of one machine."""
    if isinstance(values, Mapping):
        return {key: _without_places(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_without_places(value) for value in values]
    return Path(values).name if isinstance(values, str) and "/" in values else values


def _spread(records: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most that many of the records, evenly, the first and the last among them."""
    if len(records) <= most:
        return list(records)
    return [records[round(i * (len(records) - 1) / (most - 1))] for i in range(most)]
