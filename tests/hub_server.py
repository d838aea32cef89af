"""A hub on this machine: the few endpoints of Hugging Face's that an upload needs, over a folder.

Commits appear under ORG/NAME/resolve/BRANCH, from where `hf:` downloads them. Repositories of the
organisation "private" answer only those who show the token.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tests.bad_server import Handler

TOKEN = "hf_right"


class HubHandler(Handler):
    """Serves what was committed; takes large files by git-LFS, small ones in the commit."""

    def do_GET(self):
        shown = self.headers.get("Authorization", "")
        if self.path.startswith("/private/") and shown != f"Bearer {TOKEN}":
            self._json(401, {"error": "Invalid credentials"})
        else:
            super().do_GET()

    def do_POST(self):
        self._take(self._post)

    def do_PUT(self):
        self._take(self._put)

    def _take(self, answer) -> None:
        self.close_connection = True
        body = self._body()
        path = self.path.partition("?")[0]
        self.zoo.requests.append((path, self.headers.get("Authorization", "")))
        status = next((f for end, f in self.zoo.faults.items() if path.endswith(end)), None)
        if status is not None:
            self._json(status, {"error": "not today"})
        elif path.startswith("/api/") and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._json(401, {"error": "Invalid credentials"})
        else:
            answer(path, body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _post(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self._json(200, {"url": f"{self.zoo.url}/{name}", "name": name, "id": "1"})
        elif path == "/api/validate-yaml":
            self._json(200, {"errors": [], "warnings": []})
        elif "/branch/" in path:
            self._json(200, {})
        elif "/preupload/" in path:
            files = [self._mode(file) for file in json.loads(body)["files"]]
            self._json(200, {"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            self._json(200, {"transfer": "basic", "objects": self._batch(json.loads(body))})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(found[1], found[2], [json.loads(line) for line in body.splitlines()])
        else:
            self._json(404, {"error": path})

    def _put(self, path: str, body: bytes) -> None:
        oid = path.rpartition("/")[2]
        whole = hashlib.sha256(body).hexdigest() == oid
        if whole:
            self._object(oid).parent.mkdir(exist_ok=True)
            self._object(oid).write_bytes(body)
        self._json(200 if whole else 400, {})

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        large = file["path"].endswith(".safetensors")
        mode = "lfs" if large else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _batch(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {**file, "actions": {"upload": {"href": f"{self.zoo.url}/lfs/{file['oid']}"}}}
            for file in asked["objects"]
        ]

    def _commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> None:
        folder = self.zoo.folder / name / "resolve" / branch
        folder.mkdir(parents=True, exist_ok=True)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                content = self._object(value["oid"]).read_bytes()
                (folder / value["path"]).write_bytes(content)
        url = f"{self.zoo.url}/{name}/commit/1"
        self._json(200, {"success": True, "commitOid": "1" * 40, "commitUrl": url})

    def _object(self, oid: str) -> Path:
        return self.zoo.folder / ".objects" / oid

    def _json(self, status: int, value: Any) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})
