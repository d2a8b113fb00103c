"""Populations of images: mixtures of handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from anndata import AnnData

from .._errors import require_choice, require_counts
from ._synthetic_adata import dirichlet, draw_labels, populations_adata


def digit_populations(
    n_populations: int = 100,
    n_cells: int = 256,
    *,
    n_classes: int = 3,
    concentration: float | Sequence[float] = 1.0,
    images: Literal["all", "train", "test"] = "all",
    seed: int = 0,
) -> AnnData:
    """Draw sets of scikit-learn's 1,797 digit images, mixed in proportions of each set's own.

    A cell is an image of 8 x 8 pixels between 0 and 16: of the digits 0 to ``n_classes - 1`` one is
    drawn by the population's weights, then one of its images, with replacement.

    Parameters
    ----------
    n_populations, n_cells
        Populations, and cells of each.
    n_classes
        Digits that are mixed, at most 10.
    concentration
        Of the Dirichlet distribution of the weights, one number or one for each digit.
    images
        "train" and "test" are the halves of a fixed split, stratified by digit: what is trained on
        one can be evaluated on the other. With one seed both have the same weights.
    seed
        Seed of weights, then of cells: more cells keep the weights.

    Returns
    -------
    AnnData, population by population. ``.obs``: "population", "digit", "image" (its row in
    scikit-learn's data), "weight_0" and so on. ``.uns["truth"]``: "population" and "weight"
    ``(P, n_classes)``.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number above zero, ``n_classes`` is above 10, ``concentration`` does
        not fit or ``images`` is no such word.

    Examples
    --------
    >>> import scgde
    >>> adata = scgde.datasets.digit_populations(3, 10)
    >>> adata.shape, adata.uns["truth"]["weight"].shape
    ((30, 64), (3, 3))
    """
    require_counts(n_populations=n_populations, n_cells=n_cells, n_classes=n_classes)
    if n_classes > 10:
        raise ValueError(f"n_classes={n_classes} must be at most 10: there are 10 digits.")
    require_choice("images", images, ["all", "train", "test"])
    rng = np.random.default_rng(seed)
    weight = dirichlet(rng, concentration, n_classes, n_populations)
    pixels, rows_of_digit = _images(images)
    digit = draw_labels(rng, weight, n_cells).ravel()
    n_images = np.array([len(rows) for rows in rows_of_digit])
    first = n_images.cumsum() - n_images
    row = np.concatenate(rows_of_digit)[first[digit] + rng.integers(n_images[digit])]
    cells = pixels[row].reshape(n_populations, n_cells, -1)
    return populations_adata(cells, {"weight": weight}, {"digit": digit, "image": row})


def _images(part: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return all images ``(1797, 64)`` and for each digit which of them may be drawn."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    rows = np.arange(len(labels))
    if part != "all":
        halves = train_test_split(rows, test_size=0.5, stratify=labels, random_state=0)
        rows = np.sort(halves[part == "test"])
    return pixels.astype(np.float32), [rows[labels[rows] == digit] for digit in range(10)]
