"""AnnData and a model or metric in, results in ``.obsm`` and ``.uns`` out."""

from ._classify import classify_populations
from ._embed import embed_populations
from ._geometry import wasserstein_geometry

__all__ = ["classify_populations", "embed_populations", "wasserstein_geometry"]
