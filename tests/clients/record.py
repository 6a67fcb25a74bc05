"""Record what the clients of `catalogue.py` send: `make clients` (CLIENTS="langchain aider" for some of them).

Each is installed into `~/.cache/spillway-clients`, run against a recorder on loopback, and what it sent is written into
`recorded/CLIENT.json` as shapes. With `--base-url` the clients ask a gateway instead, and nothing is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from .catalogue import CLIENTS, WEATHER, Client
from .recorder import Recorded, Recorder, running_recorder
from .samples import PDF, PIXEL, QUESTION, RESULT, SYSTEM
from .shapes import shape_of

_HERE = Path(__file__).parent
# Outside of the repo: coding agents look for one around them, and write into it.
_HOME = Path.home() / ".cache/spillway-clients"
_SECONDS = 240.0
_MODELS = {"CHAT_MODEL": "gpt-4o", "MESSAGES_MODEL": "claude-sonnet-4-6"}


def say(line: str) -> None:
    """Print a line and flush."""
    print(line, flush=True)  # noqa: T201 - the program's output


def main() -> None:
    """Record, or ask a gateway, with the clients that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", help="all of them when none is named")
    parser.add_argument("--base-url", help="ask this gateway instead of the recorder, and record nothing")
    parser.add_argument("--key", default="sk-recorded", help="the key that the clients use")
    parser.add_argument("--chat-model", default=_MODELS["CHAT_MODEL"])
    parser.add_argument("--messages-model", default=_MODELS["MESSAGES_MODEL"])
    arguments = parser.parse_args()
    known = {client.name: client for client in CLIENTS}
    chosen = [known[name] for name in arguments.clients] or list(CLIENTS)
    environment = _environment(arguments.key, arguments.chat_model, arguments.messages_model)
    for client in chosen:
        folder = _install(client)
        if arguments.base_url:
            _run(client, folder, arguments.base_url, environment)
            continue
        with running_recorder() as recorder:
            _prepare_calls(recorder, client, folder)
            _run(client, folder, recorder.url + "/{case}", environment)
        _write(client, recorder.requests)


def _environment(key: str, chat_model: str, messages_model: str) -> dict[str, str]:
    samples = _HOME / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    (samples / "note.txt").write_text(f"{RESULT}\n")
    (samples / "picture.png").write_bytes(PIXEL)
    (samples / "page.pdf").write_bytes(PDF)
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "CLIENT_KEY": key,
        "CHAT_MODEL": chat_model,
        "MESSAGES_MODEL": messages_model,
        "QUESTION": QUESTION,
        "SYSTEM": SYSTEM,
        "RESULT": RESULT,
        "SAMPLES": str(samples),
    }


def _install(client: Client) -> Path:
    """Install a client into a folder of its own, unless this version is there."""
    folder = _HOME / f"{client.name}-{client.version}"
    done = folder / "installed"
    if done.exists() and done.read_text() == repr(client.packages):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if client.is_node:
        # Some put their program in place by a script.
        allowed = {package.rsplit("@", 1)[0]: True for package in client.packages}
        (folder / "package.json").write_bytes(orjson.dumps({"private": True, "allowScripts": allowed}))
        options = ("--no-audit", "--no-fund", "--loglevel=error", "--prefix", folder)
        subprocess.run(["npm", "install", *options, *client.packages], check=True)
    else:
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", folder / "bin/python", *client.packages], check=True
        )
    done.write_text(repr(client.packages))
    return folder


def _prepare_calls(recorder: Recorder, client: Client, folder: Path) -> None:
    for name, case in client.cases.items():
        tool, given = case.call
        work = str(folder / "work" / name)
        recorder.calls[name] = tool, {each: value.replace("{folder}", work) for each, value in given.items()}
    if client.program:
        recorder.default_call = WEATHER


def _run(client: Client, folder: Path, url: str, environment: Mapping[str, str]) -> None:
    """Run all cases of a client, and print what it says."""
    client.prepare(folder)
    say(f"== {client.name} {client.version}")
    if client.program:
        _call(client.command(folder, ""), {**environment, "BASE_URL": url, "HOME": str(folder)}, folder)
        return
    places = {
        "{chat_model}": environment["CHAT_MODEL"],
        "{messages_model}": environment["MESSAGES_MODEL"],
        "{key}": environment["CLIENT_KEY"],
    }
    for name, case in client.cases.items():
        home, work = folder / "home" / name, folder / "work" / name
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
        home.mkdir(parents=True)
        shutil.copytree(environment["SAMPLES"], work)
        places["{url}"] = url.replace("{case}", name)
        for file, content in case.files.items():
            (work / file).write_text(_filled(content, places))
        command = [_filled(part, places) for part in client.command(folder, name)]
        given = {each: _filled(value, places) for each, value in case.environment.items()}
        say(f"{name}:")
        _call(command, {**environment, **given, "HOME": str(home)}, work)


def _filled(text: str, places: Mapping[str, str]) -> str:
    for place, value in places.items():
        text = text.replace(place, value)
    return text


def _call(command: list[str], environment: Mapping[str, str], folder: Path) -> None:
    try:
        ended = subprocess.run(
            command, env=environment, cwd=folder, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        say("did not end")
        return
    say(f"(status {ended.returncode})")


def _write(client: Client, requests: list[Recorded]) -> None:
    """Write each shape once; what has no body is only named."""
    asked = [each for each in requests if each.body is not None and not each.path.endswith("count_tokens")]
    shapes = [shape_of(each, str(_HOME)) for each in asked]
    kept: list[object] = []
    for shape in shapes:
        twins = [each for each in shapes[: shapes.index(shape)] if each["case"] == shape["case"]]
        turn = f"{shape['case']}, turn {len(twins) + 1}" if twins else shape["case"]
        kept.append({**shape, "case": turn})
    also = sorted({f"{each.method} {each.path}" for each in requests} - {f"POST {shape['path']}" for shape in shapes})
    record = {"client": client.name, "packages": client.packages, "also": also, "requests": kept}
    file = _HERE / "recorded" / f"{client.name}.json"
    file.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
    say(f"{file.name}: {len(kept)} requests")


if __name__ == "__main__":
    main()
