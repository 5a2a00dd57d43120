"""The tables of benchmarks/quality.py: every row is a configuration that is accepted, and has the table's metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quality import leaderboard_name
from quality_tables import TABLES, Row, Table

from recbole_multvae.data.protocols import chosen
from recbole_multvae.experiment.configuration import make_config
from tests.conftest import QUIET

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROWS = [pytest.param(table, row, id=f"{key}: {name}") for key, table in TABLES.items() for name, row in table.rows.items()]


def configuration(table: Table, row: Row) -> Any:
    keys = dict(key.split("=", 1) for key in f"{table.keys} {row.keys}".split())
    return make_config(row.model, table.dataset, [*table.files, *row.files], QUIET, keys)


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_row_is_a_configuration_with_the_metrics_of_its_table(table: Table, row: Row) -> None:
    config = configuration(table, row)
    assert table.metrics.keys() <= {f"{name.lower()}@{k}" for name in config["metrics"] for k in config["topk"]}
    assert config["valid_metric"].lower() in table.metrics
    assert not row.script or (BENCHMARKS / row.script).is_file()


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_row_of_the_leaderboard_has_the_same_configuration(table: Table, row: Row, tmp_path: Path) -> None:
    _, _, file = leaderboard_name("a row", row, table, tmp_path).partition(":")
    config = make_config(row.model, table.dataset, [*table.files, *([file] if file else [])], QUIET, {})
    assert config.final_config_dict == configuration(table, row).final_config_dict


def test_published_figures_have_the_metrics_of_their_table() -> None:
    for table in TABLES.values():
        for figures in table.published.values():
            assert len(figures) == len(table.metrics) and all(figure is None or 0 < figure < 1 for figure in figures)


def test_the_rows_of_a_table_have_one_protocol() -> None:
    def protocol(table: Table, row: Row) -> Any:
        config = configuration(table, row)
        split = chosen(config)
        values = [config[key] for key in ("eval_args", "val_interval", "metrics", "benchmark_filename")]
        return split and split.name, values

    for table in TABLES.values():
        assert len({str(protocol(table, row)) for row in table.rows.values()}) == 1
    assert [protocol(TABLES[name], Row("EASE"))[0] for name in ("slides", "leaderboard", "strong")] == ["WG", None, "SG"]


def test_the_public_implementation_has_the_settings_of_ours() -> None:
    ours, theirs = (row for row in TABLES["strong"].rows.values() if row.files == ("paper",))
    assert theirs == ours._replace(script="vae_cf.py")
    config = configuration(TABLES["strong"], ours)
    fixed = config["mlp_hidden_size"], config["latent_dimension"], config["dropout_prob"], config["learning_rate"]
    assert fixed == ([600], 200, 0.5, 0.001)  # main.py of younggyoseo/vae-cf-pytorch.
    assert (config["decoder_hidden_size"], config["kl_weighting"], config["ema_decay"]) == ("mirrored", "equal", 0)
