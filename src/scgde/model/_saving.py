from __future__ import annotations

import os
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path

from anndata import AnnData
from mudata import MuData

from .._errors import listed, require_type
from .._logging import quiet
from .._scvi import MODEL_FILE, X_KEY, BaseModelClass, state_of


class SavingMixin(BaseModelClass):
    """``save`` and ``load`` that leave nothing half-written and name what is wrong."""

    def save(
        self,
        dir_path: str | os.PathLike,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
        **kwargs: object,
    ) -> None:
        """Save the model to a folder.

        Everything is first written beside the folder and moved into place when complete.

        Parameters
        ----------
        dir_path
            The folder.
        prefix
            Put before the names of the files.
        overwrite
            Replace a model that is in the folder already; other files in it stay.
        save_anndata
            Save the data too.
        **kwargs
            Further arguments of scvi-tools' ``save``.

        Raises
        ------
        FileExistsError
            If the folder exists and ``overwrite`` is False.
        """
        target = Path(dir_path)
        if target.exists() and not overwrite:
            raise FileExistsError(
                f"dir_path={str(dir_path)!r} exists already. Choose another folder, or pass "
                "overwrite=True to replace the model in it."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
            complete = Path(temporary) / "model"
            super().save(str(complete), prefix=prefix, save_anndata=save_anndata, **kwargs)
            if not target.exists():
                shutil.move(complete, target)
                return
            for file in complete.iterdir():
                os.replace(file, target / file.name)

    @classmethod
    def load(
        cls,
        dir_path: str | os.PathLike,
        adata: AnnData | MuData | bool | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
        **kwargs: object,
    ):
        """Load a saved model.

        Parameters
        ----------
        dir_path
            The folder.
        adata
            Data to attach: the training data, or other data with the same genes; its populations
            may be new. None loads data that was saved along; False attaches none.
        accelerator, device
            Where to put the model, as in scvi-tools.
        prefix
            As given to ``save``.
        **kwargs
            Further arguments of scvi-tools' ``load``.

        Returns
        -------
        The model.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no model, the file is damaged, or the data does not fit.
        """
        if adata is not None:
            require_type("adata", adata, (AnnData, MuData, bool), "Pass the cells, or None.")
        file = Path(dir_path) / f"{prefix or ''}{MODEL_FILE}"
        if not file.exists():
            present = sorted(p.name for p in Path(dir_path).glob("*"))
            raise FileNotFoundError(
                f"dir_path={str(dir_path)!r} holds no model: {file.name} is missing "
                f"(there is {listed(present) or 'nothing'}). Give the folder passed to save."
            )
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except zipfile.BadZipFile:
            damaged = file.name
        if damaged is not None:
            raise ValueError(
                f"dir_path={str(dir_path)!r}: the model file is damaged or cut short ({damaged}). "
                "Copy it again from its source, or train and save anew."
            )
        with warnings.catch_warnings():
            if isinstance(adata, MuData) and cls._lacks_a_modality(adata, str(dir_path), prefix):
                # Its features are checked by the model's own fields; that it may lack some of
                # several modalities, scvi-tools does not know.
                warnings.filterwarnings("ignore", "`var_names` for the loaded `model` does not")
            with quiet("scvi"):  # which calls any file that is there "already downloaded"
                return super().load(
                    str(dir_path), adata, accelerator, device, prefix=prefix, **kwargs
                )

    @classmethod
    def _lacks_a_modality(cls, mdata: MuData, dir_path: str, prefix: str | None) -> bool:
        """Return whether data lacks one of the several modalities of a saved model."""
        state = state_of(cls.load_registry(dir_path, prefix), X_KEY) or {}
        return not set(state.get("modalities", ())) <= set(mdata.mod)
