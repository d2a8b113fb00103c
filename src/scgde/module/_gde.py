from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import require_choice, unknown
from ..data import Cells, Modalities, dense
from ..encoders import ENCODERS, Encoder, ModalEncoder
from ..generators import GENERATORS
from ..nn import Standardize, clip, log1p, log_normalize
from ._base import TrainableModule, TrainingLoss
from ._modal import CONSISTENCY_WEIGHT, complete_cells, drop_modalities, inconsistency

FUSIONS = ("concatenate", "separate")
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _check(argument: str, cls: type[nn.Module], options: dict | None) -> None:
    """Raise a ``ValueError`` for an option that the class does not take."""
    # A subclass may pass options on to the class above it.
    above = [c for c in cls.__mro__ if "__init__" in vars(c) and issubclass(c, nn.Module)]
    taken = {name: p for c in above for name, p in inspect.signature(c.__init__).parameters.items()}
    fixed = ("self", "n_input", "n_output", "n_latent", "n_hidden", "n_batch", "modalities")
    own = [n for n, p in taken.items() if n not in fixed and p.kind not in _VARIABLE]
    for name in options or {}:
        if name not in own:
            raise ValueError(unknown(argument, name, own, f"the options of {cls.__name__}"))


class GDEModule(TrainableModule):
    """Set encoder, conditional generator and label heads, tied by one loss.

    The encoder sees log-normalised counts where the generator models counts (their logarithms where
    it has no use for cells' sizes), and standardised features otherwise; the generator then models
    those too, and what it draws is put back into the features' own units.

    Parameters
    ----------
    n_features
        Features of a cell.
    encoder, generator
        Registered names.
    n_latent, n_hidden
        Coordinates of an embedding; width of hidden layers.
    encoder_kwargs, generator_kwargs
        Further options of the two.
    n_batch
        Number of batches that the generator corrects for.
    n_classes
        Number of classes of each label head; no heads by default.
    modality_sizes
        Features of each modality, where cells have several; ``n_features`` is their sum, and cells
        have the columns of :class:`~scgde.data.Modalities`.
    fusion
        Of several modalities. ``"concatenate"``: the encoder sees all columns. ``"separate"``: an
        encoder for each, whose embeddings are averaged (:class:`~scgde.encoders.ModalEncoder`).
    modality_dropout
        Share of training sets whose generator is given an embedding without one of the modalities
        that the set has. Above zero, embeddings without one are drawn to those with all, too.

    Raises
    ------
    ValueError
        If an option is unknown or out of range, or the generator cannot do with the modalities.

    Examples
    --------
    >>> import torch
    >>> import scgde
    >>> module = scgde.module.GDEModule(n_features=3, n_latent=4, n_hidden=8)
    >>> z = module.encode(torch.randn(2, 5, 3), torch.full((2, 5), 1 / 5))
    >>> z.shape, module.sample(z, 7).shape
    (torch.Size([2, 4]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self,
        n_features: int,
        encoder: str = "resnet_gnn",
        generator: str = "cvae",
        n_latent: int = 64,
        n_hidden: int = 128,
        encoder_kwargs: dict | None = None,
        generator_kwargs: dict | None = None,
        n_batch: int = 1,
        n_classes: Iterable[int] = (),
        modality_sizes: Sequence[int] = (),
        fusion: str = "concatenate",
        modality_dropout: float = 0.2,
    ):
        super().__init__()
        require_choice("fusion", fusion, FUSIONS)
        if not 0 <= modality_dropout <= 1:
            raise ValueError(f"modality_dropout={modality_dropout!r} must be from 0 to 1.")
        _check("encoder_kwargs", ENCODERS.get(encoder), encoder_kwargs)
        _check("generator_kwargs", GENERATORS.get(generator), generator_kwargs)
        self.modalities = Modalities(tuple(modality_sizes)) if modality_sizes else None
        self.modality_dropout = modality_dropout
        self.n_features = n_features

        def new_encoder(n_input: int) -> Encoder:
            return ENCODERS.get(encoder)(n_input, n_latent, n_hidden, **encoder_kwargs or {})

        if self.modalities is not None and fusion == "separate":
            self.encoder = ModalEncoder([new_encoder(n) for n in modality_sizes], self.modalities)
        else:
            self.encoder = new_encoder(self.n_columns)
        make = GENERATORS.get(generator)
        options = dict(generator_kwargs or {})
        if make.accepts_modalities:
            options["modalities"] = self.modalities
        self.generator = make(n_features, n_latent, n_hidden, n_batch=n_batch, **options)
        if self.generator.space == "counts" and self.modalities and not make.accepts_modalities:
            raise ValueError(
                f"generator={generator!r} models counts of one modality. Use 'cvae', or set up one."
            )
        is_real = self.generator.space == "real"
        self.standardize = Standardize(n_features, self.modalities) if is_real else None
        self.label_heads = nn.ModuleList(nn.Linear(n_latent, n) for n in n_classes)
        self.label_weight = 1.0
        # Turns size factors into expected totals; 1 where sizes are totals already.
        self.register_buffer("library_scale", torch.ones(()))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.library_scale.device

    @property
    def n_columns(self) -> int:
        """Columns of a cell: its features and, of several modalities, their indicators."""
        return self.n_features if self.modalities is None else self.modalities.n_columns

    def on_step(self, step: int) -> None:
        """Tell the generator which training step comes, for losses that depend on it."""
        self.generator.on_step(step)

    def encode(self, x: Cells, w: Tensor, library: Tensor | None = None) -> Tensor:
        """Embed sets ``x (B, m, d)`` under weights ``w (B, m)`` as ``(B, n_latent)``."""
        return self.encoder(self.view(x, library), w)

    def stream(self, chunks: Callable[[], Iterable[tuple[Cells, Tensor, Tensor | None]]]) -> Tensor:
        """Embed sets too large for memory from chunks ``(x, w, library)``; see PooledEncoder."""
        return self.encoder.stream(lambda: ((self.view(x, size), w) for x, w, size in chunks()))

    def view(self, x: Cells, library: Tensor | None = None) -> Cells:
        """Return cells ``(B, m, d)`` as the encoder sees them."""
        if self.standardize is not None:
            x = clip(self.standardize(x), self.standardize.middle)
        elif self.generator.uses_library:
            size = None if library is None else library * self.library_scale
            x = log_normalize(x, size, self.modalities)
        else:
            x = log1p(x, self.modalities)
        return x if self.encoder.accepts_sparse else dense(x)

    def loss(self, batch: dict) -> TrainingLoss:
        """Return the loss of a batch: the generator's per feature, and auxiliary ones."""
        context, weight = batch["context"], batch["context_weight"]
        z = self.encode(context, weight, batch["context_library"])
        extra = {}
        if self.modalities is not None and self.training and self.modality_dropout > 0:
            z, extra["inconsistency"] = self._without_modalities(batch, z)
        generator_loss = self._generator_loss(batch, z)
        loss, terms = generator_loss / self.n_features, {"generator_loss": generator_loss}
        for name, value in extra.items():
            loss, terms[name] = loss + CONSISTENCY_WEIGHT * value, value
        for name, (weight, value) in self.auxiliary_losses(z, batch).items():
            loss, terms[name] = loss + weight * value, value
        return TrainingLoss(loss, terms)

    def _without_modalities(self, batch: dict, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings, some without one of their modalities, and what that changes."""
        context, weight, loses = drop_modalities(
            batch["context"], batch["context_weight"], self.modalities
        )
        less = self.encode(context, weight, batch["context_library"])
        change = inconsistency(z[loses], less[loses]) if loses.sum() > 1 else 0.0 * z.sum()
        some = torch.rand(len(z), 1, device=z.device) < self.modality_dropout
        return torch.where(some, less, z), change

    def _generator_loss(self, batch: dict, z: Tensor) -> Tensor:
        x, w, library = batch["target"], batch["target_weight"], batch["target_library"]
        if self.standardize is not None:
            x = self.standardize(x)
        if library is not None:
            library = library * self.library_scale
        covariates = {"library": library, "batch": batch.get("batch")}
        if self.modalities is not None and not self.generator.accepts_modalities:
            x, w, has = complete_cells(x, w, self.modalities)
            if not has.any():
                return 0.0 * z.sum()
            x, w, z = dense(x)[has], w[has], z[has]
            covariates = {k: None if c is None else c[has] for k, c in covariates.items()}
        x = x if self.generator.accepts_sparse else dense(x)
        return self.generator.loss(x, w, z, **covariates).mean()

    def auxiliary_losses(self, z: Tensor, batch: dict) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of what is minimised beside the generator's loss, by name."""
        if not self.label_heads:
            return {}
        return {"label_loss": (self.label_weight, self._label_loss(z, batch["labels"]))}

    def _label_loss(self, z: Tensor, labels: Tensor) -> Tensor:
        total = z.new_zeros(())
        for head, label in zip(self.label_heads, labels.unbind(1), strict=True):
            known = label >= 0
            if known.any():
                total = total + F.cross_entropy(head(z[known]), label[known])
        return total

    def predict_labels(self, z: Tensor, head: int = 0) -> Tensor:
        """Return class probabilities ``(B, n_classes)`` of one label head."""
        return torch.softmax(self.label_heads[head](z), -1)

    @torch.no_grad()
    def sample(
        self,
        z: Tensor,
        n_cells: int,
        *,
        generator: torch.Generator | None = None,
        batch: Tensor | None = None,
        **options: object,
    ) -> Tensor:
        """Draw ``(B, n_cells, d)`` cells, in the units of the data."""
        x = self.generator.sample(z, n_cells, generator=generator, batch=batch, **options)
        return x if self.standardize is None else self.standardize.inverse(x)
