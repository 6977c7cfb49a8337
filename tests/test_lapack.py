"""LAPACK without the interpreter's lock: SciPy's bits, and threads that go on meanwhile."""

import sys
from threading import Event, Thread
from time import sleep

import numpy as np
import pytest
from scipy import linalg

from nba.lapack import cholesky, solved, solved_upper


@pytest.fixture
def definite() -> np.ndarray:
    """(90, 90) a symmetric positive definite matrix."""
    rows = np.random.default_rng(3).standard_normal((200, 90))
    gram = rows.T @ rows
    return (gram + gram.T) / 2


def test_bits_are_those_of_scipy(definite: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    one, many = rng.standard_normal(90), rng.standard_normal((90, 7))
    factor, known = cholesky(definite), linalg.cholesky(definite, lower=True)
    assert np.array_equal(np.tril(factor), known)
    assert np.array_equal(solved(factor, one), linalg.cho_solve((known, True), one))
    upper = linalg.solve_triangular(known, many, lower=True, trans="T")
    assert np.array_equal(solved_upper(factor, many), upper)


def test_what_is_given_stays(definite: np.ndarray) -> None:
    before, right = definite.copy(), np.ones(90)
    factor = cholesky(definite)
    solved(factor, right)
    solved_upper(factor, right[:, None])
    assert np.array_equal(definite, before)
    assert np.array_equal(right, np.ones(90))


def test_by_hand() -> None:
    factor = cholesky(np.array([[4.0, 2.0], [2.0, 10.0]]))
    assert np.tril(factor).tolist() == [[2.0, 0.0], [1.0, 3.0]]
    assert solved(factor, np.array([8.0, 22.0])).tolist() == [1.0, 2.0]
    assert solved_upper(factor, np.array([[5.0], [6.0]])).tolist() == [[1.5], [2.0]]


def test_a_matrix_that_is_not_definite_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="2-th leading minor not positive definite"):
        cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))


def test_another_thread_goes_on_while_a_matrix_is_factored() -> None:
    # No thread is made to give the lock away, so that another one runs only if a call itself does.
    matrix, over, turns = np.eye(1_000) + 1.0, Event(), [0]
    interval = sys.getswitchinterval()

    def count() -> None:
        while not over.is_set():
            turns[0] += 1
            sleep(0.0)  # here it gives the lock back

    counting = Thread(target=count)
    cholesky(matrix[:2, :2])  # the routine is found
    sys.setswitchinterval(10.0)
    counting.start()
    try:
        before, tries = turns[0], 0
        while turns[0] < before + 2 and tries < 100:  # one turn could be due to an earlier request
            cholesky(matrix)
            tries += 1
    finally:
        sys.setswitchinterval(interval)
        over.set()
        counting.join()
    assert turns[0] >= before + 2
