"""AnnData and a model or metric in, results in ``.obsm`` and ``.uns`` out."""

from ._classify import classify_populations
from ._compare import compare_populations
from ._embed import embed_populations
from ._geometry import wasserstein_geometry
from ._influence import cell_influence
from ._invariance import invariance_report

__all__ = [
    "cell_influence",
    "classify_populations",
    "compare_populations",
    "embed_populations",
    "invariance_report",
    "wasserstein_geometry",
]
