"""Early stopping: the run ends when validation has stopped getting better (Prechelt 1998, "Early
stopping - but when?": stop after a number of evaluations without progress)."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Counts evaluations in a row that are not better than the reference by more than `min_delta`;
    the reference is the last one that was. patience: how many end the run, None for never."""

    patience: int | None
    min_delta: float = 0.0
    reference: float = math.inf
    waited: int = 0

    @property
    def due(self) -> bool:
        """Whether the run is to end."""
        return self.patience is not None and self.waited >= self.patience

    def add(self, loss: float) -> None:
        """Count an evaluation; of a score where higher is better give its negative."""
        if loss < self.reference - self.min_delta:
            self.reference, self.waited = loss, 0
        else:
            self.waited += 1

    def state(self) -> dict[str, float | int]:
        """What an evaluation changes, for a checkpoint."""
        return {"reference": self.reference, "waited": self.waited}
