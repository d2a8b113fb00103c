from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from scgde.distances import energy_distance


def test_one_dimension_is_scipy_s():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=40), rng.normal(1, 2, size=70)
    ours = energy_distance(torch.tensor(x)[None, :, None], torch.tensor(y)[None, :, None])
    # scipy returns the square root of it (Szekely & Rizzo's D^2 is the energy distance)
    assert ours.item() == pytest.approx(scipy.stats.energy_distance(x, y) ** 2, rel=1e-6)


def test_integer_weights_are_repetition_and_batches_are_separate():
    x, y = torch.randn(3, 6, 2), torch.randn(3, 9, 2)
    counts = torch.tensor([1, 2, 1, 3, 1, 2])
    repeated = energy_distance(x.repeat_interleave(counts, 1), y)
    weighted = energy_distance(x, y, wx=(counts / counts.sum()).expand(3, -1))
    torch.testing.assert_close(repeated, weighted)
    torch.testing.assert_close(
        weighted[1:2], energy_distance(x[1:2], y[1:2], wx=(counts / counts.sum())[None])
    )


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(B, n, d\)"):
        energy_distance(torch.randn(4, 2), torch.randn(4, 2))
