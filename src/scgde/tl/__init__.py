"""AnnData and a model or metric in, results in ``.obsm`` and ``.uns`` out."""

from ._classify import classify_populations
from ._embed import embed_populations
from ._geometry import wasserstein_geometry
from ._influence import cell_influence

__all__ = ["cell_influence", "classify_populations", "embed_populations", "wasserstein_geometry"]
