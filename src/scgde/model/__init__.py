"""What users touch: models that read AnnData or MuData."""

from ._dpa import DPA
from ._gde import GDE
from ._perturbation import PerturbationGDE
from ._perturbation_prediction import PerturbationPrediction
from ._query_result import QueryResult
from ._regularized_ae import RegularizedAE
from ._summary import PopulationSummary

__all__ = [
    "DPA",
    "GDE",
    "PerturbationGDE",
    "PerturbationPrediction",
    "PopulationSummary",
    "QueryResult",
    "RegularizedAE",
]
