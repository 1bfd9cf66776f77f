"""A server on this machine that does what a test tells it to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

Answer = Callable[[socket.socket, str], None]


class Server:
    """Answers each request by a function of the connection and the path; counts them."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.requests = answer, []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            text = connection.recv(65536).decode()
            path = text.split()[1] if text else ""
            self.requests.append(path)
            try:
                self.answer(connection, path)
            except OSError:
                pass

    def close(self) -> None:
        self._listening.close()


def ok(content: bytes, announced: int | None = None) -> bytes:
    length = len(content) if announced is None else announced
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length, content)
