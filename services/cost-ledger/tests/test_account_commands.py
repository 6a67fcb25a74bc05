"""The commands about tenants, users, keys and the log of their changes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from kit.ledger.process import environment, run_ledger_command

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(name="run")
def _run(database_url: str, redis_url: str, tmp_path: Path) -> Run:
    pepper = tmp_path / "pepper"
    pepper.write_text("0123456789-0123456789-0123456789")
    values = environment(database_url, redis_url, KEY_PEPPER_FILE=pepper, EDGE_URL="http://127.0.0.1:9876")
    return lambda *arguments: run_ledger_command(values, *arguments)


def test_from_a_tenant_to_a_rotated_key(run: Run) -> None:
    """Each key is printed once, with a first call; lists show owner and state, the log every change and no secret."""
    tenant = f"t-{uuid.uuid4()}"
    assert 0 == run("tenants", "create", tenant, "--tier", "premium").returncode
    assert 0 == run("users", "create", tenant, "ada").returncode
    made = run(
        "keys", "create", "--tenant", tenant, "--user", "ada", "--model", "fast*", "--role", "admin", "--days", "9"
    )
    key = made.stdout.splitlines()[0]
    key_id, _, secret = key.removeprefix("sk-spillway-").partition("-")
    rotated = run("keys", "rotate", key_id, "--grace", "60")
    disabled = run("keys", "disable", key_id)
    listed = run("keys", "list", "--tenant", tenant)
    logged = run("audit", "list")

    assert (0, 0, 0) == (made.returncode, rotated.returncode, disabled.returncode)
    assert f"  curl http://127.0.0.1:9876/v1/models -H 'Authorization: Bearer {key}'\n" in made.stdout
    assert "http://127.0.0.1:9876/v1/models" in rotated.stdout
    assert key != rotated.stdout.splitlines()[0]
    assert 3 == len(listed.stdout.splitlines())
    assert "fast*" in listed.stdout
    assert "admin" in listed.stdout
    for text in (listed.stdout, logged.stdout):
        assert key_id in text
        assert secret not in text
    actions = [line.split()[3] for line in logged.stdout.splitlines() if tenant in line]
    assert ["disable", "rotate", "create", "create", "create", "create"] == actions


def test_what_is_there_can_be_shown_and_changed(run: Run) -> None:
    """Tenants, teams, users and keys; each change is an entry that says what was before and after."""
    tenant = f"t-{uuid.uuid4()}"

    def done(*arguments: str) -> str:
        result = run(*arguments)
        assert (0, "") == (result.returncode, result.stderr), arguments
        return result.stdout

    done("tenants", "create", tenant, "--name", "Acme")
    done("teams", "create", tenant, "red", "--name", "Reds")
    done("users", "create", tenant, "ada", "--team", "red", "--tier", "premium")
    key = done("keys", "create", "--tenant", tenant, "--user", "ada", "--model", "fast*").splitlines()[0]
    key_id = key.split("-")[2]
    done("tenants", "update", tenant, "--tier", "enterprise")
    done("teams", "update", tenant, "red", "--name", "The Reds")
    done("users", "update", tenant, "ada", "--team", "", "--tier", "inherit")
    done("keys", "update", key_id, "--role", "auditor", "--role", "user", "--model", "*", "--endpoint", "/chat")
    done("keys", "update", key_id, "--days", "3", "--name", "ci")

    assert "name: Acme\ntier: enterprise\n" in without_gaps(done("tenants", "show", tenant))
    assert "team: red\nname: The Reds\n" in without_gaps(done("teams", "show", tenant, "red"))
    assert ("team:" in (user := done("users", "show", tenant, "ada")), "tier:" in user) == (False, False)
    shown = without_gaps(done("keys", "show", key_id))
    assert "name: ci\n" in shown
    assert "roles: auditor, user\nmodels: *\nendpoints: /chat\n" in shown
    assert "expires_at: " in shown
    assert "The Reds" in done("teams", "list", "--tenant", tenant)
    done("keys", "update", key_id, "--days", "0")
    assert "expires_at: " not in done("keys", "show", key_id)
    logged = [line.split(tenant, 1)[1] for line in done("audit", "list").splitlines() if f"  {tenant}  " in line]
    for change in (
        "tier: - -> enterprise",
        "name: Reds -> The Reds",
        "team: red -> -; tier: premium -> -",
        "roles: user -> auditor, user; models: fast* -> *; endpoints: - -> /chat",
        "expires_at: - -> 2",
    ):
        assert [line for line in logged if change in line], change


def test_a_list_is_of_one_tenant_and_who_is_enabled_again_is(run: Run) -> None:
    """Nobody takes another tenant's users for their own."""
    first, second = f"t-{uuid.uuid4()}", f"t-{uuid.uuid4()}"
    for tenant, user in ((first, "ada"), (second, "bob")):
        assert 0 == run("tenants", "create", tenant).returncode
        assert 0 == run("users", "create", tenant, user).returncode
    listed = run("users", "list", "--tenant", first).stdout
    assert 0 == run("users", "disable", first, "ada").returncode
    disabled = run("users", "show", first, "ada").stdout
    assert 0 == run("users", "enable", first, "ada").returncode
    enabled = run("users", "show", first, "ada").stdout

    assert (True, False) == ("ada" in listed, second in listed)
    assert (True, False) == ("disabled_at" in disabled, "disabled_at" in enabled)


def test_a_key_may_be_a_teams_or_its_tenants(run: Run) -> None:
    """The owner is the one that was named, and never two; without one it is the tenant."""
    tenant = f"t-{uuid.uuid4()}"
    for arguments in (
        ("tenants", "create", tenant),
        ("teams", "create", tenant, "red"),
        ("users", "create", tenant, "ada"),
    ):
        assert 0 == run(*arguments).returncode
    shown = {}
    for owner in ("--team=red", "--user=ada", ""):
        made = run("keys", "create", "--tenant", tenant, *filter(None, [owner]))
        shown[owner] = without_gaps(run("keys", "show", made.stdout.split("-")[2]).stdout)
    both = run("keys", "create", "--tenant", tenant, "--team", "red", "--user", "ada")

    assert {"--team=red": (True, False), "--user=ada": (False, True), "": (False, False)} == {
        owner: ("team: red\n" in text, "user: ada\n" in text) for owner, text in shown.items()
    }
    assert all(f"tenant: {tenant}\n" in text for text in shown.values())
    assert 2 == both.returncode
    assert "not allowed with" in both.stderr


def test_a_key_expires_after_so_many_days(run: Run) -> None:
    """Counted from the command, at its creation and at a change; a hundred years are the longest."""
    tenant = f"t-{uuid.uuid4()}"
    assert 0 == run("tenants", "create", tenant).returncode
    key_id = run("keys", "create", "--tenant", tenant, "--days", "9").stdout.split("-")[2]

    def is_left() -> timedelta:
        (line,) = [line for line in run("keys", "show", key_id).stdout.splitlines() if line.startswith("expires_at:")]
        return datetime.strptime(line.split(maxsplit=1)[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC) - datetime.now(UTC)

    def is_about(days: int) -> bool:
        return timedelta(days=days, minutes=-10) < is_left() <= timedelta(days=days)

    assert is_about(9)
    assert 0 == run("keys", "update", key_id, "--days", "36500").returncode
    assert is_about(36_500)
    refused = run("keys", "update", key_id, "--days", "36501")
    assert 0 != refused.returncode
    assert "cost_ledger: --days must be from 0 to 36500\n" == refused.stderr


def test_the_log_names_who_ran_each_command(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Whatever they changed."""
    pepper = tmp_path / "pepper"
    pepper.write_text("0123456789-0123456789-0123456789")
    values = environment(database_url, redis_url, KEY_PEPPER_FILE=pepper)
    tenant, key_id = f"t-{uuid.uuid4()}", ""
    commands = [
        ("tenants", "create", tenant),
        ("tenants", "update", tenant, "--name", "Acme"),
        ("users", "create", tenant, "ada"),
        ("keys", "create", "--tenant", tenant, "--user", "ada"),
        ("users", "disable", tenant, "ada"),
        ("users", "enable", tenant, "ada"),
        ("keys", "rotate", "KEY_ID"),
    ]
    for number, arguments in enumerate(commands):
        named = {**values, "LOGNAME": f"operator{number}"}
        done = run_ledger_command(named, *(key_id if word == "KEY_ID" else word for word in arguments))
        assert 0 == done.returncode
        if arguments[:2] == ("keys", "create"):
            key_id = done.stdout.split("-")[2]
    logged = run_ledger_command(values, "audit", "list").stdout
    told = [(line.split()[3], line.split()[2]) for line in reversed(logged.splitlines()) if tenant in line]

    assert [
        *(("create", "cli:operator0"), ("update", "cli:operator1"), ("create", "cli:operator2")),
        *(("create", "cli:operator3"), ("disable", "cli:operator4"), ("enable", "cli:operator5")),
        *(("create", "cli:operator6"), ("rotate", "cli:operator6")),
    ] == told


def test_a_long_key_file_is_taken_over_in_parts(run: Run, tmp_path: Path) -> None:
    """More than the ledger takes at once: none is left out at a border, counts are of all, and differing ones told."""
    tenant = f"t-{uuid.uuid4()}"
    entry = {"tenant": tenant, "user": "ada", "tier": "free", "salt": "0" * 32, "sha256": "a" * 64}
    entries = [{"key_id": uuid.uuid4().hex, **entry} for _ in range(1001)]
    file = tmp_path / "keys.yaml"
    file.write_text(yaml.safe_dump({"keys": entries}))
    first = run("keys", "import", str(file))
    changed = [entries[0]["key_id"], entries[500]["key_id"], entries[1000]["key_id"]]
    for number in (0, 500, 1000):
        entries[number]["sha256"] = "b" * 64
    file.write_text(yaml.safe_dump({"keys": entries}))
    second = run("keys", "import", str(file))
    listed = run("keys", "list", "--tenant", tenant).stdout.splitlines()

    assert "imported 1001 keys; 0 were known\n" == first.stdout
    assert {each["key_id"] for each in entries} == {line.split()[0] for line in listed[1:]}
    told = second.stdout.splitlines()
    assert "imported 0 keys; 1001 were known" == told[0]
    assert changed == [line.split()[1].strip("'") for line in told[1:]]


def without_gaps(text: str) -> str:
    """Return lines whose words have one space in between."""
    return "".join(" ".join(line.split()) + "\n" for line in text.splitlines())


def test_a_key_file_is_taken_over(run: Run, tmp_path: Path) -> None:
    """Once; a tier that is none of ours is left to the owner. A file that is none is refused in one line."""
    key_id, other_id, tenant = uuid.uuid4().hex, uuid.uuid4().hex, f"t-{uuid.uuid4()}"
    entry = {"key_id": key_id, "tenant": tenant, "user": "ada", "tier": "standard"}
    file = tmp_path / "keys.yaml"
    file.write_text(yaml.safe_dump({"keys": [{**entry, "salt": "0" * 32, "sha256": "a" * 64}]}))
    first, second = run("keys", "import", str(file)), run("keys", "import", str(file))
    changed = {**entry, "salt": "0" * 32, "sha256": "b" * 64}
    added = {**entry, "key_id": other_id, "salt": "0" * 32, "sha256": "a" * 64, "roles": ["auditor"]}
    file.write_text(yaml.safe_dump({"keys": [changed, added]}))
    third = run("keys", "import", str(file))
    listed = run("keys", "list", "--tenant", tenant)
    file.write_text("keys: [1]")
    broken = run("keys", "import", str(file))

    assert "imported 1 keys; 0 were known\n" == first.stdout
    assert "imported 0 keys; 1 were known\n" == second.stdout
    assert (0, 1) == (second.returncode, third.returncode)
    assert (
        f"imported 1 keys; 1 were known\nkey {key_id!r} is another one here: with this file's secret it does not open\n"
    ) == third.stdout
    roles = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert "admin" in roles[key_id]
    assert "auditor" in roles[other_id]
    assert 0 != broken.returncode
    assert f"cost_ledger: {file}: not a key file\n" == broken.stderr


def test_what_cannot_be_done_is_said_in_one_line(run: Run) -> None:
    """Unknown owners and keys."""
    for arguments in (
        ("keys", "disable", "nobody"),
        ("keys", "create", "--tenant", "nobody"),
        ("users", "create", "x", "y"),
        ("users", "update", "x", "y", "--name", "z"),
        ("teams", "show", "x", "y"),
    ):
        done = run(*arguments)
        assert 0 != done.returncode
        assert done.stderr.startswith("cost_ledger: there is no such ")
    assert "nothing to change" in run("users", "update", "x", "y").stderr
    assert "--days must be" in run("keys", "update", "x", "--days", "-1").stderr
