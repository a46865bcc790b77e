"""The fits of a sweep as Markdown and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plurel.cli import counted
from rt.scaling import Fit
from rt.scaling_notes import Estimate
from rt.scaling_points import FORMS, TOKENS, Form, Points
from rt.scaling_runs import Sweep

PUBLISHED = {
    "N": {"A": 0.07, "a": 0.38, "C": 0.36},
    "S": {"B": 0.02, "b": 0.46, "C": 0.36},
}
"""Of the held-out synthetic loss (PluRel, arXiv 2602.04029): N databases, S billions of tokens."""
PARAMETERS = ("A", "a", "B", "b", "C")


@dataclass(frozen=True)
class Section:
    """What came of one metric: a fit, or the reason for none, by form; the runs that could not be
    used for it, by reason; and the published parameters to compare with, by form."""

    metric: str
    label: str
    points: Points
    fits: dict[str, Fit | str]
    left_out: dict[str, list[Path]]
    published: Mapping[str, Mapping[str, float]]

    def fitted(self) -> dict[str, Fit]:
        """The forms that could be fitted."""
        return {name: fit for name, fit in self.fits.items() if isinstance(fit, Fit)}


def to_markdown(sweep: Sweep, sections: Sequence[Section]) -> str:
    """Tables with aligned columns, which are read as they are too."""
    lines = [f"# Scaling laws of {counted(len(sweep.runs), 'finished run')}", ""]
    lines += [
        "N: databases. S: tokens seen, in a formula in billions. Brackets: intervals. In",
        "parentheses: not identified, as the notes say. R2, residuals (about the form) and seeds",
        "(about the mean of their N and S) are of log L.",
    ]
    for section in sections:
        lines += ["", f"## {section.label[:1].upper()}{section.label[1:]}", ""]
        lines += [*_means(section.points), "", *_table(section)]
        notes = _notes(section)
        lines += ["", *notes] if notes else []
    remarks = [f"- {note}" for note in sweep.notes]
    if sweep.unfinished:
        remarks.append(f"- left out, not finished: {_names(sweep.unfinished)}")
    if remarks:
        lines += ["", "## Runs", "", *remarks]
    return "\n".join(lines) + "\n"


def to_json(
    sweep: Sweep, sections: Sequence[Section], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the tables say, and every run."""
    return {
        "settings": dict(settings),
        "units": {"N": "databases", "S": f"{TOKENS:g} tokens"},
        "metrics": {section.metric: _section_json(section) for section in sections},
        "runs": [{**asdict(run), "folder": str(run.folder)} for run in sweep.runs],
        "unfinished": list(map(str, sweep.unfinished)),
        "notes": list(sweep.notes),
    }


def short(tokens: float) -> str:
    """A number of tokens with a letter: 4 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= size * 0.9995:
            return f"{tokens / size:.3g} {letter}"
    return f"{tokens:.3g}"


def held_at(fit: Fit) -> str:
    """What the resource that a form leaves out is in its runs."""
    if fit.form.name == "N":
        return f"S = {short(fit.points.tokens.mean())}"
    if fit.form.name == "S":
        return f"N = {fit.points.databases[0]:.0f}"
    return ""


def _section_json(section: Section) -> dict[str, Any]:
    published = section.published
    return {
        "label": section.label,
        "forms": {
            form.name: _form_json(form, section.fits[form.name])
            | ({"published": dict(published[form.name])} if form.name in published else {})
            for form in FORMS
        },
        "left_out": {why: list(map(str, folders)) for why, folders in section.left_out.items()},
    }


def _form_json(form: Form, fit: Fit | str) -> dict[str, Any]:
    if isinstance(fit, str):
        return {"formula": form.text, "left_out": fit}
    return {
        "formula": form.text,
        "runs": len(fit.points),
        "databases": sorted({int(n) for n in fit.points.databases}),
        "budgets_in_tokens": [round(t) for t in fit.points.budget_tokens().values()],
        "parameters": {name: asdict(estimate) for name, estimate in fit.estimates.items()},
        "intervals": {"method": fit.method, "confidence": fit.confidence},
        "log_loss": asdict(fit.scatter),
        "notes": list(fit.notes),
    }


def _means(points: Points) -> list[str]:
    """Mean of each (N, S), rows N, columns S."""
    if not len(points):
        return ["No run has a value that can be used."]
    budgets = points.budget_tokens()
    rows = [["mean", *(f"S = {short(tokens)}" for tokens in budgets.values())]]
    for databases in np.unique(points.databases):
        row = [f"N = {databases:.0f}"]
        for budget in budgets:
            loss = points.loss[(points.databases == databases) & (points.budget == budget)]
            several = f" ({len(loss)})" if len(loss) > 1 else ""
            row.append(f"{loss.mean():.4f}{several}" if len(loss) else "")
        rows.append(row)
    return _aligned(rows)


def _table(section: Section) -> list[str]:
    rows = [["form", *PARAMETERS, "R2", "residuals", "seeds", "runs"]]
    for form in FORMS:
        fit = section.fits[form.name]
        if isinstance(fit, str):
            continue
        at = f", {held_at(fit)}" if held_at(fit) else ""
        scatter = fit.scatter
        rows.append(
            [
                f"{form.text}{at}",
                *(_estimate(fit.estimates.get(name)) for name in PARAMETERS),
                "" if scatter.r2 is None else f"{scatter.r2:.3f}",
                "" if scatter.spread is None else f"{scatter.spread:.2%}",
                "" if scatter.seed_spread is None else f"{scatter.seed_spread:.2%}",
                str(len(fit.points)),
            ]
        )
        if form.name in section.published:
            values = section.published[form.name]
            known = [f"{values[name]:g}" if name in values else "" for name in PARAMETERS]
            rows.append(["published", *known, "", "", "", ""])
    return _aligned(rows) if len(rows) > 1 else ["No form could be fitted."]


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    text = f"{estimate.value:.3g}"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return text if estimate.identified else f"({text})"


def _notes(section: Section) -> list[str]:
    notes = []
    for form in FORMS:
        fit = section.fits[form.name]
        if isinstance(fit, str):
            notes.append(f"- {form.text} is left out: it {fit}")
        else:
            notes += [f"- {form.text}: {note}" for note in fit.notes]
    if section.fitted().keys() & section.published.keys():
        notes.append(
            "- published: of another model size, corpus and held-out tasks; compare the exponents, "
            "not the levels"
        )
    for reason, folders in section.left_out.items():
        notes.append(f"- left out, {reason}: {_names(folders)}")
    return notes


def _names(folders: Iterable[Path], most: int = 5) -> str:
    names = list(map(str, folders))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is its head. Columns that are empty are left out."""
    columns = [c for c in zip(*rows, strict=True) if any(c[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in zip(*columns, strict=True)
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
