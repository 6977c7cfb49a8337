"""Whether one more contact would overfill a window: sliding ones, wherever they lie, and calendar periods.

All moments are whole microseconds, so that nothing here is rounded. A window of length W is half open,
[s, s + W): two contacts exactly W apart share none.
"""

from __future__ import annotations

import numpy as np

from nba.arrays import BoolArray, IntArray


def overfills(times: IntArray, counted: BoolArray, moments: IntArray, contacts: int, width: int) -> BoolArray:
    """(B, T) whether one more contact at `moments` (B, T) puts more than `contacts` into some window.

    `times` (B, H) are of contacts before and after, of which a limit counts those `counted` (B, H).
    The start of a window may be moved on to the first contact inside without losing any: only windows that
    start at a contact, or at the moment itself, have to be looked at.
    """
    after = times[:, None, :] - times[:, :, None]
    in_window: BoolArray = (after >= 0) & (after < width) & counted[:, None, :]
    is_full = counted & (in_window.sum(axis=2) >= contacts)  # (B, H) windows that start at a contact
    ahead = times[:, None, :] - moments[:, :, None]  # (B, T, H)
    in_full = (ahead <= 0) & (ahead > -width) & is_full[:, None, :]
    follow: IntArray = ((ahead >= 0) & (ahead < width) & counted[:, None, :]).sum(axis=2)
    overfilled: BoolArray = np.logical_or.reduce(in_full, axis=2) | (follow >= contacts)
    return overfilled


def fullest(times: IntArray, moment: int, width: int) -> int:
    """How many of some contacts (n,) the fullest window around a moment holds."""
    starts = np.append(times[(times <= moment) & (times > moment - width)], moment)
    ahead = times - starts[:, None]
    held: IntArray = ((ahead >= 0) & (ahead < width)).sum(axis=1)
    return int(held.max())


def overfills_period(periods: IntArray, counted: BoolArray, own: IntArray, contacts: int) -> BoolArray:
    """(B, T) whether one more contact in the periods `own` (B, T) puts more than `contacts` into one.

    `periods` (B, H) are those of contacts, numbered through as by `nba.constraints.local_time.period_of`.
    """
    same: IntArray = ((periods[:, None, :] == own[:, :, None]) & counted[:, None, :]).sum(axis=2)
    full: BoolArray = same >= contacts
    return full


def is_near(times: IntArray, counted: BoolArray, moments: IntArray, width: int) -> BoolArray:
    """(B, T) whether a counted contact lies less than `width` before or after `moments` (B, T)."""
    apart = times[:, None, :] - moments[:, :, None]
    near: BoolArray = np.logical_or.reduce((apart < width) & (apart > -width) & counted[:, None, :], axis=2)
    return near
