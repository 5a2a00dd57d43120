"""Which column of a table is which: as the command line names them, or by their usual names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_multvae.errors import ConfigurationError, DataError

#: What leaves a column out on the command line.
NONE = "none"
#: The usual names by role, likely ones first, in lower case and without what is no letter or digit.
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
#: Of a table of items, the item's column may have one of these names too.
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
    """A name as the usual names are written, without the type that an atomic file adds to it, as in user_id:token."""
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
    """The columns that have the likeliest of some usual names: more than one where they differ in case and the like."""
    for candidate in usual.split():
        if found := [name for name in names if plain(name) == candidate]:
            return found
    return []


def guess_title(names: Iterable[str]) -> str | None:
    """The column of titles: named title or name, or ending in it, as product_title."""
    names = list(names)
    for usual in USUAL_TITLES.split():
        if found := [name for name in names if plain(name) == usual] or [
            name for name in names if plain(name).endswith(usual)
        ]:
            return found[0]
    return None


def resolve(path: Path, names: Sequence[str], asked: Mapping[str, str | None]) -> tuple[Roles, list[str]]:
    """Find the columns of a table of interactions.

    Args:
        path: the file, for errors.
        names: its columns.
        asked: the columns that the command line names, by role.

    Returns:
        The columns, and the roles that were guessed.

    Raises:
        ConfigurationError: two roles have the same column.
        DataError: a column is not there, or cannot be guessed.
    """
    named = {role: _named(path, names, role, name) for role, name in asked.items() if name is not None}
    left = [name for name in names if name not in named.values()]
    guessed = {role: _guessed(path, left, names, role) for role in USUAL if role not in named}
    found: dict[str, str | None] = {**named, **guessed}
    used = [name for name in found.values() if name is not None]
    if twice := next((name for name in used if used.count(name) > 1), None):
        roles = " and ".join(f"--{role}" for role, name in found.items() if name == twice)
        raise ConfigurationError(f"The column {twice!r} is named for {roles}: name different columns.")
    resolved = Roles(str(found["user"]), str(found["item"]), found["rating"], found["time"])
    return resolved, [role for role in USUAL if guessed.get(role) is not None]


def _named(path: Path, names: Sequence[str], role: str, name: str) -> str | None:
    if name == NONE and name not in names and role in ("rating", "time"):
        return None
    return checked(path, names, name, f"--{role}")


def _guessed(path: Path, left: Sequence[str], names: Sequence[str], role: str) -> str | None:
    found = guess(left, USUAL[role])
    if len(found) == 1 or (not found and role in ("rating", "time")):
        return found[0] if found else None
    if found:
        flag = f"--{role} {found[0]}" + (" or none" if role in ("rating", "time") else "")
        raise DataError(f"{path} has several columns for the {role}, {listed(found)}: name one, for example {flag}.")
    numbers = all(re.fullmatch(r"[\d.,:-]+", name) for name in names)
    advice = "--no-header, and number the columns: --user 1 --item 2" if numbers else f"--{role}"
    raise DataError(f"Cannot tell which column of {path} holds the {role}: it has {listed(names)}; say it with {advice}.")


def item_column(path: Path, names: Sequence[str], asked: str | None, of_interactions: str) -> str:
    """The column of a table of items that holds their ids: the one asked for, of the same name, or of a usual one.

    Raises:
        DataError: the column is not there, or cannot be guessed.
    """
    if asked is not None:
        return checked(path, names, asked, "--item-id")
    found = [of_interactions] if of_interactions in names else guess(names, USUAL_OF_ITEMS)
    if not found:
        raise DataError(f"Cannot tell which column of {path} holds the item: it has {listed(names)}; say it with --item-id.")
    return checked(path, names, found[0], "--item-id")
