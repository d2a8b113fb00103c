"""Few sampling steps against the textbook's four hundred."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from anndata import AnnData

from scgde import distances

from . import naive_gde
from ._synthetic_common import HELD_OUT, cells_of, fit, normals


def sample_fast(seed: int, budget: int, n_cells: int = 1_000) -> list[dict]:
    """Time and energy distance to held-out cells, of our samplers and the textbook's DDPM.

    The distance is unbiased, zero on average for cells of the same population.
    """
    train, test = normals(5_000, 256, seed), normals(20, 2_000, HELD_OUT)
    cells = cells_of(test)
    embedded, held_out = cells[:, :1_000], cells[:, 1_000:]
    rows = []

    def score(name: str, calls: int, sample: Callable[[], torch.Tensor]) -> None:
        start = time.perf_counter()
        x = sample()
        seconds = time.perf_counter() - start
        error = distances.energy_distance(x, held_out, unbiased=True).mean().item()
        row = {"sampler": name, "calls": calls, "seed": seed, "budget": budget}
        rows.append({**row, "sample_s": seconds, "energy_distance": error})

    naive = _train_naive(train, budget, seed)
    with torch.inference_mode():
        z = naive.encode(embedded)
        score("naive ddpm", 400, lambda: naive.decode(z, n_cells))
    half = test[np.tile(np.arange(2_000) < 1_000, 20)].copy()
    for generator, options in (
        ("flow_matching", {"n_steps": 5, "method": "midpoint"}),
        ("flow_matching", {"n_steps": 10, "method": "euler"}),
        ("ddpm", {"n_steps": 10, "method": "dpm"}),
    ):
        if not rows or rows[-1]["sampler"].split()[0] != generator:
            model = fit(train, generator=generator, budget=budget, seed=seed)
            z = torch.from_numpy(model.get_population_embedding(half).to_numpy())
        name = " ".join([generator, options["method"]])
        g = torch.Generator().manual_seed(0)
        score(
            name,
            10,
            lambda m=model, z=z, o=options, g=g: m.module.sample(z, n_cells, generator=g, **o),
        )
    for row in rows:
        row["speedup"] = rows[0]["sample_s"] / row["sample_s"]
    return rows


class _Naive(torch.nn.Module):
    """The textbook's encoder and DDPM on standardised features, trained as ours is."""

    def __init__(self, mean: torch.Tensor, scale: torch.Tensor):
        super().__init__()
        self.mean, self.scale = mean, scale
        self.encoder = naive_gde.NaiveResNetGnnEncoder(len(mean), 32, 128)
        self.generator = naive_gde.NaiveDdpm(len(mean), 32, 128)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder((x - self.mean) / self.scale)

    def decode(self, z: torch.Tensor, n_cells: int) -> torch.Tensor:
        return self.generator.sample(z, n_cells, len(self.mean)) * self.scale + self.mean


def _train_naive(adata: AnnData, budget: int, seed: int) -> _Naive:
    torch.manual_seed(seed)
    x = cells_of(adata)
    naive = _Naive(x.mean((0, 1)), x.std((0, 1)))
    optimizer = torch.optim.AdamW(naive.parameters(), 1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, budget + 1, pct_start=0.1)
    for _ in range(budget):
        batch = x[torch.randint(len(x), (64,))][:, torch.randperm(x.shape[1])[:128]]
        context, target = ((half - naive.mean) / naive.scale for half in batch.split(64, 1))
        optimizer.zero_grad()
        naive.generator.loss(target, naive.encoder(context)).backward()
        torch.nn.utils.clip_grad_norm_(naive.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return naive.eval()


def sampler(options) -> Iterable[tuple]:
    """Ten network calls against the textbook's four hundred, in one process."""
    for seed in range(options.seeds):
        yield sample_fast, (seed, options.budget)
