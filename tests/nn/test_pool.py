from __future__ import annotations

import numpy as np
import pytest
import torch

from scgde.nn import weighted_median


@pytest.mark.parametrize("m", [1, 2, 7, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_weights_give_numpy_s_median(m, dtype):
    h = torch.randn(3, m, 4).to(dtype)
    ours = weighted_median(h, torch.full((3, m), 1 / m))
    np.testing.assert_allclose(ours.float(), np.median(h.float(), axis=1), rtol=1e-2, atol=1e-6)


def test_weights_are_repetition():
    h, counts = torch.randn(2, 6, 3), torch.tensor([1, 4, 2, 1, 3, 1])
    repeated = h.repeat_interleave(counts, 1)
    torch.testing.assert_close(
        weighted_median(h, (counts / 12).expand(2, -1)),
        weighted_median(repeated, torch.full((2, 12), 1 / 12)),
    )
