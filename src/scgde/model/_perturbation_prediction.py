from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from anndata import AnnData


@dataclass(frozen=True)
class PerturbationPrediction:
    """What a model says of perturbations; one row a perturbation (and covariate).

    Attributes
    ----------
    table
        ``perturbation``, ``covariate`` (missing where none was set up) and ``n_seen``: how many of
        the perturbation's ``n_parts`` were in the training data, alone or in combinations.
    embedding
        Populations x ``n_latent``.
    embedding_shift
        The same, from the control of the covariate; exactly zero for the control.
    mean_shift
        Populations x features: shift of mean ``log(1 + 10^4 x / total)`` from the control, of
        counts; of the features themselves otherwise. Exactly zero for the control.
    cells
        Generated cells; None where none were asked for.
    """

    table: pd.DataFrame
    embedding: pd.DataFrame
    embedding_shift: pd.DataFrame
    mean_shift: pd.DataFrame
    cells: AnnData | None

    def __repr__(self) -> str:
        cells = "" if self.cells is None else f", {self.cells.n_obs} cells"
        return f"PerturbationPrediction of {len(self.table)} populations{cells}"
