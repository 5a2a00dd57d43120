"""The checkpoint of a sum, put together from checkpoints of its members on the same data set."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

#: What the sum saves for all of its members.
SHARED = ("format_version", "dataset", "item_tokens", "user_tokens", "training_clicks", "training_sha256")


def sum_checkpoint(path: Path, members: Sequence[tuple[str, Path, float]]) -> Path:
    """Write a checkpoint of a sum.

    Args:
        path: where to write.
        members: the name, the checkpoint and the factor of each; one at least is of the plugin, for the tokens.
    """
    names, paths, factors = zip(*members, strict=True)
    loaded = [torch.load(file, weights_only=False) for file in paths]
    extras = [contents.get("other_parameter") for contents in loaded]
    family = next(extra for extra in extras if extra and "item_tokens" in extra)
    contents: dict[str, Any] = {**loaded[0], "config": deepcopy(loaded[0]["config"]), "state_dict": {}}
    contents["config"].final_config_dict["model"] = "+".join(names)
    listed = [{"name": name, "weight": f / sum(factors), "factor": f} for name, f in zip(names, factors, strict=True)]
    spec = {"model": "+".join(names), "architecture": "sum", "n_items": len(family["item_tokens"]), "members": listed}
    saved = []
    for n, (member, extra) in enumerate(zip(loaded, extras, strict=True)):
        contents["state_dict"] |= {f"members.{n}.{key}": value for key, value in member["state_dict"].items()}
        own = extra and {key: value for key, value in extra.items() if key not in ("item_tokens", "user_tokens")}
        saved.append({"config": dict(member["config"].final_config_dict), "other_parameter": own})
    contents["other_parameter"] = {**{key: family[key] for key in SHARED if key in family}, "spec": spec, "members": saved}
    torch.save(contents, path, pickle_protocol=4)
    return path
