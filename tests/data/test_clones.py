from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scgde.data import clone_labels

# Clone 0, clone 2, no clone, clones 0 and 1, clones 0 and 1, clones 1 and 2.
MATRIX = np.array([[1, 0, 0], [0, 0, 3], [0, 0, 0], [1, 1, 0], [2, 5, 0], [0, 1, 1]])


@pytest.mark.parametrize(
    "kind", [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array]
)
def test_no_clone_is_not_clone_zero_nor_the_first_of_several(kind):
    # The published loader took argmax == 0 for "no clone", and the first of several barcodes.
    matrix = kind(MATRIX)
    labels = clone_labels(matrix)
    assert list(labels["clone"].astype(object).fillna("-")) == [
        "clone_0",
        "clone_2",
        "-",
        "-",
        "-",
        "-",
    ]
    assert list(labels["status"]) == ["single", "single", "none", *["multiple"] * 3]
    assert list(labels["n_clones"]) == [1, 1, 0, 2, 2, 2]
    # A category without cells would be a population without cells.
    assert list(labels["clone"].cat.categories) == ["clone_0", "clone_2"]
    np.testing.assert_array_equal(sp.coo_matrix(matrix).toarray(), MATRIX)


def test_equal_sets_of_barcodes_combine():
    labels = clone_labels(MATRIX, ["a", "b", "c"], multiple="combine")
    assert list(labels["clone"].astype(object).fillna("-")) == ["a", "c", "-", "a+b", "a+b", "b+c"]
    assert list(labels["status"]) == ["single", "single", "none", *["multiple"] * 3]


def test_weak_barcodes_do_not_count():
    labels = clone_labels(MATRIX, ["a", "b", "c"], min_count=2)
    assert list(labels["clone"].astype(object).fillna("-")) == ["-", "c", "-", "-", "-", "-"]
    assert list(labels["status"]) == ["none", "single", "none", "none", "multiple", "none"]


def test_entries_stored_in_parts_are_summed_and_the_matrix_is_left_alone():
    matrix = sp.csr_matrix(
        (np.array([1, 1, 1]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2)
    )
    assert list(clone_labels(matrix, min_count=2)["status"]) == ["single", "none"]
    assert matrix.nnz == 3


def test_a_table_brings_its_names():
    table = pd.DataFrame(MATRIX, columns=["x", "y", "z"], index=list("abcdef"))
    labels = clone_labels(table)
    assert labels.loc["b", "clone"] == "z"
    assert clone_labels(table, ["p", "q", "r"]).loc["b", "clone"] == "r"


def test_names_and_entries_may_come_as_other_tools_keep_them():
    names = np.array([b"x", b"y", b"z"])  # as h5py reads text
    given = MATRIX.tolist(), pd.DataFrame(MATRIX.astype(object)), MATRIX.astype(bool)
    for matrix in given:
        labels = clone_labels(matrix, names)
        assert list(labels["clone"].astype(object).fillna("-")) == ["x", "z", "-", "-", "-", "-"]


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (-MATRIX, {}, "negative"),
        (MATRIX * np.nan, {}, "NaN"),
        (MATRIX[:, 0], {}, r"matrix must be cells x clones, but its shape is \(6,\)"),
        ([[1, 0], [1]], {}, "matrix must hold numbers"),
        (pd.DataFrame([["ACGT", "TTGA"]]), {}, "matrix must hold numbers"),
        (pd.DataFrame([[1, None]], dtype=object), {}, "NaN"),
        (MATRIX, {"clone_names": ["a"]}, "1 names, but the matrix has 3 columns"),
        (MATRIX, {"clone_names": ["a", "a", "b"]}, "more than once: 'a'"),
        (MATRIX, {"min_count": 0}, "min_count=0 must be above zero"),
        (MATRIX, {"multiple": "combined"}, "Did you mean 'combine'"),
        (MATRIX, {"multiple": "combine", "clone_names": ["a", "b", "a+b"]}, "one name"),
    ],
)
def test_mistakes(matrix, options, message):
    with pytest.raises(ValueError, match=message):
        clone_labels(matrix, **options)


def test_names_are_several():
    with pytest.raises(TypeError, match="clone_names='abc' is one text; give a list"):
        clone_labels(MATRIX, "abc")
