from __future__ import annotations

import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scgde

mpl.use("Agg")


def test_invariance_report(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scgde.tl.invariance_report(trained, n_draws=2, enable_progress_bar=False)
    drift, correlations = scgde.pl.invariance_report(trained.adata)
    result = trained.adata.uns["gde_invariance"]
    lines = {line.get_label(): line for line in drift.get_lines()}
    (fitted,) = (
        line for label, line in lines.items() if label.startswith("slope") and "(" in label
    )
    slope = np.polyfit(np.log(fitted.get_xdata()), np.log(fitted.get_ydata()), 1)[0]
    assert slope == pytest.approx(result["checks"].loc["slope", "value"])
    known = result["correlations"]["spearman"].dropna()
    assert sorted(p.get_height() for p in correlations.patches) == pytest.approx(sorted(known))
    assert drift.get_xlabel()
    plt.close("all")
    with pytest.raises(KeyError, match="gde_invariance"):
        scgde.pl.invariance_report(trained.adata, key="gde_invarance")
