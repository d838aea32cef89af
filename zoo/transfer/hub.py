"""Hugging Face's hub: where it is, and the token that opens private repositories of it."""

import os
from pathlib import Path
from urllib.parse import urlsplit

HUB_VARIABLE, TOKEN_VARIABLE = "HF_ENDPOINT", "HF_TOKEN"
_HUB = "https://huggingface.co"
_HOME_VARIABLE, _HOME = "HF_HOME", "~/.cache/huggingface"


def hub_url() -> str:
    """Address of the hub: HF_ENDPOINT, else Hugging Face's own."""
    return (os.environ.get(HUB_VARIABLE) or _HUB).rstrip("/")


def is_on_hub(url: str) -> bool:
    """Whether `url` is on the hub's own server; what that redirects to usually is not."""
    return urlsplit(url)[:2] == urlsplit(hub_url())[:2]


def hub_token() -> str | None:
    """The user's token: HF_TOKEN, else what `hf auth login` keeps; None where there is neither."""
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    home = os.environ.get(_HOME_VARIABLE) or _HOME
    try:
        return Path(home).expanduser().joinpath("token").read_text(encoding="utf-8").strip() or None
    except (OSError, RuntimeError, UnicodeError):
        return None
