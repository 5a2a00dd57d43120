"""The roles of a table's columns: user, item, rating and time. The command line names them, or their usual names tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_multvae.errors import ConfigurationError, DataError

#: The value on the command line that leaves a column out.
NONE = "none"
#: The usual names by role, the likeliest first, in lower case and with letters and digits only.
USUAL = {
    "user": """user userid uid users username userno customer customerid customerno visitor visitorid reviewer reviewerid
        member memberid account accountid profile profileid client clientid buyer buyerid player playerid listener listenerid
        reader readerid viewer viewerid subscriber subscriberid householdkey msno steamid session sessionid""",
    "item": """item itemid iid items movie movieid film filmid product productid productno sku skuid asin parentasin isbn
        article articleid track trackid song songid artist artistid album albumid book bookid game gameid app appid
        business businessid news newsid video videoid show showid anime animeid recipe recipeid content contentid
        stockcode listing listingid venue venueid location locationid poi poiid course courseid job jobid
        hotel hotelid restaurant restaurantid beer beerid offer offerid document documentid page pageid url""",
    "rating": "rating ratings score stars star overall rate userrating bookrating reviewscore reviewoverall starrating",
    "time": """timestamp time datetime date ts unixtime unixreviewtime eventtime eventtimestamp createdat created
        ratingtime ratingtimestamp reviewtime clicktime viewtime purchasetime purchasedate orderdate orderdatetime
        invoicedate transactiondate tdat playedat watchedat visitedat checkintime timest""",
}
#: The usual names of the item's column in a table of items.
USUAL_OF_ITEMS = f"{USUAL['item']} id code key"
USUAL_TITLES = "title name"


@dataclass(frozen=True)
class Roles:
    """The columns of a table of interactions; None for one that is left out."""

    user: str
    item: str
    rating: str | None
    time: str | None


def plain(name: str) -> str:
    """A name in the form of the usual names, and without the type of an atomic file, as in user_id:token."""
    return re.sub(r"[\W_]", "", re.sub(r":(token|float)(_seq)?$", "", name)).lower()


def listed(names: Sequence[str], most: int = 30) -> str:
    """Names for an error."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name or "one without a name" for name in names[:most]) + rest


def checked(path: Path, names: Sequence[str], name: str, flag: str) -> str:
    """A column that the command line names.

    Raises:
        DataError: the file has no such column, or several.
    """
    if names.count(name) == 1:
        return name
    if name in names:
        raise DataError(f"{path} has {names.count(name)} columns {name!r}: rename all but one.")
    numbers = any(re.fullmatch(r"[\d.,:-]+", column) for column in names)
    advice = " (if this is its first row, add --no-header, and name columns by number)" if numbers and name else ""
    raise DataError(f"{path} has no column {name!r}: it has {listed(names)}{advice}; name one of them with {flag}.")


def guess(names: Sequence[str], usual: str) -> list[str]:
    """The columns with the likeliest of some usual names. They are several if they differ only in case and the like."""
    for candidate in usual.split():
        if columns := [name for name in names if plain(name) == candidate]:
            return columns
    return []


def guess_title(names: Iterable[str]) -> str | None:
    """The column of titles: its name is title or name, or ends in one of them, as product_title."""
    names = list(names)
    for usual in USUAL_TITLES.split():
        exact = [name for name in names if plain(name) == usual]
        if columns := exact or [name for name in names if plain(name).endswith(usual)]:
            return columns[0]
    return None


def resolve(path: Path, names: Sequence[str], flags: Mapping[str, str | None]) -> tuple[Roles, list[str]]:
    """Find the columns of a table of interactions.

    Args:
        path: the file, for errors.
        names: its columns.
        flags: the columns that the command line names, by role; None for one that it does not name.

    Returns:
        The columns, and the roles that were guessed.

    Raises:
        ConfigurationError: two roles have the same column.
        DataError: a column does not exist, or cannot be guessed.
    """
    named = {role: _named(path, names, role, name) for role, name in flags.items() if name is not None}
    unnamed = [name for name in names if name not in named.values()]
    guessed = {role: _guessed(path, unnamed, names, role) for role in USUAL if role not in named}
    columns: dict[str, str | None] = {**named, **guessed}
    used = [name for name in columns.values() if name is not None]
    if twice := next((name for name in used if used.count(name) > 1), None):
        roles = " and ".join(f"--{role}" for role, name in columns.items() if name == twice)
        raise ConfigurationError(f"The column {twice!r} is named for {roles}: name different columns.")
    resolved = Roles(str(columns["user"]), str(columns["item"]), columns["rating"], columns["time"])
    return resolved, [role for role in USUAL if guessed.get(role) is not None]


def _named(path: Path, names: Sequence[str], role: str, name: str) -> str | None:
    if name == NONE and name not in names and role in ("rating", "time"):
        return None
    return checked(path, names, name, f"--{role}")


def _guessed(path: Path, unnamed: Sequence[str], names: Sequence[str], role: str) -> str | None:
    candidates = guess(unnamed, USUAL[role])
    if len(candidates) == 1 or (not candidates and role in ("rating", "time")):
        return candidates[0] if candidates else None
    if candidates:
        flag = f"--{role} {candidates[0]}" + (" or none" if role in ("rating", "time") else "")
        raise DataError(f"{path} has several columns for the {role}, {listed(candidates)}: name one, for example {flag}.")
    numbers = all(re.fullmatch(r"[\d.,:-]+", name) for name in names)
    advice = "number the columns with --no-header --user 1 --item 2" if numbers else f"name it with --{role}"
    raise DataError(f"Cannot tell which column of {path} holds the {role}: it has {listed(names)}; {advice}.")


def item_column(path: Path, names: Sequence[str], flag: str | None, of_interactions: str) -> str:
    """The column of ids in a table of items.

    Args:
        path: the file, for errors.
        names: its columns.
        flag: the column that the command line names; None: the one of the same name as in the interactions, or a usual one.
        of_interactions: the item's column in the table of interactions.

    Raises:
        DataError: the column does not exist, or cannot be guessed.
    """
    if flag is not None:
        return checked(path, names, flag, "--item-id")
    candidates = [of_interactions] if of_interactions in names else guess(names, USUAL_OF_ITEMS)
    if not candidates:
        raise DataError(
            f"Cannot tell which column of {path} holds the item: it has {listed(names)}; name it with --item-id."
        )
    return checked(path, names, candidates[0], "--item-id")
