"""A routes file is used as it is meant or refused with file, line and reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kit.router.wrong_routes import WRONG_ROUTES
from llm_router.routes.file import Hedge, Route, Routes
from llm_router.routes.load import RoutesError, load_routes
from llm_router.routes.sources import Sources
from llm_router.target import Target, Timeouts

GOOD = """\
targets:
  primary:
    provider: openai
    model: gpt-6-luna
    credential_file: {key}
    timeouts: {{connect_seconds: 1.5, first_content_seconds: 4}}
  local:
    provider: vllm
    model: smollm2
    base_url: http://127.0.0.1:8000/v1
    context_tokens: 2048
routes:
  default: {{targets: [primary, local]}}
  small: {{targets: [local]}}
"""
# What follows starts on line 9.
FIVE_TARGETS = """\
targets:
  a: {provider: vllm, model: m, base_url: "http://127.0.0.1:1/v1"}
  b: {provider: vllm, model: m, base_url: "http://127.0.0.1:2/v1", weight: 3}
  c: {provider: vllm, model: m, base_url: "http://127.0.0.1:3/v1"}
  d: {provider: vllm, model: m, base_url: "http://127.0.0.1:4/v1"}
  e: {provider: vllm, model: m, base_url: "http://127.0.0.1:5/v1"}

routes:
"""


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("sk-secret\n")
    return path


def write(tmp_path: Path, text: str) -> Path:
    """Write a routes file."""
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    return path


def load(tmp_path: Path, routes: str) -> Routes:
    """Load `routes` over the targets a, b, c, d, e."""
    return load_routes(write(tmp_path, FIVE_TARGETS + routes))


def names(route: Route) -> list[list[str]]:
    """Return the names of the targets, rank by rank."""
    return [[target.name for target in rank] for rank in route.ranks]


def seconds(timeouts: Timeouts) -> tuple[float, ...]:
    """Return the timers in the order of the class."""
    return (
        timeouts.connect_seconds,
        timeouts.first_content_seconds,
        timeouts.gap_seconds,
        timeouts.stream_seconds,
    )


def faults(path: Path) -> list[str]:
    """Return the faults of a file that is refused, without its name."""
    with pytest.raises(RoutesError) as caught:
        load_routes(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_reads_targets_in_the_order_of_the_route(tmp_path: Path, key: Path) -> None:
    """A route keeps its order, a target its settings, and what is unset its default."""
    routes = load_routes(write(tmp_path, GOOD.format(key=key)))

    primary, local = routes["default"].targets
    assert ["default", "small"] == list(routes)
    assert [["primary"], ["local"]] == names(routes["default"])
    assert (
        Target(
            name="primary",
            provider="openai",
            model="gpt-6-luna",
            base_url=None,
            credential="sk-secret",
            context_tokens=None,
            timeouts=Timeouts(connect_seconds=1.5, first_content_seconds=4.0, gap_seconds=20.0, stream_seconds=1800.0),
            weight=1.0,
        )
        == primary
    )
    assert (None, 2048) == (local.credential, local.context_tokens)


def test_our_own_engine_gets_more_time(tmp_path: Path, key: Path) -> None:
    """`vllm` is the last target of a route: it has 30 s for its first content unless the file says otherwise."""
    path = write(
        tmp_path, GOOD.format(key=key).replace("timeouts: {connect_seconds: 1.5, first_content_seconds: 4}", "")
    )

    primary, local = load_routes(path)["default"].targets

    assert (2.0, 8.0, 20.0, 1800.0) == seconds(primary.timeouts)
    assert (2.0, 30.0, 20.0, 1800.0) == seconds(local.timeouts)


def test_a_target_never_prints_its_credential(tmp_path: Path, key: Path) -> None:
    """A target may appear in a log line or an assertion; its key must not."""
    routes = load_routes(write(tmp_path, GOOD.format(key=key)))

    assert "sk-secret" not in repr(routes)


def test_equal_settings_make_equal_targets(tmp_path: Path, key: Path) -> None:
    """Every setting counts, the content of the credential file included: equal targets share their connections."""
    path = write(tmp_path, GOOD.format(key=key))
    before = load_routes(path)["default"]
    again = load_routes(path)["default"]
    key.write_text("sk-rotated")
    rotated = load_routes(path)["default"]

    assert before == again
    assert hash(before) == hash(again)
    assert before.targets[0] != rotated.targets[0]
    assert before.targets[1] == rotated.targets[1]


def test_targets_of_equal_rank_are_a_list(tmp_path: Path) -> None:
    """A list in the list is one rank; weights are kept."""
    routes = load(tmp_path, "  m: {targets: [[a, b], c]}\n")

    assert [["a", "b"], ["c"]] == names(routes["m"])
    assert [1.0, 3.0, 1.0] == [target.weight for target in routes["m"].targets]


def test_a_route_may_include_a_route(tmp_path: Path) -> None:
    """Its ranks replace the reference, at any depth and in any order of the file."""
    routes = load(
        tmp_path,
        "  outer: {targets: [e, {route: middle}]}\n"
        "  middle: {targets: [{route: inner}, d]}\n"
        "  inner: {targets: [[a, b], c]}\n",
    )

    assert [["e"], ["a", "b"], ["c"], ["d"]] == names(routes["outer"])
    assert [["a", "b"], ["c"], ["d"]] == names(routes["middle"])
    assert ["outer", "middle", "inner"] == list(routes)


def test_an_included_route_brings_its_targets_only(tmp_path: Path) -> None:
    """How to balance, hedge and continue is decided by the route that was asked for."""
    routes = load(
        tmp_path,
        "  inner: {targets: [[a, b]], balance: least_latency, hedge: {}, continuation: allow}\n"
        "  outer: {targets: [{route: inner}]}\n",
    )

    inner, outer = routes["inner"], routes["outer"]
    assert ("least_latency", Hedge(min_delay_seconds=0.2, max_delay_seconds=4.0, max_extra_ratio=0.1), True) == (
        inner.balance,
        inner.hedge,
        inner.may_continue,
    )
    assert ("weighted", None, False) == (outer.balance, outer.hedge, outer.may_continue)
    assert inner.ranks == outer.ranks


def test_a_route_may_have_other_names(tmp_path: Path) -> None:
    """Aliases stay with it, in order, also where one of them, or its own name, is a wildcard."""
    routes = load(
        tmp_path,
        "  'claude-*': {targets: [a], aliases: [sonnet, 'anthropic/*'], cache: never}\n"
        "  'claude-opus-*': {targets: [b]}\n"
        "  '*': {targets: [{route: 'claude-*'}, c], economy: 'claude-*'}\n",
    )

    assert ["claude-*", "claude-opus-*", "*"] == list(routes)
    assert [("sonnet", "anthropic/*"), (), ()] == [route.aliases for route in routes.values()]
    assert ["never", None, None] == [route.cache for route in routes.values()]
    assert [["a"], ["c"]] == names(routes["*"])


def test_each_setting_of_a_hedge_can_be_set_alone(tmp_path: Path) -> None:
    """What the file leaves out keeps its default."""
    routes = load(tmp_path, "  m: {targets: [a, b], hedge: {max_delay_seconds: 1, max_extra_ratio: 1}}\n")

    assert Hedge(min_delay_seconds=0.2, max_delay_seconds=1.0, max_extra_ratio=1.0) == routes["m"].hedge


@pytest.mark.parametrize(
    ("broken", "line", "reason"),
    [
        ("    model: gpt-6-luna\n=>", 2, "targets.primary.model: Field required"),
        ("targets: [primary, local]=>targets: [primary, nowhere]", 13, "no target 'nowhere'; there are local, primary"),
        ("targets: [primary, local]=>targets: [primary, primary]", 13, "is in this route twice"),
        ("targets: [primary, local]=>targets: []", 13, "at least 1 item"),
        ("targets: [primary, local]=>targets: [7]", 13, "expected a target, a list of targets"),
        ("{key}=>/no/such/file", 5, "credential_file: /no/such/file: No such file or directory"),
        ("{key}=>/", 5, "credential_file: /: Is a directory"),
        ('{key}=>"\\0"', 5, "not the name of a file"),
        ("connect_seconds: 1.5=>connect_seconds: 0", 6, "connect_seconds: Input should be greater than 0"),
        ("connect_seconds: 1.5=>connect_seconds: 31", 6, "connect_seconds: Input should be less than or equal to 30"),
        ("first_content_seconds: 4=>first_content_seconds: 0.0", 6, "greater than 0"),
        ("first_content_seconds: 4=>first_content_seconds: 900.1", 6, "less than or equal to 900"),
        ("connect_seconds: 1.5=>connect_seconds: 30.1", 6, "less than or equal to 30"),
        ("first_content_seconds: 4=>thinking_seconds: 900.1", 6, "less than or equal to 900"),
        ("first_content_seconds: 4=>gap_seconds: 0", 6, "gap_seconds: Input should be greater than 0"),
        ("first_content_seconds: 4=>gap_seconds: 3601", 6, "gap_seconds: Input should be less than or equal to 3600"),
        ("first_content_seconds: 4=>stream_seconds: 0", 6, "stream_seconds: Input should be greater than 0"),
        ("first_content_seconds: 4=>stream_seconds: .inf", 6, "stream_seconds: Input should be less than or equal"),
        ("first_content_seconds: 4=>stream_seconds: .nan", 6, "stream_seconds: Input should be"),
        (
            "connect_seconds: 1.5=>conect_seconds: 1.5",
            6,
            "conect_seconds: unknown key; the keys here are connect_seconds, ",
        ),
        ("context_tokens: 2048=>weight: 0", 11, "targets.local.weight: Input should be greater than 0"),
        ("context_tokens: 2048=>ca_file: /nowhere/ca.crt", 11, "targets.local.ca_file: /nowhere/ca.crt: No such file"),
        ("context_tokens: 2048=>ca_file: {key}", 11, "it has no certificate in PEM that can be read"),
        ("context_tokens: 2048=>weight: -1", 11, "targets.local.weight: Input should be greater than 0"),
        ("context_tokens: 2048=>weight: .inf", 11, "targets.local.weight: Input should be less than or equal"),
        ("context_tokens: 2048=>timeouts: 5", 11, "targets.local.timeouts: expected a mapping"),
        ("provider: vllm=>provider: vlm", 8, "no provider has this name; there are openai, anthropic, vllm, sglang, "),
        ("context_tokens: 2048=>auth: basic", 11, "targets.local.auth: Input should be 'bearer', 'api-key' or 'none'"),
        ("context_tokens: 2048=>images: 7", 11, "targets.local.images: Input should be a valid boolean"),
        ("context_tokens: 2048=>quirks: 5", 11, "targets.local.quirks: expected a mapping"),
        (
            "context_tokens: 2048=>quirks: {{limit: x}}",
            11,
            "targets.local.quirks.limit: unknown key; the keys here are",
        ),
        ("    base_url: http://127.0.0.1:8000/v1\n=>", 7, "provider 'vllm' needs a base_url"),
        ("    credential_file: {key}\n=>", 2, "provider 'openai' needs a credential_file"),
        ("  local:\n=>  primary:\n", 7, "targets.primary: given twice"),
        ("  small:=>  default:", 14, "routes.default: given twice"),
        ("routes:=>routes: [", 14, "not YAML"),
        ("model: smollm2=>model: !mine x", 9, "not YAML"),
        ("model: smollm2=>model: *nothing", 9, "not YAML"),
        ('model: smollm2=>model: "\b"', 9, "not YAML: character 0x08 is not allowed"),
        ("model: smollm2=>model: 2026-02-30", 9, "targets.local.model: YAML cannot make a value of it"),
        ("model: smollm2=>model: &x [*x]", 1, "an alias contains itself"),
        ("base_url: http://127.0.0.1:8000/v1=>base_url: 127.0.0.1:8000", 10, "targets.local.base_url: expected"),
        ("base_url: http://127.0.0.1:8000/v1=>base_url: 'http://[::'", 10, "targets.local.base_url: expected"),
        ("base_url: http://127.0.0.1:8000/v1=>base_url: 'http://host:port'", 10, "targets.local.base_url: expected"),
        ("base_url: http://127.0.0.1:8000/v1=>base_url: 'ftp://host/v1'", 10, "targets.local.base_url: expected"),
        ("base_url: http://127.0.0.1:8000/v1=>base_url: 'http:///v1'", 10, "targets.local.base_url: expected"),
        ("default: {{targets: [primary, local]}}=>default:", 13, "routes.default: expected a mapping"),
        ("routes:=>paths:", 12, "paths: unknown key; the keys here are targets, routes"),
    ],
)
def test_refuses_a_wrong_file_with_line_and_reason(
    tmp_path: Path, key: Path, broken: str, line: int, reason: str
) -> None:
    """Each fault is reported with its file, its line and what is wrong."""
    old, new = broken.split("=>")
    assert old in GOOD
    text = GOOD.replace(old, new, 1).replace("{key}", str(key)).replace("{{", "{").replace("}}", "}")

    reported = faults(write(tmp_path, text))

    assert [fault for fault in reported if fault.startswith(f"{line}: ") and reason in fault], reported


@pytest.mark.parametrize(
    ("routes", "reported"),
    [
        (
            "  a: {targets: [{route: b}]}\n  b: {targets: [{route: a}]}\n",
            ["10: routes.b.targets.0: the routes include each other in a cycle: a -> b -> a"],
        ),
        (
            "  m: {targets: [{route: m}]}\n",
            ["9: routes.m.targets.0: the routes include each other in a cycle: m -> m"],
        ),
        (
            "  in: {targets: [a, {route: x}]}\n  x:\n    targets:\n      - b\n      - {route: y}\n"
            "  y: {targets: [{route: x}]}\n",
            ["14: routes.y.targets.0: the routes include each other in a cycle: x -> y -> x"],
        ),
        ("  m: {targets: [{route: k}]}\n", ["9: routes.m.targets.0: no route 'k'; there are m"]),
        (
            "  m: {targets: [a]}\n  n: {targets: [m]}\n",
            ["10: routes.n.targets.0: no target 'm'; there are a, b, c, d, e; a route is written {route: m}"],
        ),
        ("  m: {targets: [[a, x]]}\n", ["9: routes.m.targets.0.1: no target 'x'; there are a, b, c, d, e"]),
        ("  m: {targets: [[a, a]]}\n", ["9: routes.m.targets.0.1: target 'a' is in this rank twice"]),
        (
            "  m: {targets: [b]}\n  n:\n    targets:\n      - [a, b]\n      - {route: m}\n",
            ["13: routes.n.targets.1: target 'b' is in this route twice"],
        ),
        ("  m: {targets: [a, {route: n}]}\n  n: {targets: [b, b]}\n", [
            "10: routes.n.targets.1: target 'b' is in this route twice"]),
        *(
            (
                f"  m: {{targets: [a, {entry}]}}\n",
                ["9: routes.m.targets.1: expected a target, a list of targets of equal rank, or {route: MODEL}"],
            )
            for entry in ("[]", "[b, 7]", "[[b]]", "{route: 7}", "{route: m, weight: 2}", "{}", "null")
        ),
        ("  m: {targets: [a], balance: fair}\n", [
            "9: routes.m.balance: Input should be 'weighted' or 'least_latency'"]),
        ("  m: {targets: [a], cache: sometimes}\n", [
            "9: routes.m.cache: Input should be 'always', 'deterministic' or 'never'"]),
        ("  '*-mini': {targets: [a]}\n", ["9: routes.*-mini: '*-mini': a '*' stands at the end of a name only"]),
        ("  m: {targets: [a], aliases: [n, 'o*x', 'p**', 'q-*']}\n", [
            "9: routes.m.aliases.1: 'o*x': a '*' stands at the end of a name only",
            "9: routes.m.aliases.2: 'p**': a '*' stands at the end of a name only"]),
        (
            "  m: {targets: [a], aliases: [n, x, 'y-*']}\n  n: {targets: [b], aliases: [x, n, 'y-*']}\n",
            [
                "9: routes.m.aliases.0: 'n' is the name, or an alias, of a route already",
                *(
                    f"10: routes.n.aliases.{index}: {name!r} is the name, or an alias, of a route already"
                    for index, name in enumerate(("x", "n", "y-*"))
                ),
            ],
        ),
        ("  m: {targets: [a], aliases: ['']}\n", [
            "9: routes.m.aliases.0: String should have at least 1 character"]),
        (f"  m: {{targets: [a], aliases: [{', '.join(f'n{n}' for n in range(101))}]}}\n", [
            "9: routes.m.aliases: Tuple should have at most 100 items after validation, not 101"]),
        ("  m: {targets: [a], continuation: yes}\n", ["9: routes.m.continuation: Input should be 'allow' or 'never'"]),
        (
            "  m: {targets: [a], hedge: {min_delay_seconds: 5}}\n",
            ["9: routes.m.hedge: min_delay_seconds is greater than max_delay_seconds"],
        ),
        (
            "  m: {targets: [a], hedge: {max_extra_ratio: 0}}\n",
            ["9: routes.m.hedge.max_extra_ratio: Input should be greater than 0"],
        ),
        (
            "  m: {targets: [a], hedge: {max_extra_ratio: 1.1}}\n",
            ["9: routes.m.hedge.max_extra_ratio: Input should be less than or equal to 1"],
        ),
        (
            "  m: {targets: [a], hedge: {min_delay_seconds: 0}}\n",
            ["9: routes.m.hedge.min_delay_seconds: Input should be greater than 0"],
        ),
    ],
)  # fmt: skip
def test_refuses_routes_that_lead_nowhere(tmp_path: Path, routes: str, reported: list[str]) -> None:
    """Cycles, unknown names and targets that would be tried twice are reported with their line, each once."""
    assert reported == faults(write(tmp_path, FIVE_TARGETS + routes))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("after_least_seconds", "min_delay_seconds"),
        ("after_most_seconds", "max_delay_seconds"),
        ("most_extra_ratio", "max_extra_ratio"),
    ],
)
def test_an_unknown_key_is_answered_with_the_known_ones(tmp_path: Path, old: str, new: str) -> None:
    """A key of an earlier version is refused, with the line it is on and the keys that replace it."""
    path = write(tmp_path, FIVE_TARGETS + f"  m:\n    targets: [a]\n    hedge:\n      {old}: 0.5\n")

    (reported,) = faults(path)

    assert f"12: routes.m.hedge.{old}: unknown key; the keys here are" == reported.split(" min_delay")[0]
    assert new in reported.partition(";")[2]


def test_a_target_without_what_its_provider_needs_is_reported_with_its_other_faults(tmp_path: Path) -> None:
    """What depends on the provider is checked although another setting of the target is wrong."""
    path = write(
        tmp_path,
        "targets:\n"
        "  a: {provider: openai, model: m, base_url: nowhere, weight: 0}\n"
        "  b: {provider: vllm, model: '', credential_file: /no/such/file}\n"
        "routes:\n"
        "  m: {targets: [a, b]}\n",
    )

    assert [
        "2: targets.a.base_url: expected an address such as https://host:8000/v1",
        "2: targets.a.credential_file: provider 'openai' needs a credential_file",
        "2: targets.a.weight: Input should be greater than 0",
        "3: targets.b.base_url: provider 'vllm' needs a base_url",
        "3: targets.b.model: String should have at least 1 character",
    ] == faults(path)


def test_what_only_one_wire_has_is_refused_on_the_other(tmp_path: Path, key: Path) -> None:
    """Anthropic's SDK sends the credential in its own way, and asks in its own words."""
    path = write(
        tmp_path,
        "targets:\n"
        f"  a: {{provider: anthropic, model: m, credential_file: {key}, auth: bearer}}\n"
        f"  b: {{provider: anthropic, model: m, credential_file: {key}, quirks: {{stream_options: false}}}}\n"
        f"  c: {{provider: anthropic, model: m, credential_file: {key}, images: false, tools: false}}\n"
        "routes:\n"
        "  m: {targets: [a, b, c]}\n",
    )

    assert [
        "2: targets.a.auth: provider 'anthropic' does not speak OpenAI's wire",
        "3: targets.b.quirks: provider 'anthropic' does not speak OpenAI's wire",
    ] == faults(path)


def test_a_credential_is_needed_unless_none_is_sent(tmp_path: Path) -> None:
    """`auth: none` says that a server of a vendor's wire asks for none."""
    path = write(
        tmp_path,
        "targets:\n"
        "  a: {provider: openai, model: m, base_url: 'http://10.0.0.7:8000/v1', auth: none}\n"
        "  b: {provider: azure, model: m}\n"
        "routes:\n"
        "  m: {targets: [a, b]}\n",
    )

    assert [
        "3: targets.b.base_url: provider 'azure' needs a base_url",
        "3: targets.b.credential_file: provider 'azure' needs a credential_file",
    ] == faults(path)


def test_routes_may_be_nested_only_so_deep(tmp_path: Path) -> None:
    """A chain of routes that no person can follow is refused before the interpreter's recursion limit is."""
    chain = "".join(f"  m{number}: {{targets: [{{route: m{number + 1}}}]}}\n" for number in range(2000))
    path = write(tmp_path, FIVE_TARGETS + chain + "  m2000: {targets: [a]}\n")

    assert "28: routes.m19.targets.0: routes are nested more than 20 deep" == faults(path)[0]


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    """A file with several faults is corrected in one go."""
    path = write(
        tmp_path,
        "targets:\n"
        "  a: {provider: openai, model: m, credential_file: /no/such/file}\n"
        "  b: {provider: vllm, model: m, timeouts: {gap_seconds: 0}}\n"
        "routes:\n"
        "  m: {targets: [a, c]}\n"
        "  n: {targets: [{route: n}], balance: fair}\n"
        "  o: {targets: [b, {route: p}]}\n",
    )

    assert [
        "2: targets.a.credential_file: /no/such/file: No such file or directory",
        "3: targets.b.base_url: provider 'vllm' needs a base_url",
        "3: targets.b.timeouts.gap_seconds: Input should be greater than 0",
        "5: routes.m.targets.1: no target 'c'; there are a, b",
        "6: routes.n.balance: Input should be 'weighted' or 'least_latency'",
        "7: routes.o.targets.1: no route 'p'; there are m, n, o",
    ] == faults(path)


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b\n", "{}", "# nothing\n"])
def test_refuses_a_file_that_is_no_routes_file(tmp_path: Path, text: str) -> None:
    """An empty or unrelated file is an error, not an empty gateway."""
    with pytest.raises(RoutesError, match=r"routes\.yaml:1"):
        load_routes(write(tmp_path, text))


@pytest.mark.parametrize(
    ("credential", "reason"),
    [
        (b" \n", "the file is empty"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"sk-one\nsk-two\n", "expected one line of printable ASCII"),
        ("sk-\N{BULLET}\N{BULLET}".encode(), "expected one line of printable ASCII"),
    ],
)
def test_refuses_a_malformed_credential(tmp_path: Path, key: Path, credential: bytes, reason: str) -> None:
    """A key that cannot be sent is found at the start; the content of its file is not printed."""
    key.write_bytes(credential)

    (reported,) = faults(write(tmp_path, GOOD.format(key=key)))

    assert reported.startswith(f"5: targets.primary.credential_file: {key}: {reason}")
    assert "sk-" not in reported


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """The most common mistake gets the shortest message."""
    with pytest.raises(RoutesError, match=r"absent\.yaml: No such file or directory$"):
        load_routes(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    """The message says where the text ends."""
    path = tmp_path / "routes.yaml"
    path.write_bytes(b"targets: \xff")

    with pytest.raises(RoutesError, match=r"routes\.yaml: not UTF-8 at byte 9$"):
        load_routes(path)


def test_a_change_of_any_file_that_was_read_is_noticed(tmp_path: Path, key: Path) -> None:
    """The routes file, a credential, also when its size and times stay; writing the same again is no change."""
    path = write(tmp_path, GOOD.format(key=key))
    sources = Sources()
    load_routes(path, sources)
    times = (key.stat().st_atime_ns, key.stat().st_mtime_ns)

    assert not sources.have_changed()
    key.write_text("sk-secret\n")
    assert not sources.have_changed()
    key.write_text("sk-Secret\n")
    os.utime(key, ns=times)
    assert sources.have_changed()
    key.write_text("sk-secret\n")
    assert not sources.have_changed()
    path.unlink()
    assert sources.have_changed()


def test_a_folder_that_is_swapped_is_noticed(tmp_path: Path) -> None:
    """Kubernetes changes a Secret by a symlink to another folder; the path of the file stays."""
    for folder, credential in (("one", "sk-one"), ("two", "sk-two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "key").write_text(credential)
    (tmp_path / "data").symlink_to("one")
    path = write(tmp_path, GOOD.format(key=tmp_path / "data" / "key"))
    sources = Sources()
    load_routes(path, sources)

    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(tmp_path / "data")

    assert sources.have_changed()
    assert "sk-two" == load_routes(path)["default"].targets[0].credential


def test_the_file_that_was_missing_is_noticed_when_it_comes(tmp_path: Path) -> None:
    """A refused file is read again when the credential it lacked appears, though the file itself is unchanged."""
    key = tmp_path / "late"
    path = write(tmp_path, GOOD.format(key=key))
    sources = Sources()
    with pytest.raises(RoutesError):
        load_routes(path, sources)

    assert not sources.have_changed()
    key.write_text("sk-secret")
    assert sources.have_changed()


def test_two_targets_with_one_credential_file_get_one_credential(tmp_path: Path, key: Path) -> None:
    """Each file is read once, so a change in the middle of reading cannot go unnoticed."""
    sources = Sources()
    assert "sk-secret\n" == sources.read(key)
    key.write_text("sk-rotated")

    assert "sk-secret\n" == sources.read(key)
    assert sources.have_changed()


@pytest.mark.parametrize(("text", "expected"), WRONG_ROUTES.values(), ids=WRONG_ROUTES)
def test_wrong_routes_are_refused_with_line_and_reason(tmp_path: Path, text: str, expected: list[str]) -> None:
    """One line for each fault."""
    found = faults(write(tmp_path, text))

    assert len(expected) == len(found)
    for fault, reason in zip(found, expected, strict=True):
        assert fault.startswith(reason)
