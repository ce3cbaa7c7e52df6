"""Roles are names for scopes: each has more rights than the one before."""

from itertools import pairwise

import pytest

from services.api.auth.access import Scope, all_held
from services.api.auth.roles import SCOPES_OF, AccessRole, role_of


def test_each_role_includes_those_before_it() -> None:
    for lower, higher in pairwise(AccessRole):
        assert all_held(SCOPES_OF[lower]) < all_held(SCOPES_OF[higher])


@pytest.mark.parametrize("role", list(AccessRole))
def test_the_scopes_of_a_role_have_that_role(role: AccessRole) -> None:
    assert role_of(SCOPES_OF[role]) is role


@pytest.mark.parametrize(
    ("scopes", "role"),
    [
        ([], None),
        ([Scope.TOKENS_RESERVE], None),
        ([Scope.TRANSCRIPTS_READ], None),
        ([Scope.SESSIONS_READ, Scope.SESSIONS_WRITE], AccessRole.VIEWER),
        ([Scope.ADMIN, Scope.SESSIONS_READ], AccessRole.ADMIN),
    ],
)
def test_other_scopes_have_the_highest_role_that_they_cover(
    scopes: list[Scope], role: AccessRole | None
) -> None:
    assert role_of(scopes) is role


def test_a_viewer_may_read_no_words() -> None:
    assert Scope.TRANSCRIPTS_READ not in all_held(SCOPES_OF[AccessRole.VIEWER])
