"""The long run: what one more contact costs of the contacts still to come (methods C3)."""

from nba.longrun.fitted_q import FittedQ, fit_q
from nba.longrun.iteration import AfterStateIteration, Moments, ValuesDiverged
from nba.longrun.reading import Reading
from nba.longrun.steps import Steps
from nba.longrun.values import Basis, LongRun, LongRunPrices, affine_price, nearest_affine

__all__ = [
    "AfterStateIteration",
    "Basis",
    "FittedQ",
    "LongRun",
    "LongRunPrices",
    "Moments",
    "Reading",
    "Steps",
    "ValuesDiverged",
    "affine_price",
    "fit_q",
    "nearest_affine",
]
