from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from scgde.data import PopulationIndex, group_cells, row_source
from scgde.tl._representations import Cells, _kernel_mean, population_moments


@pytest.mark.parametrize("sparse", [True, False])
def test_moments_are_scanpy_s(patients, sparse):
    codes, names = group_cells(patients.obs, ["donor"])
    x = patients.X if sparse else patients.X.toarray()
    cells = Cells(row_source(x), PopulationIndex(codes, names), True, patients.obs)
    mean, sd = population_moments(cells)
    sc.pp.normalize_total(patients, target_sum=1e4)
    sc.pp.log1p(patients)
    expected = sc.get.aggregate(patients, "donor", ["mean", "var"])
    np.testing.assert_allclose(mean, expected.layers["mean"], rtol=1e-5, atol=1e-6)
    n = 40
    np.testing.assert_allclose(sd**2, expected.layers["var"] * (n - 1) / n, rtol=1e-3, atol=1e-5)


def test_kernel_mean_sees_more_than_means_and_fits_on_training_cells_only():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), 400)
    spread = np.array([1, 1, 3, 3])[codes, None]
    x = (rng.normal(size=(1600, 2)) * spread).astype(np.float32)
    x -= np.stack([x[codes == c].mean(0) for c in range(4)])[codes]
    cells = Cells(
        row_source(x), PopulationIndex(codes, pd.Index(list("abcd"))), False, pd.DataFrame()
    )
    features = _kernel_mean(cells).features(np.array([0, 2]))
    between = np.linalg.norm(features[0] - features[2])
    assert between > 3 * np.linalg.norm(features[0] - features[1])
    x[codes == 3] *= 100  # a held-out population may not move the others
    moved = _kernel_mean(cells).features(np.array([0, 2]))
    np.testing.assert_allclose(moved[:3], features[:3])


@pytest.mark.parametrize("n_others", [0, 5])
def test_kernel_mean_of_cells_that_are_mostly_alike(n_others):
    """A median distance of zero is no bandwidth."""
    x = np.ones((100, 2), dtype=np.float32)
    x[:n_others] += np.arange(n_others)[:, None]
    index = PopulationIndex(np.repeat([0, 1], 50), pd.Index(list("ab")))
    features = _kernel_mean(Cells(row_source(x), index, False, pd.DataFrame())).features(
        np.arange(2)
    )
    assert np.isfinite(features).all()
    assert np.allclose(features[0], features[1]) == (n_others == 0)
