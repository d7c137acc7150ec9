"""A connector that shares no code with the server: standard library only.

usage: client.py HOST PORT SOURCE (KEY PASSWORD | TOKEN)

It does one full import, one run in which nothing has changed, and one
incremental import, in the way of the original framework, and prints "ok".
"""

import base64
import http.client
import json
import sys
import time
import urllib.parse

HOST, PORT, SOURCE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if len(sys.argv) > 5:
    AUTH = "Basic " + base64.b64encode((sys.argv[4] + ":" + sys.argv[5]).encode()).decode()
else:
    AUTH = "car-token " + sys.argv[4]
UUID = "8a7f3d36-4e2e-4c0a-9d47-bc0d5d1f0a51"
REPORT = repr(time.time() * 1000)
connection = http.client.HTTPConnection(HOST, PORT)


def call(method, path, document=None):
    body = None if document is None else json.dumps(document)
    headers = {
        "Authorization": AUTH,
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "User-Agent": "python-requests/2.31",
    }
    if body is None and method in ("POST", "DELETE"):
        headers["Content-Length"] = "0"
    connection.request(method, "/api/car" + path, body, headers)
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text)


def must(method, path, document=None, status=200):
    got, reply = call(method, path, document)
    if got != status:
        sys.exit("%s %s: %d %s" % (method, path, got, reply))
    return reply


def job(method, path):
    identifier = must(method, path)["job_id"]
    while True:
        reply = must("GET", "/v2/jobstatus/" + identifier)
        if reply["status"] in ("COMPLETE", "ERROR"):
            return reply["status"]


def post(**collections):
    envelope = {
        "source": {"_key": SOURCE, "name": "test", "description": "a test"},
        "report": {"_key": REPORT, "timestamp": float(REPORT), "type": "test"},
    }
    envelope.update(collections)
    return must("POST", "/v2/imports", envelope)["id"]


def wait(identifiers):
    left = set(identifiers)
    while left:
        reply = must("GET", "/v2/importstatus?ids=" + urllib.parse.quote(",".join(left), safe=""))
        for entry in reply["error_imports"]:
            assert isinstance(entry["statusCode"], int), entry
            sys.exit("import failed: %s" % entry)
        left = {entry["id"] for entry in reply["incomplete_imports"] or []}


def edge(source, target):
    return dict(_from_external_id=source, report=REPORT, source=SOURCE, active=True, timestamp=float(REPORT), **target)


def state():
    status, reply = call("GET", "/v2/source/" + urllib.parse.quote_plus(SOURCE))
    return reply.get("model_state_id") if status == 200 else None


def save(value):
    must("PATCH", "/v2/source?" + urllib.parse.urlencode({"key": SOURCE}), {"model_state_id": value})


def query(text):
    reply = must("POST", "/v3/query", {"query": text})
    assert "errors" not in reply, reply
    return reply["data"]


def extend():
    status, _ = call("GET", "/v3/carSchema/" + UUID)
    if status == 404:
        schema = {"vertices": [{"name": "site", "properties": {}}], "edges": [{"end1": "site", "end2": "asset"}]}
        must("POST", "/v3/carSchema", {"key": UUID, "owner": "test", "version": "1", "schema": schema}, 201)
    assert must("GET", "/v3/carSchema/" + UUID)["version"] == "1"


def full():
    assert must("GET", "/v2/databases")["databases"][0]["is_ready"] is True
    path = "/v2/source/%s/full-import-in-progress" % SOURCE
    assert job("POST", path) == "COMPLETE"
    wait([post()])
    assert must("GET", "/v3/importSchema?version=v2")["schema"]
    pages = [[{"external_id": str(i), "name": "Z\u00fcrich %d" % i, "risk": 1.5} for i in range(n, n + 2000)] for n in range(0, 6000, 2000)]
    wait([post(asset=page) for page in pages] + [post(ipaddress=[{"_key": "10.0.0.1"}]), post(site=[{"external_id": "s"}])])
    wait([
        post(asset_ipaddress=[edge("1", {"_to": "ipaddress/10.0.0.1"}), edge("2", {"_to_external_id": "10.0.0.1"})]),
        post(site_asset=[edge("s", {"_to_external_id": str(i)}) for i in range(3)]),
    ])
    assert job("DELETE", path) == "COMPLETE"
    save("1")


def incremental():
    wait([post(asset=[{"external_id": "7", "name": "renamed"}])])
    wait([post(site_asset=[edge("s", {"_to_external_id": "7"})])])
    must("DELETE", "/v2/source/%s/asset?external_ids=%s" % (SOURCE, ",".join(str(i) for i in range(1, 3))))
    must("PATCH", "/v2/site_asset?" + urllib.parse.urlencode({"source": SOURCE, "from": "s", "to": "0"}), {"active": False})
    save("2")


extend()
assert state() is None
full()
assert state() == "1"
save("1")
found = query('{ asset_ipaddress(where: {source: {_eq: "%s"}}) { asset_id, ipaddress_id } }' % SOURCE)["asset_ipaddress"]
assert sorted(e["asset_id"] for e in found) == [SOURCE + "/1", SOURCE + "/2"], found
assert {e["ipaddress_id"] for e in found} == {SOURCE + "/0/10.0.0.1"}, found
incremental()
assert state() == "2"
assets = query('query { asset(where: {source: {_eq: "%s"}}) { external_id,name } }' % SOURCE)["asset"]
assert len(assets) == 5998, len(assets)
assert [a["name"] for a in assets if a["external_id"] == "7"] == ["renamed"]
assert query('{ asset_ipaddress(where: {source: {_eq: "%s"}}) { asset_id } }' % SOURCE) == {"asset_ipaddress": []}
sites = query('{ site_asset(where: {source: {_eq: "%s"}}) { asset_id } }' % SOURCE)["site_asset"]
assert [s["asset_id"] for s in sites] == [SOURCE + "/7"], sites
print("ok")
