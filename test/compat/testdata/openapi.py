"""Compares the engine's answers with the upstream description of the API: openapi.py SWAGGER SOCKET.

Prints each deviation, and "ok" when there is none.
"""

import http.client
import json
import socket
import sys
import urllib.parse

import jsonschema
import yaml


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


with open(sys.argv[1]) as f:
    api = yaml.safe_load(f)


def schema(node):
    """Swagger 2.0 to JSON schema: what may be null says so in its own way."""
    if isinstance(node, list):
        return [schema(n) for n in node]
    if not isinstance(node, dict):
        return node
    out = {k: schema(v) for k, v in node.items() if k not in ("example", "format", "x-nullable", "description")}
    # An enum of strings is not closed: the API adds values. Go writes null for what is empty.
    if node.get("x-nullable") or node.get("type") in ("array", "object"):
        return {"anyOf": [out, {"type": "null"}]}
    return out


# Pointers in the upstream types, so null where they are not set, though the description does not say so.
NULL = {"MemorySwappiness", "ExitCode"}

definitions = {name: schema(d) for name, d in api["definitions"].items()}


def check(method, path, template, body=None, status=200):
    c = Connection(sys.argv[2])
    c.request(method, path, json.dumps(body) if body is not None else None,
              {"Content-Type": "application/json"})
    r = c.getresponse()
    text = r.read()
    c.close()
    if r.status != status:
        print(f"{method} {path}: status {r.status}, want {status}: {text[:300]}")
        return None
    described = {str(k): v for k, v in api["paths"][template][method.lower()]["responses"].items()}
    if str(status) not in described:
        print(f"{method} {template}: status {status} is not described: {sorted(described)}")
        return None
    if "schema" not in described[str(status)] or not text:
        return None
    value = json.loads(text)
    wanted = {**schema(described[str(status)]["schema"]), "definitions": definitions}
    for e in jsonschema.Draft4Validator(wanted).iter_errors(value):
        while e.context:
            e = min(e.context, key=lambda x: -len(x.absolute_path))
        if e.instance is None and e.absolute_path and e.absolute_path[-1] in NULL:
            continue
        print(f"{method} {path}: {'/'.join(map(str, e.absolute_path))}: {e.message[:200]}")
        global failed
        failed = True
    return value


failed = False
q = urllib.parse.quote
net = check("POST", "/networks/create", "/networks/create", {"Name": "net", "Labels": {"a": "b"}}, 201)
check("POST", "/volumes/create", "/volumes/create", {"Name": "data"}, 201)
made = check("POST", "/containers/create?name=box", "/containers/create", {
    "Image": "busybox:1", "Cmd": ["sh", "-c", "echo up; while true; do sleep 1; done"], "Labels": {"a": "b"},
    "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
    "HostConfig": {"Binds": ["data:/data"], "PortBindings": {"80/tcp": [{"HostPort": "18050"}]}, "NetworkMode": "net"},
}, 201)
box = "/containers/" + made["Id"]
check("GET", box + "/json", "/containers/{id}/json")
check("POST", box + "/start", "/containers/{id}/start", status=204)
check("POST", box + "/start", "/containers/{id}/start", status=304)
check("GET", "/containers/json?all=1&size=1", "/containers/json")
check("GET", box + "/json?size=1", "/containers/{id}/json")
check("GET", box + "/top", "/containers/{id}/top")
check("GET", box + "/stats?stream=0", "/containers/{id}/stats")
check("GET", box + "/changes", "/containers/{id}/changes")
check("POST", box + "/update", "/containers/{id}/update", {"Memory": 64 << 20, "MemorySwap": -1})
run = check("POST", box + "/exec", "/containers/{id}/exec", {"Cmd": ["true"], "AttachStdout": True}, 201)
check("GET", "/exec/" + run["Id"] + "/json", "/exec/{id}/json")
check("GET", "/images/json?digests=1", "/images/json")
check("GET", "/images/busybox:1/json", "/images/{name}/json")
check("GET", "/images/busybox:1/history", "/images/{name}/history")
check("POST", "/images/busybox:1/tag?repo=other&tag=1", "/images/{name}/tag", status=201)
check("DELETE", "/images/other:1", "/images/{name}")
check("GET", "/volumes", "/volumes")
check("GET", "/volumes/data", "/volumes/{name}")
check("GET", "/networks", "/networks")
check("GET", "/networks/net", "/networks/{id}")
check("GET", "/networks/none", "/networks/{id}")
check("GET", "/info", "/info")
check("GET", "/version", "/version")
check("GET", "/system/df?verbose=1", "/system/df")
check("GET", "/events?since=1&until=2", "/events")
for method, path, template in [
    ("GET", "/containers/nobody/json", "/containers/{id}/json"), ("GET", "/images/nobody/json", "/images/{name}/json"),
    ("GET", "/volumes/nobody", "/volumes/{name}"), ("GET", "/networks/nobody", "/networks/{id}"), ("GET", "/exec/nobody/json", "/exec/{id}/json"),
]:
    check(method, path, template, status=404)
check("DELETE", "/volumes/data", "/volumes/{name}", status=409)
check("DELETE", box, "/containers/{id}", status=409)
check("POST", box + "/stop?t=0", "/containers/{id}/stop", status=204)
check("POST", box + "/wait", "/containers/{id}/wait")
check("DELETE", box + "?v=1", "/containers/{id}", status=204)
check("POST", "/containers/prune", "/containers/prune")
check("POST", "/images/prune", "/images/prune")
check("POST", "/volumes/prune?filters=" + q('{"all":["1"]}'), "/volumes/prune")
check("POST", "/networks/prune", "/networks/prune")
if not failed:
    print("ok")
