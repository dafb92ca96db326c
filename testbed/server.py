"""A real ComfyUI server in a workspace of its own: started, fed workflows, stopped."""

import json
import logging
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
import websocket

from .comfyui import comfyui_path, install_requirements
from .pack import install_pack

log = logging.getLogger(__name__)

_START_SECONDS = 300

Progress = Callable[[str, int, int], None]


class PromptError(RuntimeError):
    """A prompt that ComfyUI refused or that failed; the message is what a person would see."""


def prepare_workspace(
    folder: Path,
    models: Mapping[str, Sequence[Path]],
    packs: Mapping[str, Path] | None = None,
) -> Path:
    """Return `folder`, made a base directory for ComfyUI with our pack.

    models: files by the name of their folder in models/. packs: folders of other node packs, by the
    names that they are installed under.
    """
    for name in ("input", "output", "temp", "user"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for kind in ("checkpoints", "controlnet"):
        target = folder / "models" / kind
        target.mkdir(parents=True, exist_ok=True)  # adapters of the user's own stay
        for path in models.get(kind, ()):
            shutil.copy2(path, target / path.name)
    custom_nodes = folder / "custom_nodes"
    install_pack(custom_nodes)
    for name, pack in (packs or {}).items():
        shutil.rmtree(custom_nodes / name, ignore_errors=True)
        shutil.copytree(pack, custom_nodes / name)
    return folder


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ComfyServer:
    """Context manager around a ComfyUI process on the CPU.

    Example:
        with ComfyServer(workspace) as server:
            outputs = server.run(prompt)
    """

    def __init__(self, workspace: Path, extra_arguments: Sequence[str] = ()) -> None:
        self.workspace = workspace
        self.port = free_port()
        self.log_file = workspace / "server.log"
        self._arguments = list(extra_arguments)
        self._client = uuid.uuid4().hex
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """Return where a browser finds it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "ComfyServer":
        path = comfyui_path()
        install_requirements(path)
        command = [sys.executable, str(path / "main.py"), "--cpu", "--disable-api-nodes"]
        command += ["--listen", "127.0.0.1", "--port", str(self.port)]
        command += ["--base-directory", str(self.workspace), *self._arguments]
        with self.log_file.open("w") as output:
            self._process = subprocess.Popen(
                command, cwd=path, stdout=output, stderr=subprocess.STDOUT
            )
        self._wait_until_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def wait(self) -> None:
        """Block until the process ends by itself."""
        if self._process is not None:
            self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                requests.get(f"{self.url}/system_stats", timeout=2).raise_for_status()
            except requests.RequestException:
                time.sleep(0.3)
            else:
                return
        self.stop()
        tail = "\n".join(self.log_file.read_text().splitlines()[-20:])
        raise RuntimeError(f"ComfyUI did not start; the end of {self.log_file}:\n{tail}")

    def get(self, path: str, **params: str) -> requests.Response:
        """Return what the server answers to GET."""
        response = requests.get(f"{self.url}{path}", params=params, timeout=60)
        response.raise_for_status()
        return response

    def object_info(self) -> dict[str, Any]:
        """Return the schema of every node."""
        return self.get("/object_info").json()

    def run(self, prompt: dict[str, Any], progress: Progress | None = None) -> dict[str, Any]:
        """Return the outputs of a prompt's nodes by id, once it has run; it is in API format.

        progress(node id, step, steps) is called as nodes report.

        Raises:
            PromptError: the server refused the prompt, or a node failed.
        """
        socket_url = f"ws://127.0.0.1:{self.port}/ws?clientId={self._client}"
        connection = websocket.create_connection(socket_url, timeout=600)
        try:
            body = {"prompt": prompt, "client_id": self._client}
            answer = requests.post(f"{self.url}/prompt", json=body, timeout=60).json()
            if "prompt_id" not in answer:
                raise PromptError(_refusal(answer))
            self._follow(connection, answer["prompt_id"], progress)
        finally:
            connection.close()
        return self.get(f"/history/{answer['prompt_id']}").json()[answer["prompt_id"]]["outputs"]

    def _follow(
        self, connection: websocket.WebSocket, prompt_id: str, progress: Progress | None
    ) -> None:
        """Read messages until the prompt is done; raise PromptError if it failed."""
        while True:
            message = connection.recv()
            if isinstance(message, bytes):
                continue
            event = json.loads(message)
            data = event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if event["type"] == "execution_error":
                raise PromptError(f"{data['node_type']}: {data['exception_message'].strip()}")
            if event["type"] == "progress" and progress is not None:
                progress(str(data["node"]), data["value"], data["max"])
            if event["type"] == "executing" and data["node"] is None:
                return  # the history is written by now, unlike at execution_success

    def image(self, entry: dict[str, str]) -> bytes:
        """Return the file behind one entry of a node's `images` output."""
        return self.get("/view", **entry).content


def _refusal(answer: dict[str, Any]) -> str:
    """Return the first sentence of a refused prompt."""
    for node in answer.get("node_errors", {}).values():
        error = node["errors"][0]
        return f"{node['class_type']}: {error['message']} ({error['details']})"
    return str(answer.get("error", answer))
