"""The long run: what one more contact costs of the contacts still to come (methods C3)."""

from nba.longrun.iteration import AfterStateIteration, Moments, ValuesDiverged
from nba.longrun.values import Basis, LongRun, LongRunPrices, affine_price, nearest_affine

__all__ = [
    "AfterStateIteration",
    "Basis",
    "LongRun",
    "LongRunPrices",
    "Moments",
    "ValuesDiverged",
    "affine_price",
    "nearest_affine",
]
