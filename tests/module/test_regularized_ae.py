from __future__ import annotations

import numpy as np
import pytest
import torch

from scgde.module import RegularizedAEModule

COVARIANCE = np.array([[1.0, 0.4, 0.0], [0.4, 0.5, 0.1], [0.0, 0.1, 2.0]])
MEAN = np.array([3.0, -1.0, 0.0])


def normal_cells(n=4_000, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(MEAN, COVARIANCE, n).astype(np.float32)


def trained(module, x, n_steps=250) -> RegularizedAEModule:
    torch.manual_seed(0)
    module.initialize(x)
    # Without its head start the network must find the score by the objective alone.
    module.precision.zero_()
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    cells = torch.from_numpy(x)
    for _ in range(n_steps):
        optimizer.zero_grad()
        module.loss({"x": cells[torch.randint(len(x), (1, 200))]}).loss.backward()
        optimizer.step()
        schedule.step()
    return module


@pytest.mark.parametrize("regularization", ["denoising", "contractive"])
def test_the_optimum_on_a_normal_distribution_is_known(regularization):
    """Both objectives are least, among linear maps, at the score of N(mean, C + s^2 I)."""
    x = normal_cells()
    torch.manual_seed(0)
    module = trained(RegularizedAEModule(3, 32, 1, 0.4, regularization), x)
    test = torch.from_numpy(normal_cells(500, seed=1))
    s = module.sigma * module.scale.item()
    truth = (MEAN - test.numpy()) @ np.linalg.inv(COVARIANCE + s**2 * np.eye(3))
    found = module.score(test).detach().numpy()
    assert np.square(found - truth).mean() < 0.02 * np.square(truth).mean()
    reconstructed = module.reconstruct(test).detach().numpy()
    np.testing.assert_allclose((reconstructed - test.numpy()) / s**2, found, atol=1e-4)


def test_hessian_is_the_derivative_of_the_score():
    torch.manual_seed(0)
    module = RegularizedAEModule(3, 16, 2, 0.4)
    module.initialize(normal_cells())
    torch.nn.init.normal_(module.network[-1].weight)
    module = module.double()
    x = torch.from_numpy(normal_cells(4)).double()
    for i in range(3):
        step = 1e-5 * torch.eye(3)[i].double()
        slope = (module.score(x + step) - module.score(x - step)) / 2e-5
        torch.testing.assert_close(module.hessian(x)[:, :, i], slope, rtol=1e-5, atol=1e-6)


def test_random_directions_give_the_frobenius_norm_on_average():
    d = 12  # more than are taken exactly
    torch.manual_seed(0)
    module = RegularizedAEModule(d, 16, 1, 0.5, "contractive").double()
    torch.nn.init.normal_(module.network[-1].weight)
    x = torch.randn(1, d, dtype=torch.float64)
    jacobian = torch.eye(d) + module.sigma**2 * module.hessian(x)[0]
    exact = jacobian.square().sum().item()
    drawn = module._squared_jacobian(x.repeat(4_000, 1)).detach()
    error = drawn.std().item() / len(drawn) ** 0.5
    assert drawn.mean().item() == pytest.approx(exact, abs=4 * error)
    assert error < 0.05 * exact


def test_units_do_not_matter():
    x = normal_cells(500)
    torch.manual_seed(0)
    module, other = RegularizedAEModule(3), RegularizedAEModule(3)
    other.load_state_dict(module.state_dict())
    module.initialize(x)
    other.initialize(10 * x + 5)
    torch.testing.assert_close(
        module.score(torch.from_numpy(x)),
        10 * other.score(torch.from_numpy(10 * x + 5)),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"sigma": float("inf")}, "finite"),
        ({"sigma": float("nan")}, "sigma=nan"),
        ({"regularization": "denoisng"}, "'denoising'"),
        ({"n_layers": 0}, "n_layers=0"),
    ],
)
def test_mistakes_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        RegularizedAEModule(3, **options)


def test_cells_that_do_not_vary_have_no_density():
    with pytest.raises(ValueError, match="varies"):
        RegularizedAEModule(3).initialize(np.ones((10, 3), dtype=np.float32))
