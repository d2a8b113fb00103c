from __future__ import annotations

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .._errors import require_positive
from ..module import TrainableModule, TrainingLoss


class SetTrainingPlan(lightning.LightningModule):
    """How a module is trained: optimiser, schedule, averaging, what is logged.

    Logged once an epoch: ``train_loss`` and ``validation_loss``, and the terms they are made of
    under the same prefixes.

    Parameters
    ----------
    module
        What is trained: a module with ``loss(batch)``, which returns a
        :class:`~scgde.module.TrainingLoss`, and ``on_step(step)``.
    n_steps
        Planned number of steps: the learning rate rises over the first tenth of them to ``lr`` and
        falls along a cosine to zero (one cycle).
    steps_done
        Steps of earlier training, for generators whose loss depends on the step.
    lr, weight_decay
        Of AdamW.
    ema_decay
        Decay of an exponential moving average of the weights, which replaces them when training
        ends; None for none.
    label_weight
        Weight of the label heads' cross-entropy beside the generator's loss per feature.

    Raises
    ------
    ValueError
        If the learning rate is not above zero.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> index = scgde.data.PopulationIndex(np.repeat([0, 1, 2], 10), pd.Index(list("abc")))
    >>> rows = scgde.data.row_source(np.random.default_rng(0).normal(size=(30, 3)))
    >>> sampler = scgde.data.SetSampler(index, 2, 5, n_steps=2)
    >>> loader = scgde.data.set_loader(scgde.data.SetDataset(rows, index), sampler)
    >>> module = scgde.module.GDEModule(3, n_latent=4, n_hidden=8)
    >>> plan = scgde.train.SetTrainingPlan(module, n_steps=2)
    >>> plan.module.loss(next(iter(loader))).loss.shape
    torch.Size([])
    """

    def __init__(
        self,
        module: TrainableModule,
        n_steps: int,
        steps_done: int = 0,
        *,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        ema_decay: float | None = None,
        label_weight: float = 1.0,
    ):
        super().__init__()
        require_positive(lr=lr)
        self.module, self.n_steps, self.steps_done = module, n_steps, steps_done
        self.lr, self.weight_decay, self.ema_decay = lr, weight_decay, ema_decay
        if hasattr(module, "label_weight"):
            module.label_weight = label_weight
        self.average: AveragedModel | None = None

    def configure_optimizers(self) -> dict:
        """Return AdamW with a one-cycle schedule over the planned steps."""
        optimizer = torch.optim.AdamW(
            self.module.parameters(),
            lr=self.lr,
            weight_decay=self.weight_decay,
            # With float16 a fused optimiser unscales gradients itself, after they are clipped.
            fused=self.trainer.precision != "16-mixed",
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=self.n_steps + 1, pct_start=0.1
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient (Lightning refuses to where the optimiser is fused)."""
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), gradient_clip_val)

    def training_step(self, batch: dict, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        self.module.on_step(self.steps_done + self.global_step)
        return self._logged("train", self.module.loss(batch))

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        """Log the loss of a batch of held-out sets."""
        self._logged("validation", self.module.loss(batch))

    def _logged(self, prefix: str, result: TrainingLoss) -> Tensor:
        values = {f"{prefix}_loss": result.loss}
        values |= {f"{prefix}_{name}": value for name, value in result.terms.items()}
        self.log_dict(
            {name: value.detach() for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            prog_bar=False,
            batch_size=1,
        )
        return result.loss

    def on_train_batch_end(self, *args: object) -> None:
        """Update the moving average."""
        if self.ema_decay is None:
            return
        if self.average is None:
            self.average = AveragedModel(
                self.module, multi_avg_fn=get_ema_multi_avg_fn(self.ema_decay), use_buffers=True
            )
        self.average.update_parameters(self.module)

    def use_average(self) -> None:
        """Put the moving average in place of the weights."""
        if self.average is not None:
            self.module.load_state_dict(self.average.module.state_dict())
