"""Do estimators of mutual information find the truth, and do their intervals cover it?

    python -m benchmarks.mutual_information --seeds 20 --seed 0       # about 15 minutes on one core
    python -m benchmarks.mutual_information --only null               # the level of the p-values

Pairs are jointly normal, so the truth is known: n = 1,000, as many coordinates on either side, the
information spread equally over them ("equal") or all in one canonical pair ("one pair"), and the
coordinates of each side rotated. Two relations are not linear ("cube": y = x^3 / 2 + noise in one
pair; "abs": y = |x| + noise); their truth is integrated. Bias and RMSE in bits, coverage of 95 %
intervals with its own (Wilson) interval. Slow estimators get fewer seeds: the column tells.

``mutual_information_invariance``: n = 1,188 in 64 + 64 coordinates, 4.42 bits; one side as it is,
times 100, and under an invertible map of condition 10^4. ``mutual_information_null``: the share of
p-values up to 0.05 of independent sides, n = 100.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from scgde.metrics import mutual_information, retrieval_auc

from ._results import write

N, DIMS, BITS = 1_000, (2, 4, 8, 16, 32, 64), (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
NOISE = 0.3
CURVES = {"cube": lambda x: x**3 / 2, "abs": np.abs}
# Method, normalisation, share of the seeds.
ESTIMATORS = [
    ("ksg", None, 1.0),
    ("ksg", "rank", 1.0),
    ("ksg", "whiten", 1.0),
    ("latent", "whiten", 0.5),
    ("infonce", "whiten", 0.2),
    ("gaussian", "whiten", 1.0),
]


def normal_pairs(design: str, p: int, bits: float, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    share = np.full(p, bits / p) if design == "equal" else np.eye(p)[0] * bits
    r = np.sqrt(1 - 4**-share)
    x, noise = rng.normal(size=(2, n, p))
    return rotated(x, rng), rotated(r * x + np.sqrt(1 - r**2) * noise, rng)


def curved_pairs(curve: str, p: int, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    x, y = rng.normal(size=(2, n, p))
    y[:, 0] = CURVES[curve](x[:, 0]) + NOISE * rng.normal(size=n)
    return rotated(x, rng), rotated(y, rng)


def rotated(x: np.ndarray, rng) -> np.ndarray:
    return x @ stats.ortho_group.rvs(x.shape[1], random_state=rng)


def curve_bits(curve: str) -> float:
    """Return I(X; Y) = h(Y) - h(Y | X) in bits, by the density of Y on a grid."""
    x = np.linspace(-6, 6, 6_001)
    center = CURVES[curve](x)
    y = np.linspace(center.min() - 6 * NOISE, center.max() + 6 * NOISE, 6_001)
    weight = stats.norm.pdf(x) * (x[1] - x[0])
    density = np.array([weight @ stats.norm.pdf(at, center, NOISE) for at in y])
    entropy = -np.trapezoid(density * np.log2(np.maximum(density, 1e-300)), y)
    return entropy - 0.5 * np.log2(2 * np.pi * np.e * NOISE**2)


def wilson(hits: int, n: int) -> tuple[float, float]:
    interval = stats.binomtest(int(hits), int(n)).proportion_ci(method="wilson")
    return interval.low, interval.high


def cases():
    for p in DIMS:
        for bits in BITS:
            for design in ("equal", "one pair") if bits else ("equal",):
                yield design, p, bits, partial(normal_pairs, design, p, bits, N)
    for curve in CURVES:
        for p in (2, 8, 32):
            yield curve, p, curve_bits(curve), partial(curved_pairs, curve, p, N)


def truth_table(seeds: int, seed: int) -> pd.DataFrame:
    rows = []
    for number, (design, p, bits, draw) in enumerate(cases()):
        for method, normalize, share in ESTIMATORS:
            results, start = [], time.perf_counter()
            for repeat in range(max(2, round(share * seeds))):
                x, y = draw(np.random.default_rng([seed, number, repeat]))
                results.append(
                    mutual_information(x, y, method=method, normalize=normalize, seed=repeat)
                )
            seconds = (time.perf_counter() - start) / len(results)
            error = np.array([r.bits for r in results]) - bits
            covered = sum(r.low <= bits <= r.high for r in results)
            low, high = wilson(covered, len(results))
            rows.append(
                {
                    "design": design,
                    "dims": p,
                    "bits": bits,
                    "method": method,
                    "normalize": str(normalize),
                    "bias": error.mean(),
                    "bias_standard_error": error.std(ddof=1) / np.sqrt(len(error)),
                    "rmse": np.sqrt(np.mean(error**2)),
                    "sd": error.std(ddof=1),
                    "mean_standard_error": np.mean([r.standard_error for r in results]),
                    "coverage": covered / len(results),
                    "coverage_low": low,
                    "coverage_high": high,
                    "seeds": len(results),
                    "seconds": seconds,
                }
            )
        print(design, p, round(bits, 2), flush=True)
    return pd.DataFrame(rows).round(4)


def null_table(studies: int, seed: int) -> pd.DataFrame:
    """Return the share of p-values up to 0.05 of independent sides (39 shuffles: exactly 0.05)."""
    estimators = [(m, z, mutual_information) for m, z, _ in ESTIMATORS]
    estimators += [("retrieval identity", "whiten", None), ("retrieval ridge", "whiten", None)]
    rows = []
    for method, normalize, _ in estimators:
        for p in (2, 16):
            rejected = 0
            for study in range(studies):
                rng = np.random.default_rng([seed, p, study])
                x, y = rng.normal(size=(2, 100, p))
                options = {"normalize": normalize, "n_shuffles": 39, "seed": study}
                if method.startswith("retrieval"):
                    p_value = retrieval_auc(x, y, map=method.split()[1], **options)["p_value"]
                else:
                    p_value = mutual_information(
                        x, y, method=method, interval=None, **options
                    ).p_value
                rejected += p_value <= 0.05
            low, high = wilson(rejected, studies)
            rows.append(
                {
                    "method": method,
                    "normalize": str(normalize),
                    "dims": p,
                    "false_positives": rejected / studies,
                    "low": low,
                    "high": high,
                    "studies": studies,
                }
            )
            print(rows[-1], flush=True)
    return pd.DataFrame(rows).round(4)


def invariance_table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, y = normal_pairs("equal", 64, 4.42, 1_188, rng)
    left, _, right = np.linalg.svd(rng.normal(size=(64, 64)))
    maps = {
        "none": x,
        "times 100": 100 * x,
        "condition 1e4": x @ (left * np.geomspace(1, 1e4, 64)) @ right,
    }
    rows = []
    for method, normalize, _ in ESTIMATORS:
        for name, mapped in maps.items():
            result = mutual_information(mapped, y, method=method, normalize=normalize, seed=seed)
            values = {"bits": 4.42, "estimate": result.bits, "low": result.low, "high": result.high}
            rows.append({"method": method, "normalize": str(normalize), "map": name, **values})
    return pd.DataFrame(rows).round(6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--studies", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["truth", "null", "invariance"])
    args = parser.parse_args()
    tables = {
        "mutual_information_invariance": lambda: invariance_table(args.seed),
        "mutual_information": lambda: truth_table(args.seeds, args.seed),
        "mutual_information_null": lambda: null_table(args.studies, args.seed),
    }
    chosen = {
        None: ["mutual_information_invariance", "mutual_information"],
        "truth": ["mutual_information"],
        "null": ["mutual_information_null"],
        "invariance": ["mutual_information_invariance"],
    }[args.only]
    for name in chosen:
        start = time.perf_counter()
        table = tables[name]()
        write(table, name, time.perf_counter() - start)
        print(table.to_string())


if __name__ == "__main__":
    main()
