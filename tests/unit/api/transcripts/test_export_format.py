"""Which export a request wants."""

import pytest

from services.api.transcripts.export.formats import EXPORTS, Format, wanted_format


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("*/*", Format.JSON),
        ("", Format.JSON),
        ("application/json", Format.JSON),
        ("text/vtt", Format.VTT),
        ("TEXT/VTT", Format.VTT),
        ("text/csv; header=present", Format.CSV),
        ("application/x-ndjson", Format.JSONL),
        ("application/jsonl", Format.JSONL),
        ("application/vcon+json", Format.VCON),
        ("text/plain;q=0.5, text/csv", Format.CSV),
        ("text/plain;q=0.5, text/csv;q=0.4", Format.TXT),
        ("text/*", Format.TXT),
        ("image/png, text/vtt;q=0.1", Format.VTT),
        ("text/vtt;q=0, */*", Format.JSON),
        ("text/vtt;q=much", Format.JSON),
        ("image/png", Format.JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format.JSON),
        (";;;,,=", Format.JSON),
    ],
)
def test_an_accept_header_chooses(accept: str, wanted: Format) -> None:
    assert wanted_format(None, accept) == wanted


def test_a_name_wins_over_the_header() -> None:
    assert wanted_format(Format.CSV, "text/vtt") is Format.CSV
    assert wanted_format(Format.JSON, "text/vtt") is Format.JSON


def test_every_format_but_json_is_an_export() -> None:
    assert set(EXPORTS) == set(Format) - {Format.JSON}
