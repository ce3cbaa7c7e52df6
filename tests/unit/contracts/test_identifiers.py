"""Ids are UUIDv7: unique, and in the order in which they were made."""

import uuid

from shared.contracts.identifiers import SessionId, new_id, new_room_name


def test_ids_are_uuids_of_version_7() -> None:
    made = new_id()
    assert uuid.UUID(made).version == 7
    assert str(uuid.UUID(made)) == made


def test_ids_sort_in_the_order_in_which_they_were_made() -> None:
    made = [new_id() for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_two_sessions_made_at_once_have_rooms_of_their_own() -> None:
    rooms = {new_room_name(SessionId(new_id())) for _ in range(5000)}
    assert len(rooms) == 5000


def test_a_room_name_is_fixed_by_its_session() -> None:
    session_id = SessionId(new_id())
    assert new_room_name(session_id) == new_room_name(session_id)
