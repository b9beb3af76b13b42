"""Everyday calls of docker-py, with what they must return. Prints "ok" at the end."""

import io
import tarfile

import docker

client = docker.from_env()
assert client.ping()
assert client.version()["Platform"]["Name"] == "Tare"
assert client.info()["Containers"] == 0

# containers
out = client.containers.run("busybox:1", ["echo", "hello"], remove=True)
assert out == b"hello\n", out
try:
    client.containers.run("busybox:1", ["sh", "-c", "echo broken >&2; exit 3"], remove=True)
    raise AssertionError("a failure was not told")
except docker.errors.ContainerError as e:
    assert e.exit_status == 3 and b"broken" in e.stderr, e
try:
    client.containers.run("nobody:1")
    raise AssertionError("an image that is not there was run")
except (docker.errors.ImageNotFound, docker.errors.APIError):
    pass

box = client.containers.run(
    "busybox:1", ["sh", "-c", "echo up; while true; do sleep 1; done"], detach=True, name="box",
    labels={"app": "shop"}, environment={"COLOUR": "blue"}, mem_limit="32m", ports={"80/tcp": 18070},
    restart_policy={"Name": "on-failure", "MaximumRetryCount": 3}, volumes={"data": {"bind": "/data", "mode": "rw"}},
)
box.reload()
assert box.status == "running", box.status
assert box.labels["app"] == "shop"
assert box.ports["80/tcp"][0]["HostPort"] == "18070", box.ports
assert [c.name for c in client.containers.list(filters={"label": "app=shop"})] == ["box"]
code, out = box.exec_run(["sh", "-c", "echo $COLOUR; exit 5"])
assert (code, out) == (5, b"blue\n"), (code, out)
code, (out, err) = box.exec_run(["sh", "-c", "echo a; echo b >&2"], demux=True)
assert (out, err) == (b"a\n", b"b\n"), (out, err)
assert b"up" in box.logs()
assert box.attrs["HostConfig"]["Memory"] == 32 << 20
stats = box.stats(stream=False)
assert stats["memory_stats"]["usage"] > 0 and "cpu_stats" in stats, stats
assert any("sleep" in " ".join(p) for p in box.top()["Processes"])

b = io.BytesIO()
with tarfile.open(fileobj=b, mode="w") as t:
    info = tarfile.TarInfo("file")
    info.size = 4
    t.addfile(info, io.BytesIO(b"text"))
assert box.put_archive("/tmp", b.getvalue())
bits, stat = box.get_archive("/tmp/file")
assert stat["name"] == "file" and stat["size"] == 4, stat
with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as t:
    assert t.extractfile("file").read() == b"text"
assert any(c["Path"] == "/tmp/file" for c in box.diff())

box.pause()
box.reload()
assert box.status == "paused"
box.unpause()
box.rename("crate")
box.restart(timeout=1)
box.update(mem_limit="64m", memswap_limit=-1)
box.kill(signal="SIGTERM")
box.stop(timeout=1)
assert "StatusCode" in box.wait()
box.start()
box.remove(force=True, v=True)
try:
    client.containers.get("crate")
    raise AssertionError("a removed container is there")
except docker.errors.NotFound:
    pass
assert client.containers.prune()["ContainersDeleted"] is not None

# attach
made = client.containers.create("busybox:1", ["sh", "-c", "echo one; echo two"])
made.start()
assert made.wait()["StatusCode"] == 0
assert made.logs(tail=1) == b"two\n"
assert list(made.logs(stream=True)) and made.attach(logs=True, stream=False) is not None
made.remove()

# images
image = client.images.get("busybox:1")
assert image.id.startswith("sha256:") and "busybox:1" in image.tags
assert image.tag("other", tag="2")
assert {t for i in client.images.list() for t in i.tags} == {"busybox:1", "other:2"}
assert client.images.list(name="other")[0].tags
image.reload()
saved = b"".join(image.save(named="other:2"))
client.images.remove("other:2")
assert "other:2" in client.images.load(saved)[0].tags
client.images.remove("other:2", force=True)
assert image.history()
try:
    client.images.get("nobody")
    raise AssertionError("an image that is not there was found")
except docker.errors.ImageNotFound:
    pass

# volumes and networks
volume = client.volumes.get("data")
assert volume.attrs["Driver"] == "local"
volume.remove()
client.volumes.create("more", labels={"a": "b"})
assert [v.name for v in client.volumes.list(filters={"label": "a=b"})] == ["more"]
client.volumes.get("more").remove()
pool = docker.types.IPAMPool(subnet="10.66.0.0/24", gateway="10.66.0.1")
net = client.networks.create("net", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"a": "b"})
one = client.containers.run("busybox:1", ["sleep", "1000"], detach=True, network="net", name="one")
two = client.containers.run("busybox:1", ["sleep", "1000"], detach=True, name="two")
net.connect(two, aliases=["second"], ipv4_address="10.66.0.77")
code, out = one.exec_run(["nslookup", "second"])
assert b"10.66.0.77" in out, out
net.reload()
assert {c.name for c in net.containers} == {"one", "two"}, net.containers
net.disconnect(two)
for c in (one, two):
    c.remove(force=True)
net.remove()
assert [n.name for n in client.networks.list(names=["net"])] == []

# events
assert client.df()["LayersSize"] > 0
print("ok")
