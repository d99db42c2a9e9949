#!/usr/bin/env python3
"""A server whose certificate nobody trusts: prints a URL where nobody listens, its own URL, a file with another CA, and the port of one
who takes connections and says nothing. Ends with its input."""

import pathlib
import socket
import ssl
import subprocess
import sys
import threading

directory = pathlib.Path(sys.argv[1])
for name in ("server", "other"):
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    files = ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files], check=True, capture_output=True)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(directory / "server.pem", directory / "server.key")
listener = socket.create_server(("127.0.0.1", 0))
closed = socket.create_server(("127.0.0.1", 0))
silent = socket.create_server(("127.0.0.1", 0), backlog=50)
urls = f"http://127.0.0.1:{closed.getsockname()[1]} https://127.0.0.1:{listener.getsockname()[1]}"
print(f"{urls} {directory / 'other.pem'} {silent.getsockname()[1]}", flush=True)
closed.close()


def serve():
    while True:
        connection, _ = listener.accept()
        try:
            connection.settimeout(5)
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            pass  # it is not trusted


threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
