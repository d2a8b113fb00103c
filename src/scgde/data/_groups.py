"""Grouping cells by columns of ``.obs``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .._errors import listed, require

SEPARATOR = "|"


def as_keys(keys: str | list[str] | tuple[str, ...] | None) -> list[str]:
    """Return one key, several or none as a list.

    Parameters
    ----------
    keys
        A name, names or None.

    Examples
    --------
    >>> import scgde
    >>> scgde.data.as_keys("day"), scgde.data.as_keys(None)
    (['day'], [])
    """
    return [keys] if isinstance(keys, str) else list(keys or [])


def text_categories(column: pd.Series) -> pd.Categorical:
    """Return a column as a categorical of strings without unused categories.

    Whole numbers stored as floats (as they are where values are missing) read "3", not "3.0",
    whatever the other numbers are: names of a part of the cells fit the whole.

    Parameters
    ----------
    column
        One value a cell.

    Raises
    ------
    ValueError
        If two values would read the same.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import scgde
    >>> scgde.data.text_categories(pd.Series([1.0, 2.0, np.nan])).categories.tolist()
    ['1', '2']
    """
    values = pd.Categorical(column).remove_unused_categories()
    texts = values.categories.astype(str)
    names = pd.Index(map(_without_point, values.categories, texts), dtype=str)
    if not names.is_unique:
        raise ValueError(
            f"Column {column.name!r} has different values that read alike "
            f"({listed(names[names.duplicated()].unique())}), such as 1 and '1'. Give it one type: "
            f"adata.obs[{column.name!r}].astype(str)."
        )
    return pd.Categorical.from_codes(values.codes, names)


def _without_point(value: object, text: str) -> str:
    whole = isinstance(value, float | np.floating) and value.is_integer()
    return str(int(value)) if whole else text


def group_cells(obs: pd.DataFrame, keys: list[str]) -> tuple[np.ndarray, pd.Index]:
    """Return the group of each cell and the names of the groups.

    Parameters
    ----------
    obs
        One row a cell.
    keys
        Columns. With several, a group is a combination that occurs, named ``"a|b"``; a cell for
        which any column is missing belongs to no group. With none, all cells are one group, named
        ``"all"``.

    Returns
    -------
    Codes ``(n_cells,)``, -1 for cells in no group, and names in the order of the codes.

    Raises
    ------
    ValueError
        If two combinations would have the same name.

    Examples
    --------
    >>> import pandas as pd
    >>> import scgde
    >>> obs = pd.DataFrame({"clone": ["a", "a", None], "day": ["2", "4", "4"]})
    >>> codes, names = scgde.data.group_cells(obs, ["clone", "day"])
    >>> codes, names.tolist()
    (array([ 0,  1, -1]), ['a|2', 'a|4'])
    """
    if not keys:
        return np.zeros(len(obs), dtype=np.int64), pd.Index(["all"], dtype=object)
    columns = [text_categories(obs[key]) for key in keys]
    codes = np.stack([np.asarray(column.codes, dtype=np.int64) for column in columns])
    present = (codes >= 0).all(0)
    groups = np.full(len(obs), -1, dtype=np.int64)
    combinations, groups[present] = np.unique(codes[:, present], axis=1, return_inverse=True)
    names = pd.Index(
        [
            SEPARATOR.join(
                column.categories[code] for column, code in zip(columns, combination, strict=True)
            )
            for combination in combinations.T
        ],
        dtype=object,
    )
    if not names.is_unique:
        raise ValueError(
            f"Combining {keys} gives the same name to different groups "
            f"({listed(names[names.duplicated()].unique())}), because values contain "
            f"{SEPARATOR!r}. Replace that character in these columns."
        )
    return groups, names


def varying(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the groups whose cells have more than one value.

    Parameters
    ----------
    codes
        Group of each cell, -1 for none.
    values
        Integer value of each cell, -1 for missing.
    """
    pairs = np.unique(np.stack([codes, values])[:, (codes >= 0) & (values >= 0)], axis=1)
    groups, counts = np.unique(pairs[0], return_counts=True)
    return groups[counts > 1]


def population_table(obs: pd.DataFrame, codes: np.ndarray, names: pd.Index) -> pd.DataFrame:
    """Return one row a population, with every column that is constant within all of them.

    Parameters
    ----------
    obs
        One row a cell.
    codes, names
        As from :func:`group_cells`.

    Returns
    -------
    DataFrame indexed by population, with ``n_cells`` first; its ``attrs`` say why other columns are
    not there, for :func:`require_label`.

    Examples
    --------
    >>> import pandas as pd
    >>> import scgde
    >>> obs = pd.DataFrame({"donor": list("aab"), "age": [40, 40, 50], "cell": [1, 2, 3]})
    >>> table = scgde.data.population_table(obs, *scgde.data.group_cells(obs, ["donor"]))
    >>> table.columns.tolist(), table.index.tolist()
    (['n_cells', 'donor', 'age'], ['a', 'b'])
    """
    table = pd.DataFrame(
        {"n_cells": np.bincount(codes[codes >= 0], minlength=len(names))}, index=names
    )
    left_out = {}
    for key in obs.columns:
        if key.startswith("_scvi") or key in table:
            continue
        values, levels = pd.factorize(obs[key])
        mixed = varying(codes, values)
        if not len(levels):
            left_out[key] = "has no values"
            continue
        if len(mixed):
            own = levels[np.unique(values[(codes == mixed[0]) & (values >= 0)])]
            left_out[key] = (
                f"varies within populations ({len(mixed)} of {len(names)}): "
                f"{str(names[mixed[0]])!r} has {listed(own, 4)}. It must be constant within each"
            )
            continue
        first = np.full(len(names), -1)
        known = (codes >= 0) & (values >= 0)
        first[codes[known]] = values[known]
        table[key] = pd.Series(levels.take(first), index=names).where(first >= 0)
        if isinstance(obs[key].dtype, pd.CategoricalDtype):
            table[key] = pd.Categorical(table[key]).remove_unused_categories()
        elif pd.api.types.is_numeric_dtype(obs[key].dtype):
            table[key] = pd.to_numeric(table[key])
    table.attrs["left_out"] = left_out
    return table


def require_label(argument: str, key: str, table: pd.DataFrame) -> None:
    """Raise unless ``key`` is a column of a table of populations, and say why it is not.

    Parameters
    ----------
    argument
        What the key was given as.
    key
        Name of a column.
    table
        As from :func:`population_table`.

    Raises
    ------
    KeyError
        If the column is absent, has no values or varies within populations.
    TypeError
        If ``key`` is no string.

    Examples
    --------
    >>> import pandas as pd
    >>> import scgde
    >>> obs = pd.DataFrame({"donor": list("aab"), "cell": ["T", "B", "T"]})
    >>> table = scgde.data.population_table(obs, *scgde.data.group_cells(obs, ["donor"]))
    >>> scgde.data.require_label("color", "donor", table)
    >>> table.attrs["left_out"]["cell"]
    "varies within populations (1 of 2): 'a' has 'T', 'B'. It must be constant within each"
    """
    if not isinstance(key, str):
        raise TypeError(f"{argument}={key!r} must be the name of one column.")
    reason = table.attrs.get("left_out", {}).get(key)
    if reason is not None and key not in table.columns:
        raise KeyError(f"{argument}={key!r} {reason}.")
    require(argument, key, table.columns, "the columns constant within populations")
