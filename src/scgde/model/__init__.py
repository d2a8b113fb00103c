"""What users touch: models that read AnnData or MuData."""

from ._gde import GDE
from ._perturbation import PerturbationGDE
from ._perturbation_prediction import PerturbationPrediction
from ._query_result import QueryResult
from ._summary import PopulationSummary

__all__ = ["GDE", "PerturbationGDE", "PerturbationPrediction", "PopulationSummary", "QueryResult"]
