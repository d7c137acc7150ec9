"""Downloads the files of an event in the way of the original client.

Reads one JSON object from the standard input: url, location, event, filename
and keywords, which are handed to every request as the original does. Prints
"ok", or what the original would have ended with.
"""

import json
import sys
import tarfile
import time
import uuid

import requests
from requests.adapters import HTTPAdapter


def wanted(event):
    """The files of an event as the original orders them."""
    return [
        {
            "id": part.get("_id", False),
            "path": "%s/%s" % (part.get("subdir", ""), part.get("name", False)),
            "hashsum": part.get("hashsum", False),
            "hashtype": part.get("hashtype", False),
        }
        for part in event["data"]
        if part.get("destinationTable") == "Files"
    ]


def run(job):
    keywords = job["keywords"]
    if "auth" in keywords:
        keywords["auth"] = tuple(keywords["auth"])
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=5))
    cart = "%s/%s" % (job["url"], uuid.uuid4())
    answer = session.post(
        cart,
        data=json.dumps({"fileids": wanted(job["event"])}),
        headers={"Content-Type": "application/json"},
        **keywords
    )
    answer.json()
    if answer.status_code != 201:
        raise AssertionError("POST %d %s" % (answer.status_code, answer.text))

    for _ in range(job.get("timeout", 120)):
        answer = session.head(cart, **keywords)
        status = answer.headers["X-Pacifica-Status"]
        message = answer.headers["X-Pacifica-Message"]
        if answer.status_code == 204 and status != "staging":
            break
        if answer.status_code == 500:
            break
        time.sleep(1)
    if status != "ready" or answer.status_code != 204:
        raise AssertionError("HEAD %d %s %s" % (answer.status_code, status, message))

    answer = requests.get("%s?filename=%s" % (cart, job["filename"]), stream=True, **keywords)
    archive = tarfile.open(name=None, mode="r|", fileobj=answer.raw)
    archive.extractall(job["location"])
    archive.close()


try:
    run(json.load(sys.stdin))
except Exception as err:  # whatever it is, the original ends with it
    print("%s: %s" % (type(err).__name__, err))
    sys.exit(1)
print("ok")
