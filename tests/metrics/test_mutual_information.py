from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma

from scgde.metrics import mutual_information
from scgde.metrics._ksg import KSG


def gaussian_pairs(n, p, bits, seed=0, spread=True):
    """Pairs of normals with a mutual information known in closed form."""
    rng = np.random.default_rng(seed)
    share = np.full(p, bits / p) if spread else np.eye(p)[0] * bits
    r = np.sqrt(1 - 4**-share)
    x, noise = rng.normal(size=(2, n, p))
    return x, r * x + np.sqrt(1 - r**2) * noise


def anisotropic(p, condition, seed=0):
    left, _, right = np.linalg.svd(np.random.default_rng(seed).normal(size=(p, p)))
    return left * np.geomspace(1, condition, p) @ right


def ksg_by_definition(x, y, k):
    """Equation 8, point by point."""
    n = len(x)
    values = []
    for i in range(n):
        dx, dy = (np.linalg.norm(np.delete(side, i, 0) - side[i], axis=1) for side in (x, y))
        radius = np.sort(np.maximum(dx, dy))[k - 1]
        counts = (dx < radius).sum(), (dy < radius).sum()
        values.append(digamma(k) + digamma(n) - sum(digamma(c + 1) for c in counts))
    return np.array(values) / np.log(2)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ksg_is_its_definition(k):
    x, y = gaussian_pairs(80, 3, 1.0)
    result = mutual_information(x, y, k=k, normalize=None)
    np.testing.assert_allclose(result.pointwise, ksg_by_definition(x, y, k), atol=1e-6)
    assert result.bits == pytest.approx(result.pointwise.mean())


@pytest.mark.parametrize("p", [1, 20])
def test_shuffles_need_no_new_distances(p):
    x, y = gaussian_pairs(400, p, 2.0)
    order = np.random.default_rng(1).permutation(400)
    expected = KSG(x, y[order], 3).pointwise()
    np.testing.assert_array_equal(KSG(x, y, 3).pointwise(order), expected)


def test_published_protocol_depends_on_units_and_whitening_does_not():
    x, y = gaussian_pairs(1188, 64, 4.42)
    for other in (100 * x, x @ anisotropic(64, 1e4)):
        raw, white = (
            [mutual_information(a, y, normalize=n, interval=None).bits for a in (x, other)]
            for n in (None, "whiten")
        )
        assert abs(raw[1] - raw[0]) > 0.3 * abs(raw[0])
        assert white[1] == pytest.approx(white[0], rel=1e-3)


def test_names_of_rows_must_agree():
    x, y = (pd.DataFrame(side) for side in gaussian_pairs(50, 2, 1.0))
    with pytest.raises(ValueError, match=r"Pass y\.loc\[x\.index\]"):
        mutual_information(x, y[::-1])
    assert mutual_information(x[::-1], y[::-1]).n == 50
