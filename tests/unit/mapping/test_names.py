"""Names: one spelling (ingest.md 1.3)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.errors import AnyLogError
from anylog.mapping.names import column, normalise


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("abc_09", "abc_09"),
        ("ABC", "abc"),
        ("a b-c.d/e\\f:g", "a_b_c_d_e_f_g"),
        (" padded ", "padded"),
        ("temp(C)", "temp0x28c0x29"),
        ("a\tb", "a0x09b"),
        ("ü", "0xc30xbc"),
        ("\u0661", "0xd90xa1"),  # a digit of another script is no digit of ours
        ("12", "12"),
        ('x"; drop', "x0x220x3b_drop"),
    ],
)
def test_spelling(name, spelled):
    """One row a rule."""
    assert normalise(name) == spelled


@pytest.mark.parametrize(("name", "spelled"), [("12", "_12"), ("0", "_0"), ("_12", "_12"), ("1a", "1a")])
def test_columns_of_digits(name, spelled):
    """Digits alone get a leading underscore."""
    assert column(name) == spelled


@pytest.mark.parametrize("name", ["", "   ", "x" * 64, "ü" * 8])
def test_no_names(name):
    """Empty ones and those beyond 63 bytes are refused with the caller's number."""
    with pytest.raises(AnyLogError) as refused:
        normalise(name, "table", 28)
    assert refused.value.number == 28
    assert "table" in str(refused.value)


def test_longest():
    """63 bytes are a name."""
    assert len(normalise("x" * 63)) == 63


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=15))
def test_any_name(name):
    """What comes out is plain, and normalised again it is the same."""
    try:
        spelled = normalise(name)
    except AnyLogError:
        return
    assert set(spelled) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert normalise(spelled) == spelled
