from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from ..model import GDE


def cell_influence(
    adata: AnnData | MuData,
    model: GDE,
    direction: np.ndarray | pd.Series | tuple[str, str] | None = None,
    *,
    key_added: str = "gde_influence",
    enable_progress_bar: bool = True,
) -> None:
    """Write to every cell how far it pulls its population's embedding.

    Parameters
    ----------
    adata
        Data with the genes and obs columns that the model was set up with.
    model
        A trained model.
    direction
        Direction in the embedding, ``(n_latent,)``, or the names of two populations, for the
        direction from the first to the second. Directions are taken to unit length. By default
        all coordinates are written.
    key_added
        Where to write.
    enable_progress_bar
        Show progress where it takes a while.

    Returns
    -------
    None. Written is the influence (:meth:`~scgde.model.GDE.get_cell_influence`), in embedding
    units, NaN for cells in no population: to ``.obs[key_added]`` along a direction, positive for
    cells that pull their population that way; else to ``.obsm[key_added]``, cells x ``n_latent``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a population is unknown or alone, the direction has no length or another number of
        coordinates, or the encoder's embedding has no derivative by the weights.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.load("schulteschrepping2020")
    >>> scgde.model.GDE.setup_anndata(adata, population_key="donor")
    >>> model = scgde.model.GDE(adata, n_latent=8, n_hidden=32)
    >>> model.train(max_steps=2, enable_progress_bar=False)
    >>> scgde.tl.cell_influence(adata, model, ("C19-CB-0198", "C19-CB-0199"))
    >>> adata.obs["gde_influence"].shape
    (5494,)
    """
    if isinstance(direction, str):
        raise TypeError(f"direction={direction!r} is one name; give two, (from, to), or a vector.")
    if isinstance(direction, tuple | list) and all(isinstance(name, str) for name in direction):
        if len(direction) != 2:
            raise ValueError(f"direction={direction!r} must name two populations, from and to.")
        ends = model.get_population_embedding(adata, list(direction))
        direction = ends.iloc[1].to_numpy() - ends.iloc[0].to_numpy()
    if direction is not None:
        direction = np.asarray(direction, dtype=np.float64)
        length = np.linalg.norm(direction)
        if length == 0:
            raise ValueError("direction has length zero; give two different populations.")
        direction = direction / length
    influence = model.get_cell_influence(
        adata, direction=direction, enable_progress_bar=enable_progress_bar
    )
    if direction is None:
        adata.obsm[key_added] = influence.to_numpy()
    else:
        adata.obs[key_added] = influence.to_numpy()
