"""What came back: outcomes, the exposure schedule of delayed conversions, and rounds to learn from.

A contact that has not converted yet is not a failure. Its attribution window is cut at a few ages;
when interval k has passed, a row says how long was watched (exposure e_k) and how many conversions
came (the reward). Exposure and reward add separately, so a conversion may also be told at once, in
a row of exposure 0, and its interval's exposure later. A censored contact simply has no exposure
after its age (methods B2, with an identity link).
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from nba.arrays import BoolArray, FloatArray, IntArray
from nba.catalogue import Catalogue, Product

N_INTERVALS = 4
_STEPS = 257  # ages at which the exposure of an interval is tabled


class RoundBatch(NamedTuple):
    """Rows to learn from.

    The expected reward of a row is exposure x (uplift_share x uplift(action) + organic_share x
    organic(product)); rows of no-contact have action 0, uplift_share 0 and the product observed.
    """

    features: FloatArray  # (n, K)
    actions: IntArray  # (n,)
    products: IntArray  # (n,)
    rewards: FloatArray  # (n,) conversions
    exposure: FloatArray  # (n,) share of the attribution window watched
    uplift_share: FloatArray  # (n,)
    organic_share: FloatArray  # (n,)

    @property
    def n_rows(self) -> int:
        """n, the number of rows."""
        return int(self.actions.shape[0])


def watched(rounds: RoundBatch) -> FloatArray:
    """(1,) how many rounds were watched, in whole attribution windows."""
    return np.array([rounds.exposure.sum()])


def watched_by_row(before: FloatArray, rounds: RoundBatch) -> FloatArray:
    """(1,) the same on top of `before`, added row by row, so that the bits do not depend on cuts of a log."""
    return np.array([np.cumsum(np.append(before, rounds.exposure))[-1]])


class ExposureSchedule(Struct, frozen=True, eq=False, dict=True):
    """When the intervals of each product's attribution window end, and how conversions fill the window."""

    cuts_days: IntArray  # (P, N_INTERVALS) ends of the intervals, rising; the last is the window
    delays_days: FloatArray  # (P,) mean delay of a contact-caused conversion
    curves: dict[int, FloatArray] = {}  # (2, n) days and shares, of products that state their completion

    @staticmethod
    def of(catalogue: Catalogue) -> ExposureSchedule:
        """The schedule of a catalogue's products: intervals end near the quarters of the completion curve."""
        products = catalogue.products
        cuts = np.array([_cuts(product) for product in products], dtype=np.int64)
        stated = {number: _curve(product) for number, product in enumerate(products) if product.completion}
        return ExposureSchedule(cuts, np.array([product.decision_delay_days for product in products]), stated)

    def begins(self, products: IntArray, intervals: IntArray) -> FloatArray:
        """(n,) age in days at which an interval begins."""
        return self._edges[products, intervals]

    def interval(self, products: IntArray, ages_days: FloatArray) -> IntArray:
        """(n,) interval that holds an age in days; N_INTERVALS when the window has passed."""
        passed: IntArray = (ages_days[:, None] > self.cuts_days[products]).sum(axis=1)
        return passed

    def shares(
        self, products: IntArray, intervals: IntArray, contacted: IntArray | BoolArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What `watched` gives for whole intervals (n,)."""
        ends = self._edges[products, intervals + 1]
        return self.watched(products, self._edges[products, intervals], ends, contacted)

    def watched(
        self, products: IntArray, begins: FloatArray, ends: FloatArray, contacted: IntArray | BoolArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(exposure, uplift_share, organic_share), each (n,), of watching from one age to a later one.

        Contact-caused conversions fill the window along the completion curve of the product, organic
        ones evenly. A contact's exposure is the mean of both, so that a full window sums to 1; a
        no-contact row (contacted 0) has organic exposure only. The later a conversion comes, the
        larger is the organic share that explains it.
        """
        windows = self._edges[products, N_INTERVALS]
        full = self._done(products, windows)
        uplift = (self._done(products, ends) - self._done(products, begins)) / full
        organic = (ends - begins) / windows
        is_contact = np.asarray(contacted, dtype=np.bool_)
        exposure = np.where(is_contact, (uplift + organic) / 2.0, organic)
        return exposure, np.where(is_contact, uplift / exposure, 0.0), organic / exposure

    def moment(self, product: int, interval: int, share: float, is_contact: bool) -> float:
        """Age in days at which a share in [0, 1) of an interval's exposure has been watched (within 1e-4)."""
        begins, ends = self._edges[product, interval : interval + 2]
        if not is_contact:
            return float(begins + share * (ends - begins))
        ages, shares = self._progress[product, interval]
        return float(np.interp(share, shares, ages))

    def _done(self, products: IntArray, ages_days: FloatArray) -> FloatArray:
        """(n,) share of contact-caused conversions that have come by an age, along each product's curve."""
        done = completion(ages_days, self.delays_days[products])
        for product, curve in self.curves.items():
            rows = products == product
            done[rows] = np.interp(ages_days[rows], *curve)
        return done

    @cached_property
    def _edges(self) -> FloatArray:
        """(P, N_INTERVALS + 1) ages at which intervals begin and the window ends."""
        return np.concatenate([np.zeros((len(self.cuts_days), 1)), self.cuts_days], axis=1)

    @cached_property
    def _progress(self) -> FloatArray:
        """(P, N_INTERVALS, 2, n) ages in an interval, and shares of a contact's exposure watched by then."""
        steps = np.linspace(0.0, 1.0, _STEPS)
        begins, widths = self._edges[:, :-1, None], np.diff(self._edges, axis=1)[:, :, None]
        ages = begins + steps * widths
        products = np.broadcast_to(np.arange(len(ages))[:, None, None], ages.shape).ravel()
        first, contacts = np.broadcast_to(begins, ages.shape), np.ones(ages.size, dtype=np.bool_)
        with np.errstate(invalid="ignore"):  # nothing is watched by the first age: its shares are not read
            exposure = self.watched(products, first.ravel(), ages.ravel(), contacts)[0].reshape(ages.shape)
        return np.stack([ages, exposure / exposure[:, :, -1:]], axis=2)


def completion(ages_days: FloatArray, means_days: FloatArray | float) -> FloatArray:
    """Share of decisions taken by an age: the gamma distribution of shape 2 and the given mean."""
    scaled = 2.0 * ages_days / means_days
    return 1.0 - np.exp(-scaled) * (1.0 + scaled)


def _curve(product: Product) -> FloatArray:
    """(2, n) days and shares of a stated completion, from day 0."""
    return np.array([(0.0, 0.0), *product.completion]).T


def _cuts(product: Product) -> list[int]:
    window = product.attribution_window_days
    days = np.arange(window + 1, dtype=np.float64)
    stated = product.completion
    done = np.interp(days, *_curve(product)) if stated else completion(days, product.decision_delay_days)
    cuts = [0]
    for number, share in enumerate((0.25, 0.5, 0.75)):
        latest = window - (N_INTERVALS - 1 - number)  # leave a day for each interval still to come
        cuts.append(min(max(int(np.searchsorted(done / done[-1], share)), cuts[-1] + 1), latest))
    return [*cuts[1:], window]
