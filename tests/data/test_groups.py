from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scgde.data import PopulationIndex, group_cells, population_table, text_categories


def test_single_key_keeps_category_order_and_drops_unused():
    obs = pd.DataFrame({"k": pd.Categorical(["b", "a", "b"], categories=["b", "z", "a"])})
    codes, names = group_cells(obs, ["k"])
    assert list(names) == ["b", "a"]
    assert list(codes) == [0, 1, 0]


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "object", "category"])
def test_a_value_reads_the_same_whatever_else_is_in_its_column(dtype):
    column = pd.Series([1.0, 2.5, 0.1, 3.0]).astype(dtype)
    assert list(text_categories(column).astype(object)) == ["1", "2.5", "0.1", "3"]
    assert list(text_categories(column[[0, 3]])) == ["1", "3"]
    assert list(text_categories(pd.Series([1, 3]))) == ["1", "3"]
    assert list(text_categories(pd.Series([np.inf, 1.0], dtype="float32"))) == ["inf", "1"]


def test_combined_keys_leave_out_cells_with_a_missing_part():
    obs = pd.DataFrame({"clone": [3.0, np.nan, 3.0, 4.0], "day": ["2", "2", "6", None]})
    codes, names = group_cells(obs, ["clone", "day"])
    assert list(names) == ["3|2", "3|6"]
    assert list(codes) == [0, -1, 1, -1]


def test_ambiguous_combinations_are_refused():
    obs = pd.DataFrame({"a": ["x|y", "x"], "b": ["z", "y|z"]})
    with pytest.raises(ValueError, match="same name to different groups"):
        group_cells(obs, ["a", "b"])


def test_index_equals_a_mask_for_every_population():
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 7, 500)
    index = PopulationIndex(codes, pd.Index(list("abcdefgh")))  # "h" has no cells
    for population in range(8):
        np.testing.assert_array_equal(index.cells(population), np.flatnonzero(codes == population))
    assert index.sizes.sum() == (codes >= 0).sum()
    some = index.restrict(np.arange(100))
    np.testing.assert_array_equal(some.cells(2), np.flatnonzero(codes[:100] == 2))


def test_population_table_keeps_constant_columns_with_their_types():
    obs = pd.DataFrame(
        {
            "age": [30, 30, 41, 41],
            "sex": pd.Categorical(["f", "f", "m", "m"]),
            "type": ["T", "B", "T", "T"],
            "label": [None, None, "ill", None],
        }
    )
    table = population_table(obs, np.array([0, 0, 1, 1]), pd.Index(["p", "q"]))
    assert list(table.columns) == ["n_cells", "age", "sex", "label"]
    assert table["age"].tolist() == [30, 41]
    assert table["sex"].dtype == "category"
    assert pd.isna(table.loc["p", "label"])
    assert table.loc["q", "label"] == "ill"
