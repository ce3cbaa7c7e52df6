"""Accept headers are read as RFC 9110 has them: media types in any case, with their qualities."""

import pytest

from services.api.http.accept import preferred
from services.api.transcripts.export.formats import Format, wanted_format


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/event-stream", ["text/event-stream"]),
        ("Text/Event-Stream", ["text/event-stream"]),
        ("TEXT/HTML;Q=0.5, application/JSON", ["application/json", "text/html"]),
        ("text/html ; level=1 ; q=0.1, */*", ["*/*", "text/html"]),
        ("text/event-stream;q=0", []),
        ("text/vtt;q=much, text/csv", ["text/csv"]),
        ("", [""]),
    ],
)
def test_the_most_wanted_comes_first(accept: str, expected: list[str]) -> None:
    assert preferred(accept) == expected


def test_an_export_is_chosen_in_any_case() -> None:
    assert wanted_format(None, "TEXT/VTT") is Format.VTT
