"""A routes file is used as it is meant or refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_router.routes import RoutesError, load_routes

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


def test_reads_targets_in_the_order_of_the_route(tmp_path: Path, key: Path) -> None:
    """A route keeps its order, a target its settings, and what is unset its default."""
    routes = load_routes(write(tmp_path, GOOD.format(key=key)))

    primary, local = routes["default"]
    assert list(routes) == ["default", "small"]
    assert (
        primary.name,
        primary.provider,
        primary.model,
        primary.credential,
    ) == ("primary", "openai", "gpt-6-luna", "sk-secret")
    assert (
        primary.timeouts.connect_seconds,
        primary.timeouts.first_content_seconds,
        primary.timeouts.gap_seconds,
    ) == (1.5, 4.0, 20.0)
    assert (local.credential, local.context_tokens) == (None, 2048)


def test_a_target_never_prints_its_credential(tmp_path: Path, key: Path) -> None:
    """A target may end up in a log line or an assertion; its key must not."""
    routes = load_routes(write(tmp_path, GOOD.format(key=key)))

    assert "sk-secret" not in repr(routes)


@pytest.mark.parametrize(
    ("broken", "line", "reason"),
    [
        ("    model: gpt-6-luna\n=>", 2, "targets.primary.model: Field required"),
        ("targets: [primary, local]=>targets: [primary, nowhere]", 13, "no target 'nowhere'; there are local, primary"),
        ("targets: [primary, local]=>targets: [primary, primary]", 13, "stands in this route twice"),
        ("targets: [primary, local]=>targets: []", 13, "at least 1 item"),
        ("{key}=>/no/such/file", 5, "/no/such/file: No such file or directory"),
        ("connect_seconds: 1.5=>connect_seconds: 0", 6, "greater than 0"),
        ("connect_seconds: 1.5=>conect_seconds: 1.5", 6, "conect_seconds: Extra inputs are not permitted"),
        ("provider: vllm=>provider: vlm", 8, "Input should be 'openai', 'anthropic' or 'vllm'"),
        ("    base_url: http://127.0.0.1:8000/v1\n=>", 7, "provider 'vllm' needs a base_url"),
        ("    credential_file: {key}\n=>", 2, "provider 'openai' needs a credential_file"),
        ("  local:\n=>  primary:\n", 7, "targets.primary: given twice"),
        ("routes:=>routes: [", 14, "not YAML"),
        ("base_url: http://127.0.0.1:8000/v1=>base_url: 127.0.0.1:8000", 10, "targets.local.base_url"),
    ],
)
def test_refuses_a_wrong_file_with_line_and_reason(
    tmp_path: Path, key: Path, broken: str, line: int, reason: str
) -> None:
    """Each fault is told with the file, the line it stands on and what is wrong."""
    old, new = broken.split("=>")
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1).format(key=key))

    with pytest.raises(RoutesError) as caught:
        load_routes(path)

    lines = str(caught.value).splitlines()
    assert [told for told in lines if told.startswith(f"{path}:{line}") and reason in told], lines


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b\n"])
def test_refuses_what_is_no_routes_file(tmp_path: Path, text: str) -> None:
    """An empty or unrelated file is an error, not an empty gateway."""
    with pytest.raises(RoutesError, match=r"routes\.yaml:1"):
        load_routes(write(tmp_path, text))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """The most common mistake gets the plainest words."""
    with pytest.raises(RoutesError, match=r"absent\.yaml: No such file or directory$"):
        load_routes(tmp_path / "absent.yaml")
