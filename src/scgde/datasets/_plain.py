"""Readers of files that need no preparation."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from rich.progress import track

_ROWS = 10_000


def read_h5ad(
    paths: list[Path], *, backed: bool = False, rename: dict[str, str] | None = None
) -> AnnData:
    """Read an h5ad file.

    Parameters
    ----------
    paths
        The file.
    backed
        Leave ``.X`` on disk.
    rename
        Columns of ``.obs`` and their new names.
    """
    adata = anndata.read_h5ad(paths[0], backed="r" if backed else None)
    if rename:
        _require_columns(adata.obs, rename, paths[0])
        adata.obs = adata.obs.rename(columns=rename)
    return adata


def read_sparse_h5ad(path: Path, enable_progress_bar: bool = True) -> AnnData:
    """Read an h5ad file whose ``.X`` may be stored dense, without holding it dense in memory."""
    adata = anndata.read_h5ad(path, backed="r")
    try:
        if not isinstance(adata.X, h5py.Dataset):
            return adata.to_memory()
        starts = range(0, adata.n_obs, _ROWS)
        pieces = [
            sp.csr_matrix(adata.X[start : start + _ROWS], dtype=np.float32)
            for start in track(starts, path.name, disable=not enable_progress_bar, transient=True)
        ]
        return AnnData(
            sp.vstack(pieces, format="csr"), obs=adata.obs, var=adata.var, uns=dict(adata.uns)
        )
    finally:
        adata.file.close()


def read_h5mu(paths: list[Path]) -> MuData:
    """Read an h5mu file."""
    return mudata.read_h5mu(paths[0])


def read_table(paths: list[Path]) -> pd.DataFrame:
    """Read a table of text whose first column names the rows."""
    table = pd.read_csv(paths[0], index_col=0)
    table.index = table.index.astype(str)
    return table


def read_image_crops(paths: list[Path]) -> AnnData:
    """Read images of single cells from an npz file.

    Parameters
    ----------
    paths
        A file with ``images`` ``(n, height, width, channels)``, ``channels``, their names, and
        arrays of ``n`` values that describe each image.

    Returns
    -------
    AnnData with an image a row: ``.X`` holds its pixels, float32 in the file's units, in the order
    height, width, channel, so that ``X.reshape(-1, *uns["image_shape"])`` gives the images back.
    ``.uns["image_shape"]`` and ``.uns["channels"]``.
    """
    with np.load(paths[0]) as arrays:
        images = arrays["images"]
        shape = images.shape[1:]
        obs = {key: arrays[key] for key in arrays if key not in ("images", "channels")}
        channels = arrays["channels"].astype(str).astype(object)
    names = [f"{r}_{c}_{channel}" for r, c in np.ndindex(shape[:2]) for channel in channels]
    return AnnData(
        images.reshape(len(images), -1).astype(np.float32),
        obs=pd.DataFrame(obs, index=pd.RangeIndex(len(images)).astype(str)),
        var=pd.DataFrame(index=names),
        uns={"image_shape": np.array(shape), "channels": channels},
    )


def _require_columns(obs: pd.DataFrame, columns: object, path: Path) -> None:
    missing = [column for column in columns if column not in obs]
    if missing:
        raise KeyError(f"{path.name} lacks the columns {missing} of .obs; it has {[*obs.columns]}.")
