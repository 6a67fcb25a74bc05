"""What of a tenant's costs and requests is asked for: all of it, a user's, or those of a team's present members."""

from __future__ import annotations

from typing import NamedTuple

from spillway.ledger.v1 import ledger_pb2 as ledgerpb

# Of keys that no user owns, requests are on record under this prefix and the id of the key.
_MEMBERS = """
SELECT user_id FROM users WHERE tenant = $1 AND team = {team}
UNION ALL SELECT 'key:' || key_id FROM api_keys WHERE tenant = $1 AND team = {team} AND user_id IS NULL
"""


class Visible(NamedTuple):
    """Empty: no such limit."""

    user: str = ""
    team: str = ""

    def condition(self, first: int) -> str:
        """Return the condition on `user_id`, whose arguments, the fields, begin at number `first`; $1 is the tenant."""
        if self.user:
            return f"user_id = ${first} AND ${first + 1} = ''"
        if self.team:
            return f"${first} = '' AND user_id IN ({_MEMBERS.format(team=f'${first + 1}')})"
        return f"${first} || ${first + 1} = ''"


EVERYTHING = Visible()


def visible_in(message: ledgerpb.Visible) -> Visible:
    """Return what is visible; ValueError when it says what it may not."""
    if "\0" in message.user + message.team or (message.user and message.team):
        raise ValueError("visible must name a user or a team, or neither")
    return Visible(message.user, message.team)
