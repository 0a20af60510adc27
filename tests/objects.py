"""An object store on this machine: moto's S3 server on loopback, which answers with errors where it is told to."""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import pytest

BUCKET = "s3://photos"


class Objects:
    """The server. ``fault`` says which status a request (method, path) is answered with, None: moto's own.

    asked: the (method, path) of every request since ``asked`` was cleared.
    """

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self.fault: Callable[[str, str], int | None] = lambda method, path: None
        self.asked: list[tuple[str, str]] = []
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        served: Any = self._server._server
        self._app, served.app = served.app, self._answer
        served.RequestHandlerClass.log_request = lambda *arguments: None
        # Processes that the tests fork must not hold the server's ends of connections: they would never be closed.
        accept, self._accepted = served.get_request, weakref.WeakSet[socket.socket]()
        served.get_request = lambda: self._remembered(accept())
        os.register_at_fork(after_in_child=lambda: self._let_go(served.socket))
        host, port = self._server.get_host_and_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "never-to-be-shown",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def _remembered(self, accepted: Any) -> Any:
        self._accepted.add(accepted[0])
        return accepted

    def _let_go(self, listening: socket.socket) -> None:
        for one in (listening, *self._accepted):
            if one.fileno() >= 0:
                os.close(one.detach())

    def _answer(self, environ: Any, start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.asked.append((method, path))
        status = self.fault(method, path)
        if status is None:
            return self._app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(f"{status} Fault", [("Content-Length", "0")])
        return [b""]

    def empty(self) -> None:
        """A bucket without an object, and a server without a fault."""
        self.fault = lambda method, path: None
        system = self.system()
        if system.exists(BUCKET):
            system.rm(BUCKET, recursive=True)
        system.mkdir(BUCKET)
        self.asked.clear()

    def system(self) -> Any:
        """The file system, as it is now."""
        system, _ = fsspec.core.url_to_fs(BUCKET)
        system.invalidate_cache()
        return system

    def put(self, name: str, content: bytes) -> str:
        """The URL of a new object."""
        self.system().pipe_file(f"{BUCKET}/{name}", content)
        return f"{BUCKET}/{name}"

    def names(self) -> list[str]:
        """Of all objects."""
        return sorted(name.partition("/")[2] for name in self.system().find(BUCKET))

    def stop(self) -> None:
        """End the server."""
        self._server.stop()


@contextmanager
def serving() -> Iterator[Objects]:
    """A server that runs. Skips the test where moto or s3fs is not installed."""
    for name in ("moto", "s3fs", "flask"):
        pytest.importorskip(name, reason="needs moto's server and s3fs: pip install 'moto[server]' s3fs")
    objects = Objects()
    try:
        yield objects
    finally:
        objects.stop()
