"""EDLAE after one more day: a new inverse beside a low-rank update of the old one, and what float32 loses in thirty days.

    python benchmarks/low_rank.py [--items 5000 10000] [--users 20000] [--days 30]

Made data. A user whose row of clicks x becomes y changes X^T X by y y^T - x x^T, of rank 2, and each item of the day changes
the penalty of the dropout, of rank 1. With these rows in U and their signs and sizes in the diagonal S, Woodbury's identity
gives (A + U^T S U)^-1 = C - C U^T (S^-1 + U C U^T)^-1 U C for C = A^-1 (Jeunen, Van Balen, Goethals, "Embarrassingly shallow
auto-encoders for dynamic collaborative filtering", User Modeling and User-Adapted Interaction 2022). Weights of users change
all of A, so that only ``user_exponent: 0`` has such an update.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from machine import describe
from made_data import clicks
from scipy.linalg import solve
from scipy.sparse import csr_matrix, vstack

from recbole_multvae.models.edlae import invert, product

#: The settings of EDLAE, and how many clicks a user has in a day.
DROPOUT, L2, CLICKS_OF_A_USER = 0.5, 200.0, 5
COLUMNS = ("items", "clicks", "step", "rank", "processor s", "largest difference")


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a piece of work, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def penalties(matrix: csr_matrix) -> np.ndarray:
    """The diagonal of Lambda, float32 [I]."""
    return (DROPOUT / (1 - DROPOUT) * np.asarray(matrix.sum(axis=0)).ravel() + L2).astype(np.float32)


def gram(matrix: csr_matrix) -> np.ndarray:
    """X^T X, [I, I]."""
    return product(matrix.T.tocsr(), matrix)


def inverse(matrix: csr_matrix) -> np.ndarray:
    """C of all clicks, [I, I]."""
    result = gram(matrix)
    result.flat[:: len(result) + 1] += penalties(matrix)
    invert(result, L2)
    return result


def similarity(inverted: np.ndarray) -> np.ndarray:
    """B, [I, I]."""
    result = inverted / -np.diag(inverted)
    np.fill_diagonal(result, 0)
    return result


def changes(before: csr_matrix, after: csr_matrix) -> tuple[csr_matrix, np.ndarray]:
    """U and the diagonal of S between two matrices of clicks."""
    users = np.flatnonzero(np.diff(after.indptr) - np.diff(before.indptr))
    old = users[np.diff(before.indptr)[users] > 0]
    grown = penalties(after) - penalties(before)
    items = np.flatnonzero(grown)
    units = csr_matrix((np.ones(len(items), np.float32), items, np.arange(len(items) + 1)), (len(items), len(grown)))
    signs = np.concatenate([np.ones(len(users)), -np.ones(len(old)), grown[items]]).astype(np.float32)
    return vstack([after[users], before[old], units], format="csr"), signs


def take_day(inverted: np.ndarray, before: csr_matrix, after: csr_matrix) -> int:
    """Change C in place. Returns the rank of the change."""
    rows, signs = changes(before, after)
    moved = rows @ inverted
    solved = solve(np.diag(1 / signs) + rows @ moved.T, moved, overwrite_b=False, check_finite=False)
    torch.from_numpy(inverted).addmm_(torch.from_numpy(moved).T, torch.from_numpy(solved.astype(np.float32)), alpha=-1)
    return len(signs)


def day(matrix: csr_matrix, number: int, seed: int) -> csr_matrix:
    """The clicks without those of a day: users drawn at random lose some clicks each."""
    rng = np.random.default_rng(seed)
    able = np.flatnonzero(np.diff(matrix.indptr) > CLICKS_OF_A_USER)
    data = matrix.data.copy()
    for user in rng.choice(able, max(1, number // CLICKS_OF_A_USER), replace=False):
        data[rng.choice(np.arange(*matrix.indptr[user : user + 2]), CLICKS_OF_A_USER, replace=False)] = 0
    result = csr_matrix((data, matrix.indices.copy(), matrix.indptr.copy()), matrix.shape)
    result.eliminate_zeros()
    return result


def gram_file(matrix: np.ndarray) -> float:
    """Seconds of writing a matrix to a file and reading it from the page cache."""
    with tempfile.TemporaryFile(dir=".") as file:

        def work() -> None:
            matrix.tofile(file)
            file.seek(0)
            np.fromfile(file, matrix.dtype)

        return seconds(work)[0]


def main() -> None:
    """Print a Markdown table and a sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[5000, 10_000])
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--clicks", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--days", type=int, default=30)
    args = parser.parse_args()
    print(f"{describe()}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for items in args.items:
        table(made(args.users, items), args.clicks)
    if args.days:
        many_days(made(args.users, min(args.items)), args.days)


def made(users: int, items: int) -> csr_matrix:
    """Made clicks, float32 ones, [U, I]."""
    rows, columns = clicks(users, items)
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (users, items))


def table(everything: csr_matrix, numbers: list[int]) -> None:
    """The rows of one size of the catalogue."""
    head = f"| {everything.shape[1]:,} | {everything.nnz:,}"
    time_gram, whole = seconds(lambda: gram(everything))
    print(f"{head} | X^T X | | {time_gram:.1f} | |", flush=True)
    print(f"{head} | X^T X written and read | | {gram_file(whole):.1f} | |", flush=True)
    time_all, fresh = seconds(lambda: inverse(everything))
    print(f"{head} | X^T X and inverse | | {time_all:.1f} | |", flush=True)
    expected = similarity(fresh)
    for number in numbers:
        before = day(everything, number, number)
        inverted = inverse(before)
        time_day, rank = seconds(partial(take_day, inverted, before, everything))
        error = np.abs(similarity(inverted) - expected).max()
        print(f"{head} | a day of {number:,} clicks | {rank:,} | {time_day:.1f} | {error:.1e} |", flush=True)


def many_days(everything: csr_matrix, days: int) -> None:
    """How far float32 drifts from a new fit."""
    history = [everything]
    for number in range(days):
        history.append(day(history[-1], 300, number))
    inverted = inverse(history[-1])
    for before, after in zip(history[:0:-1], history[-2::-1], strict=True):
        take_day(inverted, before, after)
    error = np.abs(similarity(inverted) - similarity(inverse(everything))).max()
    print(f"\nAfter {days} days of 300 clicks the largest difference of B from a new fit is {error:.1e}.")


if __name__ == "__main__":
    main()
