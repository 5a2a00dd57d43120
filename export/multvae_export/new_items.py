"""``--add-items``: a trained model with items that nobody has clicked yet; their fields say what their rows are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from multvae_export.checkpoint.contents import Checkpoint
from multvae_export.errors import FeaturesError, HistoriesError, OptionError
from multvae_export.features.encoding import Encoded, encode
from multvae_export.features.item_file import ItemFile
from multvae_export.features.regression import Regression, weights_of
from multvae_export.histories import Layout, drawn, padded, random_histories, read_inter
from multvae_export.trained_model import Model

#: The length of the lists in which new items are counted.
TOP = 10
RANDOM, BATCH = 1000, 100


@dataclass(frozen=True)
class NewItems:
    """What the user asks for.

    Attributes:
        file: an ``.item`` file of the new items alone.
        fields: of the items, by which the rows are made; None for all fields of the file.
        most: how many new items may be among the ten best, on average; None without a limit.
    """

    file: Path
    fields: tuple[str, ...] | None = None
    most: float | None = None

    @classmethod
    def named(cls, file: str | Path | None, fields: str | None, most: float | None) -> NewItems | None:
        """What a command's options ask for; None where they add no items.

        Raises:
            OptionError: an option does not fit the others.
        """
        if file is None:
            if option := "--features" if fields is not None else "--max-new-in-top-10" if most is not None else None:
                raise OptionError(f"{option} is about the items of --add-items: name their file, or leave it out.")
            return None
        if most is not None and not 0 <= most <= TOP:
            raise OptionError(f"--max-new-in-top-10={most:g} is not allowed: expected a number from 0 to {TOP}.")
        names = None if fields is None else tuple(name for name in fields.split(",") if name)
        if names == ():
            raise OptionError(f"--features={fields} names no field: expected names with commas between, such as genre,year.")
        return cls(Path(file), names, most)


@dataclass(frozen=True)
class Extended:
    """A model with new items.

    Attributes:
        model: its new items come after those of the training.
        encoded: the items as numbers.
        known: how many items of the training had fields.
    """

    model: Model
    encoded: Encoded
    known: int

    @classmethod
    def of(cls, model: Model, checkpoint: Checkpoint, new: NewItems, dataset_path: str | None) -> Extended:
        """Add the items.

        Args:
            model: the model of the checkpoint.
            checkpoint: it names the file of the trained items, and says how often each was clicked.
            new: what the user asks for.
            dataset_path: the folder of the data set, or the folder that holds it; None: where it was at the training.

        Raises:
            OptionError: there is no file of the trained items.
            FeaturesError: a file does not fit the model, or its fields say nothing.
            HistoriesError: a file cannot be read.
        """
        layout = Layout.of(checkpoint.config)
        added = ItemFile.read(new.file, layout, new.fields)
        _check_tokens(added, model.tokens)
        trained = ItemFile.read(_trained_items(checkpoint.config, dataset_path), layout, tuple(added.kinds))
        _check_kinds(trained, added)
        order = {token: row for row, token in enumerate(model.tokens[1:])}
        known = np.isin(np.arange(len(order)), [order[token] for token in trained.tokens if token in order])
        weights = weights_of(checkpoint.item_clicks(model.n_items), known)
        if not weights.any():
            raise FeaturesError(
                f"none of the items that the model has learned from is in {trained.path}, such as {model.tokens[1]!r}: name "
                "the folder of the data set that it was trained on with --dataset-path."
            )
        encoded = encode(trained, added, order, weights)
        _check_known(added, encoded)
        if new.fields is not None and encoded.constant:
            raise FeaturesError(
                f"the field {encoded.constant[0]} of {trained.path} tells no two of the trained items apart: leave it out "
                "of --features."
            )
        architecture = model.architecture.with_items(Regression(encoded, weights).rows)
        longer = replace(model, architecture=architecture, tokens=(*model.tokens, *added.tokens))
        return cls(longer, encoded, int((weights > 0).sum()))

    @property
    def count(self) -> int:
        """The number of new items."""
        return self.encoded.new.shape[0]

    @property
    def entries(self) -> dict[str, str]:
        """The entries of the file's metadata."""
        return {"new_items": str(self.count), "new_items_from": ",".join(self.encoded.names)}

    def limited(self, most: float, people: People) -> Extended:
        """The model whose new items have lower scores, such that not more of them are among the ten best on average."""
        surplus = np.sort(np.concatenate([self._margins(part).ravel() for part in people.batches]))[::-1]
        always = int(np.isinf(surplus).sum())  # In a list without enough trained items.
        place = max(int(most * people.count), always)
        if place >= len(surplus) or surplus[place] < 0:
            return self
        lower = surplus[place] * (1 + 1e-5) + 1e-5  # Rounding must not bring an item back.
        shift = torch.zeros(self.model.n_items - 1)
        shift[-self.count :] = -float(lower)
        return replace(self, model=replace(self.model, architecture=self.model.architecture.shifted(shift)))

    def figures(self, people: People) -> str:
        """How many items there are, and how many of them are among the ten best."""
        found = sum(int((self._margins(part) > 0).sum()) for part in people.batches)
        constant = f", nothing in {', '.join(self.encoded.constant)}" if self.encoded.constant else ""
        return (
            f"{self.count:,} from {', '.join(self.encoded.names)} of {self.known:,} items{constant}; "
            f"{found / people.count:.2f} of them in a top {TOP}, over {people.count:,} {people.kind}"
        )

    def _margins(self, requests: np.ndarray) -> np.ndarray:
        """By how much each of the best new items is above the trained item whose place in the top ten it takes.

        Returns:
            [B, j]: the j-th best new item is among the ten best where this is positive.
        """
        scores = self.model.architecture.answer(torch.from_numpy(requests))
        trained, new = scores[:, 1 : -self.count], scores[:, -self.count :]
        trained, new = (part.topk(min(TOP, part.shape[1]), dim=1).values for part in (trained, new))
        opposite = pad(trained, (0, TOP - trained.shape[1]), value=-torch.inf).flip(1)
        return (new - opposite[:, : new.shape[1]]).numpy()


@dataclass(frozen=True)
class People:
    """Those in whose lists the new items are counted.

    Attributes:
        batches: what they ask with: histories of item ids, int64 [B, L], or users by id, int64 [B].
        kind: what they are, for people.
    """

    batches: list[np.ndarray]
    kind: str

    @classmethod
    def of(cls, model: Model, histories: str | Path | None, layout: Layout) -> People:
        """The users of the model, those of a file, or random histories; of many, some that are drawn.

        Raises:
            HistoriesError: the file cannot be read, or has no item of the model.
        """
        rng, users = np.random.default_rng(0), len(model.architecture.user_tokens)
        if users:
            chosen = np.array(drawn(range(1, users), rng))
            return cls([chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)], "users")
        if histories is None:
            rows, kind = random_histories(model.n_items, RANDOM), "random histories; --histories takes real ones"
        else:
            rows, kind = read_inter(histories, model.tokens, layout), "users"
            if not rows:
                raise HistoriesError(
                    f"no user of {histories} has an item that the model knows: expected its data set's tokens."
                )
        rows = drawn(rows, rng)
        return cls([padded(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)], kind)

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(map(len, self.batches))


def extended(
    model: Model, checkpoint: Checkpoint, new: NewItems | None, histories: str | Path | None, dataset_path: str | None
) -> tuple[Model, dict[str, str], list[tuple[str, str]]]:
    """The model with the items that are asked for, their entries in the metadata, and what is reported about them.

    Raises:
        OptionError: a limit without real users.
        ExportError: see :meth:`Extended.of` and :meth:`People.of`.
    """
    if new is None:
        return model, {}, []
    if new.most is not None and histories is None and not model.architecture.user_tokens:
        raise OptionError("--max-new-in-top-10 counts in the lists of real users: name their clicks with --histories.")
    people = People.of(model, histories, Layout.of(checkpoint.config))
    longer = Extended.of(model, checkpoint, new, dataset_path)
    if new.most is not None:
        longer = longer.limited(new.most, people)
    return longer.model, longer.entries, [("new items", longer.figures(people))]


def _check_tokens(added: ItemFile, tokens: tuple[str, ...]) -> None:
    if both := sorted(set(added.tokens) & set(tokens)):
        raise FeaturesError(
            f"--add-items={added.path} has {len(both):,} of {len(added.tokens):,} items that the model has already, such as "
            f"{both[0]!r}: leave only new items in the file."
        )


def _check_known(added: ItemFile, encoded: Encoded) -> None:
    if not (known := encoded.known).all():
        raise FeaturesError(
            f"the item {added.tokens[int(np.argmin(known))]!r} of {added.path} has nothing in {', '.join(encoded.names)} "
            "that a trained item has: give it values of theirs, or take it out of the file."
        )


def _check_kinds(trained: ItemFile, added: ItemFile) -> None:
    for name, kind in added.kinds.items():
        if trained.kinds[name] != kind:
            raise FeaturesError(
                f"the field {name} is of type {kind} in {added.path} and {trained.kinds[name]} in {trained.path}: expected "
                "the same type in both."
            )


def _trained_items(config: dict[str, Any], dataset_path: str | None) -> Path:
    """The ``.item`` file of the training."""
    name, folder = str(config.get("dataset")), dataset_path or str(config.get("data_path"))
    places = [Path(folder, f"{name}.item"), *([Path(folder, name, f"{name}.item")] if dataset_path else [])]
    if found := next((place for place in places if place.is_file()), None):
        return found
    raise OptionError(
        f"--add-items needs the fields of the items of the training, and there is no file {places[-1]}: name the folder of "
        "the data set with --dataset-path."
    )
