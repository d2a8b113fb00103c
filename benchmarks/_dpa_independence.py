"""Whether latents beyond a manifold's dimension are functions of the others: ``independence``.

A DPA with as many latents as coordinates is trained on each manifold; the latents after the first
k, its dimension, are judged on cells that it has not seen: a second draw of the manifold (of the
grid, which has no second draw, the same points). A noisy line has dimension 2: given the first
latent, the second must not be extraneous. ``crt_p_value`` is of the conditional randomisation test.
"""

from __future__ import annotations

import pandas as pd
import torch

from scgde.datasets import manifold
from scgde.metrics import conditional_randomization_test, extraneous_latents
from scgde.train import fit_dpa

# Name, noise, latents that should be enough, and what was measured before: R2, drop, nats.
CASES = {
    "line": ("line", 0.0, 1, (0.9997, 0.0, -6.26)),
    "parabola": ("parabola", 0.0, 1, (1.0, 0.0, -6.38)),
    "exponential": ("exponential", 0.0, 1, None),
    "cosine": ("cosine", 0.0, 1, None),
    "grid": ("grid", 0.0, 2, (0.990, 0.011, -1.81)),
    "S-curve": ("s_curve", 0.0, 2, None),
    "Swiss roll": ("swiss_roll", 0.0, 2, None),
    "line, noise 0.1": ("line", 0.1, 1, (0.0, 1.0, None)),
}

# A start may end in a fold; the loss on training cells tells, so the best of three is taken.
OPTIONS = {
    "n_hidden": 64,
    "n_noise": 16,
    "batch_size": 256,
    "lr": 3e-3,
    "n_starts": 3,
    "enable_progress_bar": False,
}


def independence(n_seeds: int = 2, n_steps: int = 4_000) -> pd.DataFrame:
    """Return a row for each manifold, seed and metric."""
    cases = {}
    for case, (name, noise, *_) in CASES.items():
        cases[case] = [manifold(name, noise=noise, seed=seed).X for seed in (0, 1)]
    rows = []
    # Manifolds of one ambient dimension are members of one ensemble.
    for d in (2, 3):
        own = [case for case, (x, _) in cases.items() if x.shape[1] == d]
        members = [case for case in own for _ in range(n_seeds)]
        module = fit_dpa(
            [cases[case][0] for case in members],
            n_latent=d,
            n_steps=n_steps,
            **OPTIONS,
        ).module.cpu()
        for member, case in enumerate(members):
            _, _, k, known = CASES[case]
            x = torch.from_numpy(cases[case][1])
            with torch.no_grad():
                z = module.encode(x.expand(len(members), -1, -1))[member].numpy()
            found = extraneous_latents(z, k)
            found.loc["crt_p_value", "estimate"] = conditional_randomization_test(
                cases[case][1], z[:, k:], z[:, :k], seed=member
            ).p_value
            found = found.reset_index()
            found.insert(0, "seed", member % n_seeds)
            found.insert(0, "k", k)
            found.insert(0, "manifold", case)
            rows.append(found.assign(measured_before=[*(known or [None] * 3), None]))
    return pd.concat(rows, ignore_index=True)
