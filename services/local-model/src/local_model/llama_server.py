"""The llama.cpp HTTP server, which runs in threads of this process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import xllamacpp

from local_model.settings import Settings
from local_model.weights import CONTEXT_TOKENS, MODEL_NAME
from servicekit.addresses import host_of_both

# ChatML, as the model was trained, without what its own template puts first when there is no system prompt ("You are a
# helpful AI assistant named SmolLM"): with that, a model this small answers a plain English question in broken French.
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_TOKENS_WHEN_UNSET = 512
_WARNINGS = 2  # llama.cpp's verbosity: 1 errors, 2 warnings, 3 every request


# "llamacpp:requests_processing 1": how many are answered, or wait for one of the places.
_UNFINISHED = re.compile(r"^llamacpp:requests_(?:processing|deferred) (\d+)$", re.MULTILINE)


class ServerFailed(Exception):
    """llama.cpp refused to start; why is in the log lines before."""


def start_server(settings: Settings, weights: Path) -> Any:
    """Load `weights` and serve; returns when requests are answered. The server ends with the process."""
    params = xllamacpp.CommonParams()
    params.verbosity = _WARNINGS
    params.model.path = str(weights)
    params.model_alias = {MODEL_NAME}
    params.chat_template = _CHAT_TEMPLATE
    params.hostnames = [host_of_both(settings.host)]
    params.port = settings.port
    params.n_parallel = settings.parallel
    params.n_ctx = CONTEXT_TOKENS * settings.parallel
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    # What a request leaves open. So small a model wanders off when its words are drawn by lot, and then for ever.
    params.sampling.temp = 0.0
    params.n_predict = _TOKENS_WHEN_UNSET
    params.endpoint_metrics = True
    # Slots show what others asked. The page is not ours to offer, and no web page may call a model on this machine.
    params.endpoint_slots = False
    params.ui = False
    params.cors_origins = ""
    params.cors_origins_explicit = True
    params.cors_credentials = False
    # Keeps whole prompts of the past in memory, 8 GiB of them unless told otherwise.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ServerFailed(str(error)) from error


def has_requests(server: Any) -> bool:
    """Tell whether any request is answered or waits for its turn."""
    return any(int(count) for count in _UNFINISHED.findall(server.handle_metrics()))
