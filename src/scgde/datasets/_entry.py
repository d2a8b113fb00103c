"""What the registry says of one data set: a TOML file, checked field by field."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

from .._errors import listed, unknown

TASKS = (
    "clones",
    "features",
    "geometry",
    "images",
    "multimodal",
    "patients",
    "perturbations",
    "retrieval",
    "sequences",
    "spatial",
)
NO_CHECKSUM = "not known; recorded at first download"
_HASHES = {"sha256": 64, "md5": 32}
_SCHEMES = ("https", "http", "file")
_COUNTS = ("n_cells", "n_features", "n_populations", "size")
_KINDS = {
    **dict.fromkeys(_COUNTS, "a whole number"),
    **dict.fromkeys(("labels", "tasks", "urls"), "a list of texts"),
    "bundled": "true or false",
    "files": "[[files]] tables",
    "population_key": "text or a list of texts",
    "reader_kwargs": "a table",
}


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a data set: where it comes from and how it is known to be whole.

    ``urls`` are mirrors, tried in order; there are none where a login is needed. A ``bundled`` file
    ships with the package.
    """

    name: str
    urls: list[str] = field(default_factory=list)
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    bundled: bool = False

    @property
    def known_hash(self) -> str | None:
        """The checksum as ``"sha256:..."`` or ``"md5:..."``; None where none is published."""
        return next((f"{h}:{getattr(self, h)}" for h in _HASHES if getattr(self, h)), None)

    def faults(self) -> list[str]:
        """Return what is wrong beyond the types."""
        found = []
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            found.append(f"name={self.name!r} must be a file's name without a folder")
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme not in _SCHEMES or not (parts.netloc or parts.scheme == "file"):
                found.append(f"urls: {url!r} must begin with {listed(f'{s}://' for s in _SCHEMES)}")
        for name, length in _HASHES.items():
            value = getattr(self, name)
            if value is not None and not re.fullmatch(f"[0-9a-f]{{{length}}}", value):
                found.append(f"{name}={value!r} must be {length} digits 0-9a-f")
        if self.bundled and not self.sha256:
            found.append("bundled=true needs sha256: the file is at hand, measure it")
        return found


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A data set: what it is, how its cells group, who may use it, how to read it.

    Figures that nobody has measured are left out (None), never guessed.
    """

    title: str
    licence: str
    citation: str
    organism: str
    modality: str
    origin: str
    caveats: str
    reader: str
    tasks: list[str]
    files: list[File]
    n_cells: int | None = None
    n_features: int | None = None
    n_populations: int | None = None
    population_key: str | list[str] | None = None
    labels: list[str] = field(default_factory=list)
    donor_key: str | None = None
    batch_key: str | None = None
    time_key: str | None = None
    control: str | None = None
    obtain: str | None = None
    reader_kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_toml(cls, path: Path) -> Entry:
        """Read an entry of the registry.

        Parameters
        ----------
        path
            A TOML file, named as the data set.

        Raises
        ------
        ValueError
            If it is no TOML, a field is missing, unknown, of another type or has an impossible
            value. The message has a line for each fault, with file, field, value and remedy.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name}: no valid TOML ({error}).") from error
        faults = []
        tables = table.get("files", [])
        files = []
        if isinstance(tables, list) and all(isinstance(f, dict) for f in tables):
            for i, file in enumerate(tables):
                wrong = _type_faults(File, file)
                made = None if wrong else File(**file)
                faults += [f"files[{i}].{fault}" for fault in wrong or made.faults()]
                files.append(made)
            table["files"] = []  # these are checked
        faults += _type_faults(cls, table)
        if not faults:
            entry = cls(**table | {"files": files})
            faults = entry._faults()
        if faults:
            raise ValueError("\n".join(f"{path.name}: {fault}." for fault in faults))
        return entry

    def _faults(self) -> list[str]:
        texts = ["title", "licence", "citation", "organism", "modality", "origin", "reader"]
        found = [f"{n} is empty; say what it is" for n in texts if not getattr(self, n).strip()]
        strange = sorted(set(self.tasks) - set(TASKS))
        found += [unknown("tasks", task, TASKS, "the vocabulary")[:-1] for task in strange]
        if not self.tasks:
            found.append(f"tasks is empty; name some of {listed(TASKS, 20)}")
        if not self.files:
            found.append("files is empty; add a [[files]] table")
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            found.append(f"files: {listed(names)} are not all different")
        if self.obtain is None and any(not (f.urls or f.bundled) for f in self.files):
            found.append("obtain is missing: a file without urls needs words on how to get it")
        return found

    @property
    def availability(self) -> str:
        """``"bundled"``, ``"download"`` or ``"by hand"``: the hardest way of all its files."""
        if all(file.bundled for file in self.files):
            return "bundled"
        return "download" if all(f.bundled or f.urls for f in self.files) else "by hand"


def _type_faults(cls: type, table: dict[str, object]) -> list[str]:
    """Return missing and unknown fields of a table, and values of another type."""
    hints = get_type_hints(cls)
    required = [
        f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
    ]
    found = [f"{name} is missing; add it" for name in required if name not in table]
    for name, value in table.items():
        if name not in hints:
            found.append(unknown("field", name, hints, "the schema")[:-1])
        elif not _is(value, hints[name]):
            found.append(f"{name}={value!r} must be {_KINDS.get(name, 'text')}")
        elif name in _COUNTS and value < 1:
            found.append(f"{name}={value!r} must be above zero; leave out what is not known")
    return found


def _is(value: object, hint: Any) -> bool:
    """Return whether a value of TOML is of a type, as far as the schema uses types."""
    options = get_args(hint)
    origin = getattr(hint, "__origin__", None)
    if origin is list:
        return isinstance(value, list) and all(_is(v, options[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict)
    if options:
        return any(_is(value, option) for option in options if option is not NoneType)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
