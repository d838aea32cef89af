"""Uploading a weight to Hugging Face's hub, through the optional library huggingface_hub."""

import tempfile
from pathlib import Path

from zoo.classifier import Classifier
from zoo.export.forms import ExportError, export
from zoo.pretrained.address import parse_hub
from zoo.pretrained.loading import as_classifier
from zoo.transfer import OFFLINE_VARIABLE, hub_url, is_offline

_DEFAULT_BRANCH = "main"


class PushError(ExportError):
    """A weight could not be uploaded; the repository is as it was."""


def push(source: str | Path | Classifier, repository: str, *, private: bool = False) -> str:
    """Uploads a weight as a Hugging Face folder, in one commit: all of it or nothing.

      push("runs/mine", "hf:me/flowers")

    The repository and, where it is named, the branch are created if need be. The token is
    HF_TOKEN, or the one that `hf auth login` keeps; HF_ENDPOINT names another hub.

    Args:
      source: whatever `load_pretrained` takes, or a classifier.
      repository: hf:ORG/NAME, or hf:ORG/NAME@BRANCH.
      private: whether a repository that is new is closed to others.

    Returns:
      Address of the commit.

    Raises:
      PushError: huggingface_hub is not installed, or the hub refuses.
      UnknownWeightError: for a repository of another form.
      ValueError: as `export`.
    """
    target = parse_hub(repository)
    name, branch = str(target.repository), target.revision
    if is_offline():
        raise PushError(f"{OFFLINE_VARIABLE} is set; unset it to upload to {repository}")
    try:
        # pyrefly: ignore[missing-import] an extra, so it may be absent
        from httpx2 import HTTPError

        # pyrefly: ignore[missing-import] an extra, so it may be absent
        from huggingface_hub import CommitOperationAdd, HfApi
    except ImportError:
        raise PushError(
            "uploading needs huggingface_hub; install it: pip install "
            "'flax-vanilla-zoo[huggingface]'"
        ) from None
    model = as_classifier(source)
    api = HfApi(endpoint=hub_url())
    with tempfile.TemporaryDirectory() as work:
        folder = export(model, Path(work) / "files", format="huggingface", name=repository)
        files = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
        try:
            api.create_repo(name, private=private, exist_ok=True)
            if branch != _DEFAULT_BRANCH:
                api.create_branch(name, branch=branch, exist_ok=True)
            title = f"Upload {model.provenance.name}"
            commit = api.create_commit(name, files, commit_message=title, revision=branch)
        except (HTTPError, OSError, RuntimeError, ValueError) as error:
            raise PushError(_sentence(repository, error)) from error
    return str(commit.commit_url)


def _sentence(repository: str, error: Exception) -> str:
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    advice = "try again"
    if status in (401, 403):
        advice = "set HF_TOKEN to a token that may write there"
    return f"{repository} was not uploaded ({reason.strip()[:200]}); {advice}"
