"""What models of outputs are made with: the libraries that the extra `study` brings, all but Optuna."""

from __future__ import annotations

from scythe_cli.core.distribution import needs_extra

with needs_extra("sample", "a study"):
    from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
    from scipy.optimize import minimize
    from scipy.spatial.distance import cdist
    from scipy.stats import qmc
with needs_extra("study", "a study"):
    from gest_api import Generator
    from gest_api.vocs import VOCS
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingRegressor
    from sklearn.neighbors import NearestNeighbors
    from sklearn.tree import DecisionTreeClassifier
    from threadpoolctl import threadpool_limits

__all__ = [
    "VOCS",
    "DecisionTreeClassifier",
    "ExtraTreesClassifier",
    "Generator",
    "HistGradientBoostingRegressor",
    "LinAlgError",
    "NearestNeighbors",
    "cdist",
    "cho_solve",
    "cholesky",
    "minimize",
    "qmc",
    "solve_triangular",
    "threadpool_limits",
]
