"""A hub on this machine: creates repositories and takes commits, as far as a push needs it."""

import base64
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class FakeHub:
    """What was asked of it: repositories by name -> (what was asked for, files), and tokens.

    refuses: paths that are answered with 403 if they end so.
    """

    def __init__(self):
        self.repositories = {}
        self.tokens = set()
        self.refuses = ()
        self.url = ""

    def answer(self, path, body):
        if path.endswith("/api/repos/create"):
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
            self.repositories.setdefault(name, (asked, {}))
            return {"url": f"{self.url}/{name}", "name": name}
        if path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            kept = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": file["path"], **kept} for file in files]}
        if path.endswith("/commit/main"):
            name = path.removeprefix("/api/models/").removesuffix("/commit/main")
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    content = base64.b64decode(value["content"])
                    self.repositories[name][1][value["path"]] = content
            oid = "0" * 40
            return {"commitUrl": f"{self.url}/{name}/commit/{oid}", "commitOid": oid}
        return {}  # it is asked whether the front matter is valid


@contextmanager
def fake_hub(monkeypatch):
    """The hub that the library speaks to within the context."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.tokens.add(self.headers.get("Authorization"))
            path = self.path.partition("?")[0]
            refused = path.endswith(tuple(hub.refuses)) if hub.refuses else False
            content = json.dumps({} if refused else hub.answer(path, body)).encode()
            self.send_response(403 if refused else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
