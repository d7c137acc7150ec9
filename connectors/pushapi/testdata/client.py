"""An independent client of the Push API, in the standard library of Python 3.

usage: client.py HOST PORT CONNECTOR LOGIN PASSWORD

It knows the protocol from its documentation alone, and exits with 0 if the
server behaves as documented: in the dialect of the documentation, in that of
the first generation of clients, and towards the habits of common HTTP
libraries. What differs is printed.
"""

import base64
import http.client
import socket
import sys
import time
import uuid
from urllib.parse import quote_plus, unquote_plus, urlencode
from xml.etree import ElementTree

HOST, PORT, CONNECTOR, LOGIN, PASSWORD = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
BASE = "/papi/4/connectors/" + CONNECTOR + "/"
AUTH = "Basic " + base64.b64encode((LOGIN + ":" + PASSWORD).encode()).decode()


class PushApiError(Exception):
    def __init__(self, status, kind, message):
        super().__init__(f"{status} {kind}: {message}")
        self.status, self.kind, self.message = status, kind, message


class Client:
    """One connection that is kept alive."""

    def __init__(self, legacy=False):
        self.legacy = legacy
        self.session = None
        self.http = http.client.HTTPConnection(HOST, PORT, timeout=30)
        if legacy:  # clients of the first generation ask before anything else
            status, _ = self.exchange("OPTIONS", "*")
            expect(status // 100 == 2, "OPTIONS *", status)

    def exchange(self, verb, path, body=None, headers=None):
        self.http.request(verb, path, body, {"Authorization": AUTH, **(headers or {})})
        reply = self.http.getresponse()
        return reply.status, reply.read()

    def call(self, command, pairs=(), reads=False, body=None, headers=None):
        pairs = list(pairs)
        if self.session is not None:
            pairs.append(("PAPI_session", self.session))
        verb = "GET" if reads and not self.legacy else "POST"
        status, text = self.exchange(verb, BASE + command + "?" + urlencode(pairs), body, headers)
        if status // 100 != 2:
            tree = ElementTree.fromstring(text)
            raise PushApiError(status, tree.findtext("type"), tree.findtext("message"))
        return text

    def start(self):
        self.session = None
        self.session = self.call("get_current_session_id", reads=True).decode()
        expect(self.session.isdigit() and int(self.session) >= 2**62, "session id", self.session)

    def documents(self, command, documents, extra=()):
        boundary = "----" + uuid.uuid4().hex
        body = b""

        def field(name, value, disposition=""):
            nonlocal body
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{disposition}\r\n\r\n'.encode()
            body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"

        for document in documents:
            group = "PAPI_" + uuid.uuid4().hex  # a token of our own choice
            for name, value in document.get("metas", []):
                field(f"{group}:meta:{name}", value, '; filename=""')
            field(f"{group}:uri", document["uri"], f'; filename="{group}:uri"')
            if "stamp" in document:
                field(f"{group}:stamp", document["stamp"])
            for part, content in document.get("parts", {}).items():
                field(f"{group}:part_directive:{part}:mimeHint", "text/plain")
                field(f"{group}:part_bytes:{part}", content)
        body += f"--{boundary}--\r\n".encode()
        return self.call(command, extra, body=body, headers={"Content-Type": "multipart/form-data; boundary=" + boundary})

    def entries(self, root, mode):
        name = "PAPI_enumerationMode" if self.legacy else "PAPI_mode"
        text = self.call("enumerate_synced_entries", [("PAPI_rootPath", root), (name, mode)], reads=True)
        return parse_entries(text)

    def count(self, root, mode):
        name = "PAPI_enumerationMode" if self.legacy else "PAPI_mode"
        command = "counted_synced_entries" if self.legacy else "count_synced_entries"
        return int(self.call(command, [("PAPI_rootPath", root), (name, mode)], reads=True))

    def checkpoint(self, value, name="", sync=False):
        pairs = [("PAPI_checkpoint", value), ("PAPI_name", name), ("PAPI_sync", "true" if sync else "false")]
        return int(self.call("set_checkpoint", pairs))

    def get_checkpoint(self, name=""):
        return self.call("get_checkpoint", [("PAPI_name", name)], reads=True).decode()

    def status(self, *uris):
        text = self.call("get_documents_status", [("PAPI_uri", uri) for uri in uris], reads=True)
        return {uri: stamp for _, uri, stamp in parse_entries(text)}


def parse_entries(text):
    expect(text == b"" or text.endswith(b"\n"), "last line", text[-40:])
    entries = []
    for line in text.decode().split("\n")[:-1]:
        letter, uri, stamp = (line.split(" ", 2) + [""])[:3]
        entries.append((letter, unquote_plus(uri), stamp.replace("\\n", "\n").replace("\\r", "\r")))
    return entries


def expect(condition, what, got):
    if not condition:
        sys.exit(f"{what}: {got!r}")


def expect_equal(what, got, want):
    expect(got == want, f"{what}, want {want!r}", got)


def expect_error(status, kind, call, *args, **kwargs):
    try:
        got = call(*args, **kwargs)
    except PushApiError as error:
        expect_equal("error", (error.status, error.kind), (status, kind))
        expect(error.message, "message of the error", error.message)
        return
    sys.exit(f"no {kind}: {got!r}")


def scenario(legacy):
    client = Client(legacy)
    client.call("ping", reads=True)
    client.start()
    client.call("delete_documents_root_path", [("PAPI_rootPath", ""), ("PAPI_recursive", "true")])
    client.call("clear_all_checkpoints")
    client.checkpoint("empty", sync=True)

    binary = bytes(range(256)) * 400 + b"\r\n--" + b"-" * 60
    client.documents("add_documents", [
        {"uri": "a/b/one & only", "stamp": "rev 7 of äöü", "metas": [("tag", "x"), ("title", "One"), ("tag", "y")], "parts": {"master": binary, "notes": b""}},
        {"uri": "a/two", "stamp": "two\nlines"},
        {"uri": "a//three"},
        {"uri": "ab", "parts": {"master": "plain text".encode()}},
    ])
    # Pushed: seen by the status, not by enumerations.
    expect_equal("status", client.status("a/two", "ab", "none", "a/b/one & only"), {"a/two": "two\nlines", "ab": "", "a/b/one & only": "rev 7 of äöü"})
    expect_equal("entries before sync", client.entries("", "RECURSIVE_DOCUMENTS"), [])
    serial = client.checkpoint("first + 100%", "folder a")
    expect_equal("checkpoint before sync", client.get_checkpoint("folder a"), "")
    client.call("sync")
    expect_equal("checkpoint", client.get_checkpoint("folder a"), "first + 100%")
    lines = client.call("enumerate_checkpoints_info", reads=True).decode().split("\n")
    expect_equal("checkpoints", lines, [" empty", "folder+a first + 100%", ""])

    everything = {("D", "a/b/one & only", "rev 7 of äöü"), ("D", "a/two", "two\nlines"), ("D", "a//three", ""), ("D", "ab", "")}
    expect_equal("all", set(client.entries("", "RECURSIVE_DOCUMENTS")), everything)
    expect_equal("folder", set(client.entries("a", "NOT_RECURSIVE_ALL")), {("F", "a/", ""), ("F", "a/b", ""), ("D", "a/two", "two\nlines")})
    expect_equal("folders", client.entries("", "NOT_RECURSIVE_FOLDERS"), [("F", "a", "")])
    expect_equal("documents", client.entries("a/", "NOT_RECURSIVE_DOCUMENTS"), [("D", "a/two", "two\nlines")])
    for root, mode in [("", "RECURSIVE_DOCUMENTS"), ("a", "NOT_RECURSIVE_ALL"), ("a/b", "RECURSIVE_DOCUMENTS")]:
        expect_equal("count", client.count(root, mode), len(client.entries(root, mode)))

    client.documents("update_documents", [{"uri": "a/two", "stamp": "3"}])
    expect_error(400, "UnknownDocumentError", client.documents, "update_documents", [{"uri": "a/two", "stamp": "4"}, {"uri": "none", "stamp": "4"}])
    expect_equal("status after updates", client.status("a/two"), {"a/two": "3"})

    client.call("trigger_indexing_job")
    answer, deadline = b"", time.monotonic() + 60
    while answer != b"true" and time.monotonic() < deadline:
        time.sleep(0.01)
        answer = client.call("are_documents_searchable", [("PAPI_serial", str(serial))], reads=True)
        expect(answer in (b"true", b"false"), "searchable", answer)
    expect_equal("searchable", answer, b"true")
    expect_equal("unknown serial", client.call("are_documents_searchable", [("PAPI_serial", str(2**64 - 1))], reads=True), b"unknown")

    # Parameters in a body, as a form.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    client.call("delete_documents", body="PAPI_uri=" + quote_plus("a/b/one & only") + "&PAPI_uri=none", headers=form)
    client.call("delete_documents_root_path", [("PAPI_rootPath", "a"), ("PAPI_recursive", "false")])
    later = client.checkpoint("second", sync=True)
    expect(later > serial, "serial", (serial, later))
    expect_equal("left", client.entries("", "RECURSIVE_DOCUMENTS"), [("D", "a//three", ""), ("D", "ab", "")])

    session, client.session = client.session, "1234567890123456789"
    for command in ("sync", "set_checkpoint", "get_checkpoint", "clear_all_checkpoints"):
        expect_error(400, "SessionMismatchError", client.call, command, [("PAPI_checkpoint", "x")])
    expect_error(400, "SessionMismatchError", client.documents, "add_documents", [{"uri": "lost", "parts": {"master": binary * 20}}])
    client.session = session
    expect_equal("nothing of the refused", client.status("lost"), {})
    expect_error(405, "InvalidParameterError", get, client, "sync")


def get(client, command):
    status, text = client.exchange("GET", BASE + command)
    if status // 100 != 2:
        tree = ElementTree.fromstring(text)
        raise PushApiError(status, tree.findtext("type"), tree.findtext("message"))


def first_generation():
    """HTTP/1.0 with keep-alive, on one connection, spelled by hand."""
    with socket.create_connection((HOST, PORT), timeout=30) as connection:
        stream = connection.makefile("rb")

        def send(command, body=b"", headers=""):
            head = f"POST {BASE}{command} HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: {AUTH}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            connection.sendall(head.encode() + body)
            status = stream.readline().decode().split(" ")
            expect_equal("status line", status[:2], ["HTTP/1.1", "200"])
            fields = {}
            while (line := stream.readline().decode().strip()) != "":
                name, value = line.split(": ", 1)
                fields[name.lower()] = value
            expect_equal("keep-alive", fields.get("connection"), "keep-alive")
            return stream.read(int(fields["content-length"]))

        session = send("get_current_session_id").decode()
        body = b'--b\r\nContent-Disposition: form-data; name="PAPI_0:uri"\r\n\r\nold/client\r\n--b--\r\n'
        send("add_documents?PAPI_session=" + session, body, "Content-Type: multipart/form-data; boundary=b\r\n")
        send("sync?PAPI_session=" + session)
        entries = parse_entries(send("enumerate_synced_entries?PAPI_rootPath=old&PAPI_enumerationMode=RECURSIVE_DOCUMENTS"))
        expect_equal("entries over HTTP/1.0", entries, [("D", "old/client", "")])


for dialect in (False, True):
    scenario(legacy=dialect)
first_generation()
print("ok")
