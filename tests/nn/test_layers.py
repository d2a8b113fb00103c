from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
import torch
from anndata import AnnData

from scgde.data import SparseCells
from scgde.nn import CellLinear, MeanPooledBlock, Standardize, clip, log_normalize, moments

from ..conftest import sparse_counts


def test_sparse_product_and_its_gradient_equal_the_dense():
    layer = CellLinear(40, 6)
    x = SparseCells.from_scipy(sparse_counts(), 4)
    grads = []
    for cells in (x, x.to_dense()):
        layer.zero_grad()
        layer(cells).square().sum().backward()
        grads.append([p.grad.clone() for p in layer.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_pooled_vector_added_equals_concatenated():
    block = MeanPooledBlock(8)
    h, pooled = torch.randn(2, 5, 8), torch.randn(2, 8)
    joint = torch.cat([h, pooled[:, None].expand(-1, 5, -1)], -1)
    weight = torch.cat([block.cell.weight, block.pool.weight], 1)
    by_concatenation = torch.nn.functional.linear(joint, weight, block.cell.bias)
    torch.testing.assert_close(by_concatenation, block.cell(h) + block.pool(pooled)[:, None])


@pytest.mark.parametrize("sparse", [True, False])
def test_log_normalize_is_scanpy_s(sparse):
    x = sparse_counts()
    adata = AnnData(x.copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    cells = SparseCells.from_scipy(x, 4) if sparse else torch.from_numpy(x.toarray())[None]
    got = log_normalize(cells)
    got = got.to_dense() if sparse else got
    np.testing.assert_allclose(got.reshape(64, -1), adata.X.toarray(), rtol=1e-5)


@pytest.mark.parametrize("sparse", [True, False])
def test_moments_over_chunks_are_numpy_s(sparse):
    x = sparse_counts().toarray() + 1e4  # a large mean, where naive sums of squares fail
    blocks = (sp.csr_matrix(x[i : i + 10]) if sparse else x[i : i + 10] for i in range(0, 64, 10))
    mean, var = moments(blocks)
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(var, x.astype(np.float64).var(0), rtol=1e-4, atol=1e-6)


def test_standardize_dense_centres_and_sparse_stays_sparse():
    x = sparse_counts()
    dense, sparse = Standardize(40), Standardize(40)
    dense.fit([x.toarray()])
    sparse.fit([x])
    z = dense(torch.from_numpy(x.toarray()))
    varies = x.toarray().std(0) > 0
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0, correction=0)[varies], 1, rtol=1e-4)
    scaled = sparse(SparseCells.from_scipy(x, 1))
    assert isinstance(scaled, SparseCells)
    torch.testing.assert_close(scaled.to_dense()[0], torch.from_numpy(x.toarray()) / dense.scale)
    torch.testing.assert_close(
        dense.inverse(z), torch.from_numpy(x.toarray()), atol=1e-4, rtol=1e-4
    )


def test_sparse_features_far_from_zero_keep_their_values():
    """A feature whose mean is many standard deviations: clipped about its mean, not about zero."""
    rng = np.random.default_rng(0)
    cells = rng.normal(5, 0.1, (200, 3)).astype(np.float32)
    cells[:, 1] *= rng.random(200) < 0.5
    sparse = sp.csr_matrix(cells)
    standardize = Standardize(3)
    standardize.fit([sparse])
    seen = clip(standardize(SparseCells.from_scipy(sparse, 2)), standardize.middle).to_dense()
    np.testing.assert_allclose(seen.reshape(200, 3) * standardize.scale, cells, rtol=1e-5)
    outlier = sp.csr_matrix(np.float32([[500.0, 0, 5.0]]))
    seen = clip(standardize(SparseCells.from_scipy(outlier, 1)), standardize.middle).to_dense()
    assert seen[0, 0, 0] == pytest.approx(standardize.middle[0].item() + 10)
