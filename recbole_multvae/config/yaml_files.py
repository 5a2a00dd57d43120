"""Configuration files: YAML as people write it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from recbole_multvae.config import shipped
from recbole_multvae.errors import ConfigurationError

_TAG = "tag:yaml.org,2002:"
#: Numbers with a point or an exponent. PyYAML reads some of them, such as 1e-3 and -.5, as text.
_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$")
#: Numbers that YAML 1.1 does not read as decimal: 010 is octal, and 1:30 is of base 60.
_OTHER_BASE = re.compile(r"[-+]?(?:0[0-9_]+|[0-9_]+:[0-9_:.]+)$")


def read_keys(file: str | Path, loader: Any = yaml.SafeLoader) -> dict[str, Any]:
    """Read the keys and values of a YAML file; see :func:`parse`.

    Args:
        file: its path, or the name of a shipped file, with or without ``.yaml``. A file at the path goes before.
        loader: a class of PyYAML's.

    Raises:
        ConfigurationError: there is no such file, it is not YAML of keys and values, or it names a key twice.
    """
    path = Path(file)
    if not path.exists() or path.is_dir():
        path = shipped.configurations().get(str(file).removesuffix(".yaml"), path)
    try:
        keys = parse(path.read_text("utf-8"), loader)
    except IsADirectoryError:
        raise ConfigurationError(f"--config_files names the folder {str(file)!r}: name a YAML file in it.") from None
    except OSError:
        raise ConfigurationError(
            f"--config_files names {str(file)!r}, but there is no such file, and the files that come with this package are "
            f"{', '.join(shipped.configurations())}."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The configuration file {file} is not in UTF-8: save it in this encoding.") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1} of" if mark else ""
        raise ConfigurationError(f"Cannot read{line} the configuration file {file} as YAML: {reason}.") from error
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"Cannot read the configuration file {file} as YAML: {error}.") from error
    if not (isinstance(keys, dict) and all(isinstance(key, str) for key in keys)):
        raise ConfigurationError(
            f"The configuration file {file} {'is empty' if keys is None else 'holds something else than keys and values'}: "
            "expected lines such as epochs: 20."
        )
    return keys


def parse(text: str, loader: Any) -> Any:
    """The content of a YAML text. ``1e-3`` is a number, and the text ``None`` is Python's None, as on the command line.

    Args:
        text: of one document.
        loader: a class of PyYAML's.

    Raises:
        yaml.YAMLError: the text is not YAML, names a key twice, or has a number that YAML does not read as decimal.
        ValueError: it has a date that does not exist.
    """
    # A class of its own: a resolver that is added to PyYAML's class would change it for everyone.
    loader_class: Any = type(loader.__name__, (loader,), {})
    loader_class.add_implicit_resolver(f"{_TAG}float", _NUMBER, list("-+.0123456789"))
    parser = loader_class(text)
    try:
        node = parser.get_single_node()
        _check(node, set())
        return None if node is None else parser.construct_document(node)
    finally:
        parser.dispose()


def _check(node: yaml.Node | None, seen: set[int]) -> None:
    """Refuse text that YAML would read as another value than it looks like, and turn the text None into the value None."""
    if id(node) in seen:  # A node may contain an alias of itself.
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        for _, value in node.value:
            _check(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check(value, seen)
    elif isinstance(node, yaml.ScalarNode):
        _check_value(node)


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
            name = key.tag, key.value
            if name in lines:
                raise _error(key, f"it names the key {key.value} again, after line {lines[name]}: keep one of the two")
            lines[name] = key.start_mark.line + 1


def _check_value(node: yaml.ScalarNode) -> None:
    if node.tag in (f"{_TAG}int", f"{_TAG}float") and _OTHER_BASE.match(node.value):
        raise _error(
            node, f"{node.value} is no decimal number there: write it without leading zeros and colons, or in quotes"
        )
    if node.tag == f"{_TAG}str" and node.value == "None":
        node.tag, node.value = f"{_TAG}null", ""


def _error(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
