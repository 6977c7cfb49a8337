"""The fitted members of a bagged posterior, and what they expect of every action."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nba.arrays import FloatArray, IntArray
from nba.posteriors.regressor import predict

_CHUNK = 65_536  # rows predicted at a time


class Member(NamedTuple):
    """One member: fitted regressors, and the lifts that it believes in where it has none."""

    lifts: FloatArray  # (A - 1,) uplift of each contact action
    organic_lifts: FloatArray  # (P,)
    uplift: Any = None  # rows (x, channel, timing, product) to lifts
    organic: Any = None  # rows (x, product) to lifts

    def uplifts(self, features: FloatArray, codes: FloatArray, actions: IntArray) -> FloatArray:
        """(n,) uplift of contact actions (n,) whose factors have one-hot codes (n, F)."""
        if self.uplift is None:
            believed: FloatArray = self.lifts[actions - 1]
            return believed
        return predict(self.uplift, joint(features, codes))

    def organic_table(self, features: FloatArray) -> FloatArray:
        """(B, K) to (B, P) organic lifts of all products."""
        n_rows, n_products = features.shape[0], self.organic_lifts.size
        products = np.tile(np.arange(n_products), n_rows)
        return self.organics(np.repeat(features, n_products, axis=0), products).reshape(n_rows, n_products)

    def organics(self, features: FloatArray, products: IntArray) -> FloatArray:
        """(n,) organic lift of products (n,)."""
        if self.organic is None:
            believed: FloatArray = self.organic_lifts[products]
            return believed
        return predict(self.organic, joint(features, np.eye(self.organic_lifts.size)[products]))


class Members:
    """All members, and how to read them: factors (A - 1, F) and forecast rate (A - 1,) of the contacts."""

    def __init__(self, members: tuple[Member, ...], factors: FloatArray, forecast: FloatArray) -> None:
        self.members, self.factors, self.forecast = members, factors, forecast
        # A decision asks for draws, mean and bounds of the same contexts: trees are asked once.
        self._latest: tuple[bytes, FloatArray] | None = None

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle the members, not the latest answer."""
        return Members, (self.members, self.factors, self.forecast)

    def predictions(self, features: FloatArray) -> FloatArray:
        """(N, B, A) expected reward of each action after each member, 0 for no-contact; read only."""
        asked = features.tobytes()
        latest = self._latest
        if latest is None or latest[0] != asked:
            latest = asked, self._predicted(features)
            self._latest = latest
        return latest[1]

    def _predicted(self, features: FloatArray) -> FloatArray:
        n_contexts, n_contacts = features.shape[0], self.forecast.size
        out = np.zeros((len(self.members), n_contexts, 1 + n_contacts))
        step, actions = max(1, _CHUNK // n_contacts), 1 + np.arange(n_contacts)
        for start in range(0, n_contexts, step):
            x = np.repeat(features[start : start + step], n_contacts, axis=0)
            n = x.shape[0] // n_contacts
            codes, which = np.tile(self.factors, (n, 1)), np.tile(actions, n)
            for number, member in enumerate(self.members):
                lifts = member.uplifts(x, codes, which).reshape(n, n_contacts)
                out[number, start : start + step, 1:] = lifts * self.forecast
        out.flags.writeable = False
        return out


def joint(features: FloatArray, codes: FloatArray) -> FloatArray:
    """(n, K + F) rows of features (n, K) beside one-hot codes (n, F)."""
    return np.concatenate([features, codes], axis=1)


def varied(shape: tuple[int, ...]) -> FloatArray:
    """(F,) weights of independent level effects whose sums over the factors that vary have variance 1."""
    varies = [n > 1 for n in shape] if max(shape) > 1 else [True] * len(shape)
    weights: FloatArray = np.repeat(np.array(varies) / np.sqrt(sum(varies)), shape)
    return weights
