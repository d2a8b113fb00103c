"""Readers by the name that the registry calls them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from anndata import AnnData
from mudata import MuData

from ._donors import read_cellxgene, read_paired_conditions
from ._drug_screen import read_sciplex
from ._larry import read_larry
from ._perturb_seq import read_perturb_seq
from ._plain import read_h5ad, read_h5mu, read_image_crops, read_table
from ._promoters import read_promoters
from ._sequences import read_sequence_table
from ._spike import read_spike_fasta

Reader = Callable[..., AnnData | MuData | pd.DataFrame]

READERS: dict[str, Reader] = {
    "cellxgene": read_cellxgene,
    "h5ad": read_h5ad,
    "h5mu": read_h5mu,
    "image_crops": read_image_crops,
    "larry": read_larry,
    "paired_conditions": read_paired_conditions,
    "perturb_seq": read_perturb_seq,
    "promoters": read_promoters,
    "sciplex": read_sciplex,
    "sequence_table": read_sequence_table,
    "spike_fasta": read_spike_fasta,
    "table": read_table,
}
