"""The contract for .h5ad: `test_other_formats` runs it beside the pandas that anndata needs."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
from shown_anndata import AnnDataTarget

from daskcache.testing import TargetContract


def cells(kinds="aba", **parts):
    obs = pd.DataFrame({"kind": pd.Categorical(list(kinds))}, index=["c1", "c2", "c3"])
    return anndata.AnnData(**{"X": np.eye(3, dtype="f4"), "obs": obs, **parts})


class TestAnnData(TargetContract):
    target = AnnDataTarget("a.h5ad")
    values = [
        cells(),
        cells("abb"),
        cells(uns={"unit": "counts"}),
        cells(X=scipy.sparse.csr_matrix(np.eye(3))),
        cells(layers={"raw": np.ones((3, 3))}),
        cells(obsm={"place": np.zeros((3, 2))}),
    ]
    refused = [np.eye(3), cells(obs=pd.DataFrame({"text": list("aab")}, index=["c1", "c2", "c3"]))]

    def same(self, got, value):
        return type(got) is type(value) and self.target.hash(got) == self.target.hash(value)

    def loaded(self, opened, value):
        return opened.to_memory() if opened.isbacked else opened
