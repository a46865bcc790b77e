"""An exponential moving average of the weights, evaluated and kept beside the live weights.

The average after n steps gives step i the weight (1 - decay) decay^(n - i) / (1 - decay^n): Adam's
correction of the bias towards the start (Kingma and Ba 2015, arXiv 1412.6980), so that random
initial weights have no part in it and a short run's average is near the plain mean of its steps.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rt.model import RelationalTransformer


class WeightAverage:
    """The average of a model's weights after each of its steps.

    model: the live one before the first step, or one with the average after `steps` steps.
    """

    def __init__(self, model: RelationalTransformer, decay: float, steps: int = 0) -> None:
        def blend(average: Any, live: Any, counted: Tensor | int) -> None:
            weight = (1 - decay) / (1 - decay ** (int(counted) + 1))
            torch._foreach_lerp_(average, live, weight)

        # torch's first update copies the weights, as the formula does for n = 1
        self._averaged = AveragedModel(model, multi_avg_fn=blend)
        self._averaged.n_averaged.fill_(steps)

    @property
    def model(self) -> RelationalTransformer:
        """A model with the averaged weights."""
        module = self._averaged.module
        assert isinstance(module, RelationalTransformer)
        return module

    def update(self, model: RelationalTransformer) -> None:
        """Count the weights of one more step."""
        self._averaged.update_parameters(model)
