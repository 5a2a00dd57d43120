"""The checkpoint that ``warm_start`` names: what an earlier training left, or the part of a sum that one member left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_multvae import checkpoint
from recbole_multvae.data.digests import content_digest
from recbole_multvae.errors import CheckpointError


@dataclass(frozen=True)
class Earlier:
    """The checkpoint of an earlier training.

    Attributes:
        file: its path.
        sha256: the digest of its content.
        keys: its configuration.
        saved: all that it holds.
    """

    file: str
    sha256: str
    keys: dict[str, Any]
    saved: dict[str, Any]

    @classmethod
    def read(cls, file: str, model: str, member: str | None = None) -> Earlier:
        """Read a checkpoint of a model, without executing it.

        Args:
            file: its path.
            model: the name of the model.
            member: the name of the model in a sum; the file is then a checkpoint of the sum.

        Raises:
            CheckpointError: it is missing, damaged, of another model or of another format.
        """
        saved = checkpoint.load(file, "cpu")
        keys = getattr(saved.get("config"), "final_config_dict", None) if isinstance(saved, dict) else None
        if not isinstance(keys, dict) or not isinstance(saved.get("state_dict"), dict):
            raise CheckpointError(
                f"warm_start={file!r} is not a checkpoint of RecBole's Trainer: name one, such as saved/*.pth."
            )
        wanted = "Sum" if member else model
        if (found := keys.get("model")) != wanted:
            raise CheckpointError(
                f"warm_start={file!r} is a checkpoint of {found}, and the run trains {wanted}: name one of these."
            )
        added = saved.get("other_parameter")
        if not isinstance(added, dict) or not isinstance(added.get("item_tokens"), list):
            raise CheckpointError(
                f"warm_start={file!r} has no item tokens, by which its weights could be matched: train the model once more, "
                "with this version of recbole-multvae."
            )
        checkpoint.check_format(added.get("format_version"))
        earlier = cls(file, content_digest(Path(file)), keys, saved)
        return earlier._member(member, model) if member else earlier

    @property
    def item_tokens(self) -> list[str]:
        """The tokens of its items, without padding, in the order of the rows."""
        return [str(token) for token in self.saved["other_parameter"]["item_tokens"][1:]]

    @property
    def members(self) -> dict[str, dict[str, Any]]:
        """The parts of a sum by the names of the members: ``config``, ``other_parameter``, ``weight`` and ``scale``.

        Raises:
            CheckpointError: it has no complete list of them.
        """
        added = self.saved["other_parameter"]
        try:
            parts = zip(added["spec"]["members"], added["members"], added["scales"], strict=True)
            return {
                entry["name"]: {"weight": entry["weight"], "scale": scale}
                | {key: dict(part[key]) for key in ("config", "other_parameter")}
                for entry, part, scale in parts
            }
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"warm_start={self.file!r} has no complete list of the members of its sum, so that the file is damaged: "
                "take another copy of it, or train the sum once more."
            ) from error

    def _member(self, name: str, model: str) -> Earlier:
        """The part of a member, as it would be a checkpoint alone. A sum keeps neither optimisers nor last weights."""
        members = self.members
        if name not in members:
            raise CheckpointError(
                f"warm_start={self.file!r} is a checkpoint of the sum {'+'.join(members)}, which has no member {name}: name "
                "one of its members."
            )
        keys, prefix = members[name]["config"], f"members.{list(members).index(name)}."
        if (found := keys.get("model")) != model:
            raise CheckpointError(
                f"The member {name} of warm_start={self.file!r} is of the model {found}, and the run trains {model}: name "
                "another member."
            )
        weights = self.saved["state_dict"].items()
        saved = {
            "config": self.saved["config"],
            "state_dict": {key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)},
            "other_parameter": {**self.saved["other_parameter"], **members[name]["other_parameter"]},
        }
        return Earlier(self.file, self.sha256, keys, saved)
