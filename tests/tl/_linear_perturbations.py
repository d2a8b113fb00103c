"""A simulated screen, and the simplest predictor that ``tl.predict_perturbations`` will take."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

SINGLES = [f"g{i}" for i in range(12)]
PAIRS = ["g0+g1", "g2+g3", "g4+g5", "g0+g6", "control+g7"]
N_GENES = 40


def screen(covariate=False, is_counts=True, n_cells=24, seed=0):
    """Return cells of a screen whose effects are linear in features, and these features."""
    rng = np.random.default_rng(seed)
    features = pd.DataFrame(rng.normal(size=(12, 3)), SINGLES).rename(columns="f{}".format)
    effect = features.to_numpy() @ rng.normal(0, 0.5, (3, N_GENES))
    effect = dict(zip(SINGLES, effect, strict=True))
    base, x, obs = rng.normal(1, 1, N_GENES), [], []
    for line in ("x", "y") if covariate else ("x",):
        for name in ("control", *SINGLES, *PAIRS):
            mean = base + sum((effect[p] for p in name.split("+") if p != "control"), 0.0)
            mean = mean + 0.5 * (line == "y") * np.sin(np.arange(N_GENES))
            rate = np.exp(np.minimum(mean, 4))
            size = (n_cells, N_GENES)
            x.append(rng.poisson(rate, size) if is_counts else rng.normal(mean, 0.5, size))
            obs += [(name, line)] * n_cells
    obs = pd.DataFrame(obs, columns=["gene", "line"], index=[f"c{i}" for i in range(len(obs))])
    x = np.concatenate(x).astype(np.float32)
    adata = AnnData(sp.csr_matrix(x) if is_counts else x, obs)
    return adata, features


class LinearPredictor:
    """Shifts are a least-squares map of features; cells are control cells of the covariate."""

    perturbation_key, control = "gene", "control"

    def __init__(self, adata, features, covariate_key=None, is_counts=True, seen=None):
        self.adata, self.features, self.covariate_key = adata, features, covariate_key
        self.is_counts, self.seen = is_counts, [] if seen is None else seen

    def parts(self, perturbation):
        return [p for p in perturbation.split("+") if p != "control"]

    def get_parameters(self):
        return {"layer": "", "use_rep": "", "is_counts": self.is_counts}

    def get_feature_names(self):
        return self.adata.var_names

    def refit(self, adata):
        self.seen.append(set(adata.obs["gene"]))
        return LinearPredictor(adata, self.features, self.covariate_key, self.is_counts, self.seen)

    def release(self):
        self.adata = None

    def _of(self, names):
        return np.stack([self.features.loc[self.parts(n)].sum(0) for n in names])

    def _means(self, line):
        adata = self.adata if line == "" else self.adata[self.adata.obs["line"] == line]
        x = adata.to_df()
        if self.is_counts:
            x = np.log1p(x.div(x.sum(1), axis=0) * 1e4)
        return x.groupby(adata.obs["gene"].astype(str)).mean()

    def predict(
        self, perturbations, covariates=None, n_cells=0, seed=None, enable_progress_bar=True
    ):
        rows, cells, rng = {}, [], np.random.default_rng(seed)
        lines = ["x", "y"] if self.covariate_key else [""]
        for line in lines:
            means = self._means(line)
            shifts = means.drop(index="control") - means.loc["control"]
            weights = np.linalg.lstsq(self._of(shifts.index), shifts.to_numpy(), rcond=None)[0]
            of_line = (self.adata.obs["line"] == line) | (line == "")
            control = self.adata[((self.adata.obs["gene"] == "control") & of_line).to_numpy()]
            for name, shift in zip(perturbations, self._of(perturbations) @ weights, strict=True):
                rows[f"{name}|{line}" if line else name] = shift
                if n_cells:
                    drawn = control[rng.integers(control.n_obs, size=n_cells)]
                    obs = pd.DataFrame({"gene": name, "line": line}, map(str, range(n_cells)))
                    cells.append(AnnData(drawn.X.copy(), obs))
        cells = cells and AnnData(
            sp.vstack([c.X for c in cells])
            if self.is_counts
            else np.concatenate([c.X for c in cells]),
            pd.concat([c.obs for c in cells]).set_axis(
                [f"{i}" for i in range(len(cells) * n_cells)]
            ),
        )
        shift = pd.DataFrame.from_dict(rows, orient="index")
        return SimpleNamespace(
            mean_shift=shift.set_axis(self.adata.var_names, axis=1), cells=cells or None
        )
