"""The table of RecBole's models by environment."""

from __future__ import annotations

from environments import recbole_models, table


def test_models_are_compared_with_the_reference() -> None:
    works, near, fails = {"test": {"auc": 0.5}}, {"test": {"auc": 0.5004}}, {"error": "TypeError: no"}
    made = table(
        {
            "python3.11-numpy1": {"A": works, "B": works, "C": works, "D": fails, "E": fails, "F": works},
            "python3.13-numpy2": {"A": works, "B": near, "C": fails, "D": fails, "E": works},
        }
    )
    assert [row.split(" | ")[1:] for row in made.splitlines()[2:]] == [
        ["works", "works, equal |"],
        ["works", "works, equal to 3 digits |"],
        ["works", "fails here only: TypeError: no |"],
        ["TypeError: no", "fails, too |"],
        ["TypeError: no", "works |"],
        ["works", "not run |"],
    ]
    models = recbole_models("general", "sequential")
    assert {"BPR", "LightGCN", "Random", "SASRec"} <= set(models) and len(models) == len(set(models)) == 64
