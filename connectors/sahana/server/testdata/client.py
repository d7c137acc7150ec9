"""The active side of a synchronisation, with the standard library alone: it
registers, pushes, pulls with the cursor of an Eden, and prints ok."""
import base64
import datetime
import json
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET

BASE, USER, PASSWORD = sys.argv[1:4]
UUID = "urn:uuid:0f5e0000-0000-4000-8000-000000000001"
TABLE = "org_organisation"


def call(path, body=None):
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": "Basic " + token}
    request = urllib.request.Request(BASE + path, data=body, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def push(records):
    root = ET.Element("s3xml", success="true", results=str(len(records)))
    for uuid, (name, modified) in records.items():
        element = ET.SubElement(root, "resource", name=TABLE, uuid=uuid, modified_on=modified, mci="1")
        ET.SubElement(element, "data", field="name").text = name
    query = f"?resource={TABLE}&repository={UUID}&strategy=create,update,delete,merge&update_policy=NEWER&conflict_policy=NEWER"
    answer = json.loads(call("sync/sync.xml" + query, ET.tostring(root, encoding="utf-8", xml_declaration=True)))
    assert answer["status"] == "success" and answer["statuscode"] == "200", answer
    return answer


def pull(last):
    query = f"?resource={TABLE}&repository={UUID}" + (f"&msince={last}" if last else "") + "&include_deleted=True"
    root = ET.fromstring(call("sync/sync.xml" + query))
    elements = [e for e in root.findall("resource") if e.get("name") == TABLE]
    assert int(root.get("results")) == len(elements) and root.get("success") == str(bool(elements)).lower()
    if elements:
        latest = max(datetime.datetime.fromisoformat(e.get("modified_on")) for e in elements)
        last = (latest + datetime.timedelta(seconds=1)).isoformat()
    return {e.get("uuid"): e.findtext("data[@field='name']") for e in elements}, last


answer = json.loads(call("sync/repository/register.json", json.dumps({"uuid": UUID, "name": "127.0.0.1", "apitype": "eden"}).encode()))
assert answer["message"] == "Registration successful" and answer["sender"].startswith("urn:uuid:"), answer
got, last = pull(None)
assert got == {} and last is None
mine = {"urn:x:1": ("Größe & <Mühe>", "2026-10-01T00:00:00"), "urn:x:2": ("Two", "2026-10-02T00:00:00")}
assert push(mine)["records"] == 2
got, last = pull(last)
assert got == {uuid: name for uuid, (name, _) in mine.items()}, got
assert pull(last) == ({}, last)
# What comes late with an old time still comes.
document = json.dumps({"$_" + TABLE: [{"@uuid": "urn:x:3", "@modified_on": "2001-01-01T00:00:00", "name": "Late"}]})
assert json.loads(call("org/organisation.s3json", document.encode()))["created"]
got, last = pull(last)
assert got == {"urn:x:3": "Late"} and last == "2001-01-01T00:00:01", (got, last)
assert pull(last) == ({}, last)
assert not push(mine).get("created")
try:
    call("sync/sync.xml?resource=" + TABLE + "&repository=unknown", b"<s3xml/>")
    raise AssertionError("an unknown repository may push")
except urllib.error.HTTPError as error:
    assert error.code == 403 and json.loads(error.read())["message"] == "Registration required"
print("ok")
