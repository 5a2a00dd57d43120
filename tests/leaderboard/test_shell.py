"""Commands as text."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_multvae.leaderboard.shell import join, lines

WORDS = [
    "--eval_args={'split': {'GT': {'users': 'known'}}}", "--model=A,B:c+D", "it's", "--key=it's $HOME", "--key='`id`'",
    "--key='\\'", "--key='!!'", "--key='\"'", "--a b='c'", "--key=", "", "-k", "5", "a b", "--key='two\nlines'", "*", "~",
]  # fmt: skip


def test_bash_reads_the_same_words() -> None:
    for text in (join(WORDS), lines(join(WORDS)), lines(shlex.join(WORDS))):
        said = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, text=True, check=True).stdout
        assert said.split("\0")[:-1] == WORDS


@given(st.lists(st.text(st.sampled_from("-a=b'\"\\$`!{ }\n*é")), min_size=1))
def test_words_survive(words: list[str]) -> None:
    assert shlex.split(join(words)) == words


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("run '--key={'\"'\"'a'\"'\"': 1}' --seeds=3", "run \\\n  --key=\"{'a': 1}\" \\\n  --seeds=3"),
        ("multvae-export a.pth b.onnx --dataset-path .", "multvae-export a.pth b.onnx \\\n  --dataset-path ."),
        ("Anna's comparison", "Anna's comparison"),
    ],
)
def test_a_command_is_readable(command: str, text: str) -> None:
    assert lines(command) == text
