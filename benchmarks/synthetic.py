"""The synthetic results of the GDE paper, one command a table.

    python -m benchmarks.synthetic reconstruction --seeds 3
    python -m benchmarks.synthetic pairs --budget 200

All that is scored are populations that no training saw: the same ones for every method and seed, so
that methods compare in pairs, and a standard error is over trainings and training populations. The
protocols are those of arXiv 2505.18150, Secs. 5 and 6.1 and App. B.2; each command says where it
departs from them. ``--jobs`` runs are made at a time, one thread each. ``--only`` runs some
generators anew and takes the rest from the table that is there.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

import scgde
from scgde import datasets, distances
from scgde.encoders import ENCODERS, PooledEncoder
from scgde.generators import GENERATORS

from . import _synthetic_figures, naive_gde
from ._results import RESULTS, write

# Seed of populations to score; training populations have the seeds from 0.
HELD_OUT = 10_000


def fit(
    adata: AnnData,
    encoder: str = "resnet_gnn",
    generator: str = "flow_matching",
    *,
    budget: int,
    seed: int,
    sets: int = 64,
    cells: int = 64,
    plan_kwargs: dict | None = None,
    **kwargs: object,
) -> scgde.model.GDE:
    scgde.model.GDE.setup_anndata(adata, population_key="population")
    options = {"n_latent": 32, "n_hidden": 128, **kwargs}
    model = scgde.model.GDE(adata, encoder=encoder, generator=generator, seed=seed, **options)
    model.train(
        max_steps=budget,
        populations_per_batch=sets,
        cells_per_population=cells,
        train_size=1.0,
        enable_progress_bar=False,
        accelerator="cpu",
        plan_kwargs=plan_kwargs,
    )
    return model


def drawn(model: scgde.model.GDE, adata: AnnData, n_cells: int, **options) -> torch.Tensor:
    """Return cells resampled from the embeddings of all populations, ``(B, n_cells, d)``."""
    z = torch.from_numpy(model.get_population_embedding(adata).to_numpy())
    generator = torch.Generator().manual_seed(0)
    parts = [
        model.module.sample(part, n_cells, generator=generator, **options) for part in z.split(10)
    ]
    return torch.cat(parts)


def cells_of(adata: AnnData) -> torch.Tensor:
    """Return the cells of populations of equal size, ``(B, n_cells, d)``."""
    n_populations = adata.obs["population"].cat.categories.size
    return torch.from_numpy(np.asarray(adata.X)).view(n_populations, -1, adata.n_vars)


def normal_errors(cells: torch.Tensor, truth: dict) -> tuple[float, float]:
    """Return true W2 and the published form, of drawn cells' moments to the true ones."""
    cells = cells.double()
    centred = cells - cells.mean(1, keepdim=True)
    moments = cells.mean(1), centred.mT @ centred / (cells.shape[1] - 1)
    true = torch.from_numpy(truth["mean"]), torch.from_numpy(truth["covariance"])
    forms = distances.gaussian_wasserstein, distances.published_gaussian_wasserstein
    return tuple(form(*moments, *true).mean().item() for form in forms)


# ---- reconstruction and pairs: Tables 2, 5 and 6


def normals(n_populations: int, n_cells: int, seed: int) -> AnnData:
    return datasets.multivariate_normal_populations(n_populations, n_cells, seed=seed)


def reconstruct(
    encoder: str,
    generator: str,
    seed: int,
    budget: int,
    sets: int = 64,
    n_hidden: int = 128,
    n_train: int = 5_000,
    n_held_out: int = 100,
) -> dict:
    """Train on 5-d normals; score what comes back of held-out ones of 1,000 cells.

    ``floor`` is the score of these 1,000 cells themselves: what any method can reach.
    """
    train, test = normals(n_train, 256, seed), normals(n_held_out, 1_000, HELD_OUT)
    start = time.perf_counter()
    model = fit(train, encoder, generator, budget=budget, seed=seed, sets=sets, n_hidden=n_hidden)
    seconds = time.perf_counter() - start
    w2, published = normal_errors(drawn(model, test, 1_000), test.uns["truth"])
    floor = normal_errors(cells_of(test), test.uns["truth"])
    model.release()
    return {
        "encoder": encoder,
        "generator": generator,
        "seed": seed,
        "budget": budget,
        "w2": w2,
        "published_form": published,
        "floor_w2": floor[0],
        "floor_published_form": floor[1],
        "train_s": seconds,
    }


def reconstruction(options) -> Iterable[tuple]:
    """5-d normals, inverse-Wishart covariances, means U[0, 5]; 64 x 64 cells a step."""
    rows = [
        ("resnet_gnn", "flow_matching"),
        ("kernel_mean", "ddpm"),
        ("kernel_mean", "flow_matching"),
        ("wormhole", "wormhole"),
    ]
    for seed in range(options.seeds):
        for encoder, generator in rows[: -1 if seed else None]:  # Wormhole, the slowest, once
            yield reconstruct, (encoder, generator, seed, options.budget)


def pairs(options) -> Iterable[tuple]:
    """Every encoder with every generator, 32 x 64 cells a step, width 64; 30 populations scored."""
    for seed in range(options.seeds):
        for generator in GENERATORS.names():
            for encoder in ENCODERS.names():
                yield reconstruct, (encoder, generator, seed, options.budget, 32, 64, 2_000, 30)


# ---- mixtures: the other columns of Table 2

MIXTURES = {
    "gmm_5d": (datasets.gaussian_mixture_populations, {}, {}),
    "digits": (datasets.digit_populations, {"images": "train"}, {"images": "test"}),
}


def remix(family: str, encoder: str, generator: str, seed: int, budget: int) -> dict:
    """Exact W2 of drawn cells to cells of the same held-out population that were not embedded.

    Digits are scored on images that no training set contained, and that were not embedded: these
    are the images of even number. ``floor`` is the score of the embedded cells themselves.
    """
    make, of_training, of_test = MIXTURES[family]
    train, test = (
        make(5_000, 256, seed=seed, **of_training),
        make(30, 1_000, seed=HELD_OUT, **of_test),
    )
    start = time.perf_counter()
    model = fit(train, encoder, generator, budget=budget, seed=seed, sets=32)
    seconds = time.perf_counter() - start
    # Of digits, other images; of normals, other cells.
    number = test.obs["image"].to_numpy() if "image" in test.obs else np.arange(test.n_obs)
    halves = []
    for parity in (0, 1):
        rows = pd.Series(np.flatnonzero(number % 2 == parity))
        of = test.obs["population"].cat.codes.to_numpy()[rows]
        halves.append(test[rows.groupby(of).head(350).to_numpy()].copy())
    embedded, other = halves[1], cells_of(halves[0])
    w2 = distances.wasserstein(drawn(model, embedded, 350), other).mean().item()
    floor = distances.wasserstein(cells_of(embedded), other).mean().item()
    model.release()
    return {
        "family": family,
        "encoder": encoder,
        "generator": generator,
        "seed": seed,
        "budget": budget,
        "w2": w2,
        "floor": floor,
        "train_s": seconds,
    }


def mixtures(options) -> Iterable[tuple]:
    """Mixtures of 5-d normals and of digit images; 32 x 64 cells a step."""
    for seed in range(options.seeds):
        for family in MIXTURES:
            for pair in (
                ("resnet_gnn", "flow_matching"),
                ("kernel_mean", "ddpm"),
                ("wormhole", "wormhole"),
            ):
                yield remix, (family, *pair, seed, options.budget)


# ---- poisson: Table 1


def estimate_zero(n: int, seed: int, budget: int, n_rates: int = 500, n_draws: int = 100_000):
    """Squared errors of three estimators of P(X = 0) from n draws of Poisson(rate), rate U[0, 10].

    The published protocol draws 10^6 cells from each embedding, here 10^5: that adds at most
    2.5e-6 to the squared error.
    """
    train = datasets.poisson_populations(5_000, 2 * max(n, 32), n_features=1, seed=seed)
    start = time.perf_counter()
    model = fit(
        train,
        "gnn",
        "cvae",
        budget=budget,
        seed=seed,
        sets=max(64, 1_600 // n),
        cells=n,
        n_latent=8,
        n_hidden=64,
        generator_kwargs={"likelihood": "poisson", "size": "free", "n_cell_latent": 1},
        plan_kwargs={"lr": 3e-3},
    )
    seconds = time.perf_counter() - start
    test = datasets.poisson_populations(n_rates, n, n_features=1, seed=HELD_OUT + seed)
    rate, x = test.uns["truth"]["rate"][:, 0], cells_of(test)[..., 0].numpy()
    zero = np.concatenate(
        [
            (drawn(model, part, n_draws)[..., 0] == 0).double().mean(1).numpy()
            for part in _portions(test, 10)
        ]
    )
    model.release()
    truth, total = np.exp(-rate), x.sum(1)
    estimates = {
        "naive": (x == 0).mean(1),
        "rao_blackwell": (1 - 1 / n) ** total,
        "gde": zero,
        # The posterior mean under a flat prior: next to nothing can beat it on average.
        "bayes": (n / (n + 1)) ** (total + 1),
    }
    error = {name: (value - truth) ** 2 for name, value in estimates.items()}
    gain = error["rao_blackwell"] - error["gde"]
    rows = {f"mse_{name}": value.mean() for name, value in error.items()}
    rows |= {f"se_{name}": value.std() / n_rates**0.5 for name, value in error.items()}
    return {
        "n": n,
        "seed": seed,
        "budget": budget,
        "n_rates": n_rates,
        **rows,
        "gain": gain.mean(),
        "gain_se": gain.std() / n_rates**0.5,
        "train_s": seconds,
    }


def _portions(adata: AnnData, n: int) -> Iterable[AnnData]:
    for rows in np.array_split(np.arange(adata.obs["population"].cat.categories.size), n):
        part = adata[adata.obs["population"].cat.codes.isin(rows)].copy()
        part.obs["population"] = part.obs["population"].cat.remove_unused_categories()
        yield part


def poisson(options) -> Iterable[tuple]:
    """P(X = 0) of Poisson variables from n draws.

    The published table goes on to n = 1,000 and 10,000, where GDE no longer wins; not run here.
    """
    for seed in range(options.seeds):
        for n in (10, 100):
            yield estimate_zero, (n, seed, options.budget)


# ---- geometry and prior: Sec. 5, Figs. 3 and 11


def _mixture_distances(truth: dict) -> np.ndarray:
    parts = [torch.from_numpy(truth[k]) for k in ("weight", "mean", "covariance")]
    return _pairwise(
        lambda i, j: distances.mixture_wasserstein(*(p[i] for p in parts), *(p[j] for p in parts)),
        len(parts[0]),
    )


def _normal_distances(truth: dict) -> np.ndarray:
    mean, cov = (torch.from_numpy(truth[k]) for k in ("mean", "covariance"))
    return _pairwise(
        lambda i, j: distances.gaussian_wasserstein(mean[i], cov[i], mean[j], cov[j]), len(mean)
    )


def _multinomial_distances(truth: dict, n_trials: int = 20) -> np.ndarray:
    """Exact W2 between multinomials, as measures on all outcomes of the trials."""
    from scipy.stats import multinomial

    a, b = np.meshgrid(np.arange(n_trials + 1), np.arange(n_trials + 1))
    outcomes = np.stack([a, b, n_trials - a - b], -1).reshape(-1, 3)
    outcomes = outcomes[outcomes[:, 2] >= 0]
    mass = np.stack([multinomial(n_trials, p).pmf(outcomes) for p in truth["probability"]])
    mass = torch.from_numpy(mass / mass.sum(1, keepdims=True))
    x = torch.from_numpy(outcomes).double()[None]
    return _pairwise(
        lambda i, j: torch.cat(
            [
                distances.wasserstein(x, x, mass[a : a + 1], mass[b : b + 1])
                for a, b in zip(i, j, strict=True)
            ]
        ),
        len(mass),
    )


def _pairwise(distance: Callable, n: int) -> np.ndarray:
    i, j = np.triu_indices(n, 1)
    matrix = np.zeros((n, n))
    matrix[i, j] = matrix[j, i] = distance(i, j).numpy()
    return matrix


FAMILIES = {
    "normal_2d": (datasets.multivariate_normal_populations, {"n_features": 2}, _normal_distances),
    "gmm_2d": (datasets.gaussian_mixture_populations, {"n_features": 2}, _mixture_distances),
    "multinomial": (datasets.multinomial_populations, {}, _multinomial_distances),
}


def correlate(family: str, encoder: str, seed: int, budget: int, n_held_out: int = 60) -> dict:
    """Rank correlation of latent and transport distance over held-out populations."""
    make, options, true_distances = FAMILIES[family]
    train = make(5_000, 256, seed=seed, **options)
    start = time.perf_counter()
    generator = "wormhole" if encoder == "wormhole" else "flow_matching"
    model = fit(train, encoder, generator, budget=budget, seed=seed, sets=32, n_latent=16)
    seconds = time.perf_counter() - start
    test = make(n_held_out, 1_000, seed=HELD_OUT, **options)
    names = test.obs["population"].cat.categories
    known = pd.DataFrame(true_distances(test.uns["truth"]), index=names, columns=names)
    score = scgde.tl.wasserstein_geometry(
        test, model, list(names), transport=known, enable_progress_bar=False
    )
    model.release()
    return {
        "family": family,
        "encoder": encoder,
        "generator": generator,
        "seed": seed,
        "budget": budget,
        **score.loc["spearman"].rename({"estimate": "spearman"}).to_dict(),
        "train_s": seconds,
    }


def geometry(options) -> Iterable[tuple]:
    """Spearman of latent L2 and W2 on 60 held-out populations (known parameters)."""
    for seed in range(options.seeds):
        for family in FAMILIES:
            for encoder in ("resnet_gnn", "kernel_mean", "wormhole")[: 2 if seed else None]:
                yield correlate, (family, encoder, seed, options.budget)


def correlate_prior(log_alpha: int, seed: int, budget: int) -> dict:
    """Train where the first category's Dirichlet parameter is 2^log_alpha; score on a flat one."""
    train = datasets.multinomial_populations(
        2_000, 256, concentration=(2.0**log_alpha, 1.0, 1.0), seed=seed
    )
    model = fit(train, budget=budget, seed=seed, sets=32, n_latent=16)
    test = datasets.multinomial_populations(60, 1_000, seed=HELD_OUT)
    names = test.obs["population"].cat.categories
    known = pd.DataFrame(_multinomial_distances(test.uns["truth"]), index=names, columns=names)
    score = scgde.tl.wasserstein_geometry(
        test, model, list(names), transport=known, enable_progress_bar=False
    )
    model.release()
    spearman = score.loc["spearman", "estimate"]
    return {"log2_alpha": log_alpha, "seed": seed, "budget": budget, "spearman": spearman}


def prior(options) -> Iterable[tuple]:
    """How the geometry depends on which populations were trained on (Fig. 11)."""
    for seed in range(options.seeds):
        for log_alpha in (-5, -3, -1, 0, 1, 3, 5):
            yield correlate_prior, (log_alpha, seed, options.budget)


# ---- clt: Fig. 2


def concentrate(encoder: str, seed: int, budget: int) -> dict:
    """Spread of embeddings of m cells of one population about their mean, over m."""
    train, test = normals(1_000, 256, seed), normals(10, 40_000, HELD_OUT)
    model = fit(train, encoder, budget=budget, seed=seed, sets=32)
    x, sizes, spread = cells_of(test), [16, 32, 64, 128, 256, 512, 1_024, 2_048], []
    with torch.inference_mode():
        for m in sizes:
            sets = x[:, : (x.shape[1] // m) * m].reshape(len(x), -1, m, x.shape[-1])[:, :128]
            w = torch.full(sets.shape[1:3], 1 / m)
            z = torch.stack([model.module.encode(s, w) for s in sets])
            spread.append(z.var(1).sum(-1).mean().sqrt().item())
    model.release()
    slope = np.polyfit(np.log(sizes), np.log(spread), 1)[0]
    spreads = {f"spread_{m}": s for m, s in zip(sizes, spread, strict=True)}
    return {"encoder": encoder, "seed": seed, "budget": budget, "slope": slope, **spreads}


def clt(options) -> Iterable[tuple]:
    """Embeddings concentrate as 1 / sqrt(m): log-log slopes for every mean-pooled encoder."""
    for seed in range(options.seeds):
        for name in ENCODERS.names():
            if issubclass(ENCODERS.get(name), PooledEncoder) and ENCODERS.get(name).streams:
                yield concentrate, (name, seed, options.budget)


# ---- interpolation: Fig. 4


def interpolate(family: str, encoder: str, seed: int, budget: int) -> dict:
    """W2 of decoded straight lines to the geodesic, in units of its length."""
    make, options, _ = FAMILIES[family]
    model = fit(make(5_000, 256, seed=seed, **options), encoder, budget=budget, seed=seed, sets=32)
    test = make(40, 500, seed=HELD_OUT, **options)
    scores = scgde.tl.wasserstein_geometry(
        test,
        model,
        list(test.obs["population"].cat.categories),  # other populations, of the same names
        n_paths=20,
        enable_progress_bar=False,
    )
    model.release()
    return {
        "family": family,
        "encoder": encoder,
        "seed": seed,
        "budget": budget,
        **scores["estimate"].drop("spearman").to_dict(),
    }


def interpolation(options) -> Iterable[tuple]:
    """Latent lines between held-out populations, decoded, against displacement interpolation."""
    for seed in range(options.seeds):
        for family in ("normal_2d", "gmm_2d"):
            for encoder in ("resnet_gnn", "kernel_mean"):
                yield interpolate, (family, encoder, seed, options.budget)


# ---- sampler: few steps against the textbook's 400


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


# ---- running and writing

TABLES = {
    # command: (its own default budget, what groups rows, what is averaged)
    "poisson": (poisson, 4_000, ["n"]),
    "reconstruction": (reconstruction, 2_000, ["encoder", "generator"]),
    "pairs": (pairs, 200, ["encoder", "generator"]),
    "mixtures": (mixtures, 400, ["family", "encoder", "generator"]),
    "geometry": (geometry, 400, ["family", "encoder", "generator"]),
    "prior": (prior, 200, ["log2_alpha"]),
    "clt": (clt, 200, ["encoder"]),
    "interpolation": (interpolation, 400, ["family", "encoder"]),
    "sampler": (sampler, 600, ["sampler", "calls"]),
}


def summary(runs: pd.DataFrame, groups: list[str]) -> pd.DataFrame:
    """Return mean and standard error over seeds of every measured column."""
    measured = [c for c in runs if c not in (*groups, "seed", "budget", "n_rates")]
    grouped = runs.groupby(groups, sort=False)[measured]
    table = grouped.mean().join(grouped.sem().add_suffix("_sem"))
    ordered = [c for m in measured for c in (m, f"{m}_sem")]
    table = table[ordered].assign(n_seeds=runs.groupby(groups, sort=False).size())
    return table.assign(budget=runs["budget"].iloc[0]).reset_index()


def run(task: Callable, arguments: tuple, n_threads: int) -> list[dict]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(n_threads)
    result = task(*arguments)
    return result if isinstance(result, list) else [result]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--budget", type=int, help="training steps of every run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", nargs="*", choices=GENERATORS.names(), help="of pairs")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    options = parser.parse_args()
    make, budget, groups = TABLES[options.table]
    options.budget = options.budget or budget
    tasks, rows, started = list(make(options)), [], time.perf_counter()
    name, kept = f"synthetic_{options.table}", pd.DataFrame()
    if options.only:
        tasks = [(task, args) for task, args in tasks if args[1] in options.only]
        kept = pd.read_csv(RESULTS / f"{name}_runs.csv", comment="#")
        kept = kept[~kept["generator"].isin(options.only)]
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run, task, args, options.threads) for task, args in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            rows += future.result()
            print(f"{done}/{len(tasks)}", {k: _short(v) for k, v in rows[-1].items()}, flush=True)
    runs = pd.concat([kept, pd.DataFrame(rows)]).sort_values([*groups, "seed"], ignore_index=True)
    table, seconds = summary(runs, groups), time.perf_counter() - started
    write(runs.round(6), f"{name}_runs", seconds)
    write(table.round(6), name, seconds)
    _synthetic_figures.draw(options.table, table, runs)
    with pd.option_context("display.width", 250, "display.max_columns", 50):
        print(table.round(4).to_string(index=False))


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
