"""Exports for people, players and spreadsheets."""

import csv
import io
import re
from datetime import timedelta

import pytest

from services.api.transcripts.export.for_people import to_csv, to_text, to_vtt
from tests.unit.api.transcripts.exporting import SESSION_ID, call, export, turn
from tests.unit.making import T0


async def test_plain_text_has_a_line_for_each_turn() -> None:
    text = await export(
        to_text,
        turn(1, offset_s=0.4, role="assistant", text="Hello!\nHow can I help?"),
        turn(2, offset_s=3661.9, participant_identity="anna", text="Wait", interrupted=True),
        call(3, "c1", arguments='{"a": 1}'),
    )
    assert text.splitlines() == [
        "[00:00:00] assistant: Hello! How can I help?",
        "[01:01:01] anna: Wait [interrupted]",
        '[00:00:03] tool: look_up({"a": 1})',
    ]


CUE = re.compile(r"^(\d+)\n([\d:.]+) --> ([\d:.]+)\n<v\.(\w+) ([^<>\n]+)>([^<]*)</v>$")


def cues(vtt: str) -> list[tuple[float, float, str, str, str]]:
    """Start, end, class, voice and text of each cue: read by the rules of WebVTT, not by our writer's."""
    head, *blocks = vtt.strip().split("\n\n")
    assert head == "WEBVTT"
    found = []
    for block in blocks:
        if block.startswith("NOTE"):
            assert "-->" not in block
            continue
        match = CUE.match(block)
        assert match, block
        _, start, end, kind, voice, text = match.groups()
        unescaped = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert "-->" not in text
        assert "\n\n" not in text
        found.append((_seconds(start), _seconds(end), kind, voice, unescaped))
    return found


def _seconds(time: str) -> float:
    match = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})", time)
    assert match, time
    hours, minutes, seconds, milliseconds = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


async def test_captions_have_times_within_the_call_and_a_voice_for_each_speaker() -> None:
    vtt = await export(
        to_vtt,
        turn(1, offset_s=1.5, duration_s=2.25, role="assistant", text="Hello"),
        turn(2, offset_s=3725.0, duration_s=1.0, participant_identity="anna", text="Hi"),
    )
    assert cues(vtt) == [
        (1.5, 3.75, "assistant", "assistant", "Hello"),
        (3725.0, 3726.0, "user", "anna", "Hi"),
    ]
    assert SESSION_ID in vtt


async def test_captions_without_times_are_shown_until_the_next_one_or_as_long_as_they_take_to_read() -> None:
    vtt = await export(
        to_vtt,
        turn(1, offset_s=1.0, text="one two three four five six seven eight nine ten"),
        turn(2, offset_s=3.0, text="short"),
        turn(3, offset_s=3.0, text="at the same moment"),
        turn(4, offset_s=10.0, text="one two three four five"),
    )
    assert [(start, end) for start, end, *_ in cues(vtt)] == [
        (1.0, 3.0),
        (3.0, 4.0),
        (3.0, 4.6),
        (10.0, 12.0),
    ]


async def test_captions_never_go_back_in_time() -> None:
    vtt = await export(
        to_vtt,
        turn(1, offset_s=5.0, duration_s=2.0),
        turn(2, offset_s=3.0, duration_s=0.5),
        turn(3, offset_s=4.0),
        turn(4, offset_s=9.0),
    )
    starts = [start for start, *_ in cues(vtt)]
    assert starts == [5.0, 5.0, 5.0, 9.0]
    assert all(start < end for start, end, *_ in cues(vtt))


async def test_a_caption_never_ends_before_it_begins() -> None:
    [(start, end, *_)] = cues(await export(to_vtt, turn(1, offset_s=2.0, duration_s=0.0)))
    assert start < end


@pytest.mark.parametrize(
    "said",
    [
        "a <b>bold</b> & <script>word</script>",
        "00:00:01.000 --> 00:00:02.000",
        "one\n\ntwo\r\n\r\nthree",
        "</v><v Mallory>I said this</v>",
        "NOTE\n\nSTYLE\n\n::cue { background: url(x) }",
    ],
)
async def test_nothing_that_is_said_gets_out_of_its_caption(said: str) -> None:
    vtt = await export(to_vtt, turn(1, text=said), turn(2, text="after"))
    first, second = cues(vtt)
    assert "".join(first[4].split()) == "".join(said.split())
    assert second[4] == "after"


async def test_a_name_can_not_get_out_of_its_caption_either() -> None:
    [(_, _, _, voice, text)] = cues(
        await export(to_vtt, turn(1, participant_identity="x>y\n\n<v z", text="Hi"))
    )
    assert (voice, text) == ("x&gt;y &lt;v z", "Hi")


async def test_what_nobody_said_is_no_caption() -> None:
    assert cues(await export(to_vtt, call(1, "c1"), turn(2, text=" "))) == []


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_a_table_has_a_row_for_each_turn_and_a_column_for_each_latency() -> None:
    one = turn(
        1,
        text='He said "no",\nand left',
        started_at=T0,
        ended_at=T0 + timedelta(seconds=2),
        duration_s=2.0,
        confidence=0.5,
    )
    one.latencies.transcription_delay = 0.25
    first, second = rows(await export(to_csv, one, call(2, "c1")))
    assert first["text"] == 'He said "no",\nand left'
    assert (first["seq"], first["duration_s"], first["confidence"]) == ("1", "2.0", "0.5")
    assert (first["transcription_delay"], first["e2e_latency"]) == ("0.25", "")
    assert first["started_at"] == "2026-11-23T12:00:00Z"
    assert second["kind"] == "function_call"
    assert '"call_id": "c1"' in second["extra"]


@pytest.mark.parametrize(
    "said", ["=1+1", "+49 30 1234", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', "＝1"]
)
async def test_no_cell_is_a_formula(said: str) -> None:
    [row] = rows(await export(to_csv, turn(1, text=said, participant_identity=said, extra={})))
    assert row["text"] == row["participant_identity"] == f"'{said}"


async def test_a_number_below_zero_is_a_number() -> None:
    one = turn(1, confidence=-0.5)
    [row] = rows(await export(to_csv, one))
    assert row["confidence"] == "-0.5"


async def test_a_table_without_turns_has_its_columns() -> None:
    text = await export(to_csv)
    assert text.startswith("seq,id,kind,role,")
    assert rows(text) == []
    assert text.split("\r\n")[0] == (await export(to_csv, turn(1))).split("\r\n")[0]
