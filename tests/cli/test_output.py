"""What sampling puts out and takes in, piece by piece, without a process."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from charrnn.cli.main import cli
from charrnn.cli.output import Shader, Visible, wants_color
from charrnn.cli.prompt import unescape
from charrnn.errors import ConfigError


def test_help_mentions_every_option() -> None:
    """``--help`` lists each option with words that say what it does."""
    result = CliRunner().invoke(cli, ["sample", "--help"], prog_name="charrnn")
    assert result.exit_code == 0
    for parameter in cli.commands["sample"].params:
        assert parameter.opts[-1] in result.output
        assert getattr(parameter, "help", None)


def test_split_characters_are_shown_whole() -> None:
    """A character whose bytes come in two pieces is shown as one, and garbage as escapes."""
    visible = Visible()
    assert visible(b"\xc3") + visible(b"\xa9\xff\x1b") == "é\\xff^[".encode()


def test_colour_is_decided_in_order() -> None:
    """The flag decides, then FORCE_COLOR, NO_COLOR, TERM=dumb, then whether there is a terminal."""
    everything = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb"}
    assert not wants_color("never", everything, terminal=True)
    assert wants_color("always", {"NO_COLOR": "1"}, terminal=False)
    assert wants_color("auto", everything, terminal=False)
    assert not wants_color("auto", {"NO_COLOR": "1"}, terminal=True)
    assert not wants_color("auto", {"TERM": "dumb"}, terminal=True)
    assert wants_color("auto", {}, terminal=True)
    assert not wants_color("auto", {}, terminal=False)


def test_shades_end_before_a_line_does() -> None:
    """No shade lasts over a newline or past the end, and equal shades are not repeated."""
    shader = Shader()
    shown = shader(b"a", 3.0) + shader(b"b", 3.5) + shader(b"\n", 9.0) + shader(b"c", 9.0) + shader.end()
    assert shown == b"\x1b[33mab\x1b[0m\n\x1b[97;41mc\x1b[0m"


def test_escapes_are_read_as_written() -> None:
    """``unescape`` reads each escape once, and refuses what is none."""
    assert unescape(r"a\n\\n\t\x41\u00e9\e") == "a\n\\n\tAé\x1b"
    with pytest.raises(ConfigError, match="--escape"):
        unescape("\\")
