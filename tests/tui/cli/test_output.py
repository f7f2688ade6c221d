"""Lists for programs: what a spreadsheet would run is made text, and amounts stay amounts."""

import csv
import io

import pytest

from tui.cli.output import show


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_name_is_a_formula_to_a_spreadsheet(
    capsys: pytest.CaptureFixture[str], begins: str
) -> None:
    show("csv", [{"project": f"{begins}1+1", "charge_nano": -5}], (), empty="")
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert row["project"].startswith("'")
    assert row["charge"] == "-0.000000005"


def test_no_text_begins_a_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    show("csv", [{"project": "a\r=1+1", "user": "b\r\n=2"}], (), empty="")
    with io.StringIO(capsys.readouterr().out, newline="") as told:
        assert [row["project"] for row in csv.DictReader(told)] == ["a\n=1+1"]
