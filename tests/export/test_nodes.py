"""Nodes and their constants stay together."""

from __future__ import annotations

import numpy as np
import pytest
from multvae_export.nodes.nodes import LITERALS, Nodes


def test_nodes_have_the_constants_that_they_read_and_no_others() -> None:
    weight = np.ones(3)
    nodes = Nodes("    y = Mul(x, weight)\n", {"weight": weight, "other": weight}) + "    z = Unsqueeze(y, axis1)\n"
    assert dict(nodes.constants) == {"weight": weight, "axis1": LITERALS["axis1"]}
    assert nodes.produced == {"y", "z"}


def test_a_constant_has_one_value() -> None:
    nodes = Nodes("    y = Mul(x, weight)\n", {"weight": np.ones(3)})
    assert (nodes + Nodes("    z = Mul(y, weight)\n", {"weight": np.ones(3)})).constants["weight"].sum() == 3
    for other in (np.zeros(3), np.ones(2), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match="the constant weight has two values"):
            nodes + Nodes("    z = Mul(y, weight)\n", {"weight": other})


def test_nodes_under_other_names_keep_their_constants() -> None:
    nodes = Nodes("    y, place = TopK <axis: int = 1> (x, k)\n    z = Mul(y, weight)\n", {"weight": np.ones(3)})
    renamed = nodes.renamed("second_", {"x": "x2"})
    assert "second_y, second_place = TopK <axis: int = 1> (x2, k)" in renamed.text
    assert "second_z = Mul(second_y, weight)" in renamed.text
    assert renamed.constants is not nodes.constants and renamed.constants == nodes.constants
