"""Daemons in one private network, driven over their RPC, and what one of them reads of another.

`READS` are the checks of content: each makes something on the holder and reads it on the reader.
"""
import base64, hashlib, io, json, os, pathlib, random, signal, subprocess, tarfile, threading, time, urllib.error, urllib.parse, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
CALL_LIMIT_S = 180


class Failed(Exception):
    """An error answer of the RPC."""


def swarm_key(where):
    """A new `swarm.key` in the directory `where`."""
    path = pathlib.Path(where) / "swarm.key"
    path.write_text(f"/key/swarm/psk/1.0.0/\n/base16/\n{os.urandom(32).hex()}\n")
    return path


class Node:
    """A daemon of `binary`, in a fresh repository in `where`, with the swarm key in the file `key`."""
    def __init__(self, name, binary, where, key):
        self.name, self.where = name, pathlib.Path(where)
        self.where.mkdir()
        env = dict(os.environ, IPFS_BIN=str(binary), SWARM_KEY_FILE=str(key), SPAWN_OPTS='{"pubsub":true}')
        self.process = subprocess.Popen([HERE.parent / "daemon.sh", self.where], env=env, stdout=subprocess.PIPE, text=True,
                                        stderr=open(self.where / "stderr.txt", "w"))
        line = next((l for l in self.process.stdout if l.startswith("API ")), None)
        assert line, f"{name} did not start: " + (self.where / "stderr.txt").read_text()[-500:]
        self.api = line.split()[1]
        own = self.json("id")
        self.id, self.address = own["ID"], own["Addresses"][0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def open(self, command, files=None, timeout=CALL_LIMIT_S, **options):
        """Calls a command; `files` are pairs of a name and bytes, None for a directory."""
        query = urllib.parse.urlencode([(k.replace("_", "-"), v) for k, v in options.items()], doseq=True)
        body, headers = b"", {}
        if files is not None:
            headers = {"Content-Type": "multipart/form-data; boundary=network-5b1d7c"}
            parts = []
            for name, content in files:
                kind = "application/x-directory" if content is None else "application/octet-stream"
                parts.append(f'--network-5b1d7c\r\nContent-Disposition: form-data; name="file"; filename="{urllib.parse.quote(name, safe="")}"\r\n'
                             f"Content-Type: {kind}\r\n\r\n".encode() + (content or b"") + b"\r\n")
            body = b"".join(parts) + b"--network-5b1d7c--\r\n"
        request = urllib.request.Request(f"{self.api}/api/v0/{command}?{query}", data=body, headers=headers, method="POST")
        try:
            return urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            raise Failed(f"{self.name} {command}: {error.read().decode(errors='replace').strip()}") from None

    def bytes(self, command, files=None, **options):
        with self.open(command, files, **options) as answer:
            return answer.read()

    def lines(self, command, files=None, **options):
        return [json.loads(line) for line in self.bytes(command, files, **options).splitlines()]

    def json(self, command, files=None, **options):
        return self.lines(command, files, **options)[-1]

    def add(self, files, **options):
        """Adds files; gives the CID of the last."""
        return self.json("add", files, pin="true", **options)["Hash"]

    def tree(self, cid):
        """The files below a directory, by name."""
        with tarfile.open(fileobj=io.BytesIO(self.bytes("get", arg=cid))) as tar:
            return {m.name.partition("/")[2]: tar.extractfile(m).read() for m in tar if m.isfile()}

    def peers(self):
        return {p["Peer"]: p for p in self.json("swarm/peers")["Peers"] or []}


def connect(reader, holder):
    said = reader.json("swarm/connect", arg=holder.address)["Strings"]
    assert said == [f"connect {holder.id} success"], said


def until(what, limit_s=60):
    """Waits until `what()` is true."""
    end = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.05)


def content(seed, size):
    return random.Random(seed).randbytes(size)


# ---------------------------------------------------------------- what is read, each with something of its own
def a_small_file(reader, holder, seed):
    data = content(seed, 1000)
    assert reader.bytes("cat", arg=holder.add([("f", data)])) == data


def a_file_of_100_MiB(reader, holder, seed):
    data = content(seed, 100 << 20)
    cid = holder.add([("f", data)])
    digest = hashlib.sha256()
    with reader.open("cat", arg=cid) as answer:
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(data).digest(), "other bytes"


def a_range_of_a_file(reader, holder, seed):
    data = content(seed, 5 << 20)
    got = reader.bytes("cat", arg=holder.add([("f", data)]), offset=3_000_001, length=400_000)
    assert got == data[3_000_001:3_400_001]


def directory(seed, count, size, name):
    files = {name % i: content(seed * 10_000 + i, size) for i in range(count)}
    return files, [("d", None)] + [(f"d/{name}", data) for name, data in files.items()]


def a_directory_of_500_files(reader, holder, seed):
    files, parts = directory(seed, 500, 4096, "%04d")
    assert reader.tree(holder.add(parts)) == files


def a_sharded_directory(reader, holder, seed):
    files, parts = directory(seed, 1500, 10, "n" * 200 + "%04d")
    root = holder.add(parts)
    assert b"\x08\x05" in holder.bytes("block/get", arg=root)[-60:], "it is not sharded"
    assert reader.tree(root) == files


def a_trickle_DAG_with_blake3(reader, holder, seed):
    data = content(seed, 3 << 20)
    cid = holder.add([("f", data)], trickle="true", hash="blake3", cid_version=1, chunker="size-65536")
    assert reader.bytes("cat", arg=cid) == data


def a_dag_cbor_node(reader, holder, seed):
    node = {"seed": seed, "list": [True, None, "x"], "link": {"/": holder.add([("f", content(seed, 100))])}}
    cid = holder.json("dag/put", [("n", json.dumps(node).encode())], store_codec="dag-cbor", input_codec="dag-json")["Cid"]["/"]
    assert reader.json("dag/get", arg=cid) == node


def a_block(reader, holder, seed):
    data = content(seed, 2000)
    cid = holder.json("block/put", [("b", data)], cid_codec="raw")["Key"]
    assert reader.bytes("block/get", arg=cid) == data


def what_it_pins(reader, holder, seed):
    root = holder.add(directory(seed, 20, 300_000, "%02d")[1])
    reader.json("pin/add", arg=root)
    assert reader.json("pin/ls", arg=root, type="recursive")["Keys"][root]["Type"] == "recursive"
    assert len(reader.lines("refs", arg=root, recursive="true", offline="true")) == 60


READS = [a_small_file, a_block, a_range_of_a_file, a_file_of_100_MiB, a_directory_of_500_files, a_sharded_directory,
         a_trickle_DAG_with_blake3, a_dag_cbor_node, what_it_pins]


# ---------------------------------------------------------------- the network itself
def pings(reader, holder):
    said = reader.lines("ping", arg=holder.id, count=2)
    assert said[-1]["Success"] and said[-1]["Text"].startswith("Average latency: "), said


def knows(reader, holder):
    def is_known():
        said = reader.json("id", arg=holder.id)
        return said["ID"] == holder.id and said["AgentVersion"] == holder.json("id")["AgentVersion"] and \
            "/ipfs/ping/1.0.0" in said["Protocols"]
    until(is_known)
    assert holder.id in reader.peers()


def finds(reader, holder):
    found = [r for e in reader.lines("routing/findpeer", arg=holder.id) for r in e["Responses"] or [] if r["ID"] == holder.id]
    assert found and any("/ip4/127.0.0.1/" in a for r in found for a in r["Addrs"]), found


def finds_what_is_provided_by(reader, holder):
    # Not pinned: what is pinned comes to the reader too, which then provides it itself.
    cid = holder.json("add", [("f", content(id(reader), 500))], pin="false")["Hash"]
    holder.bytes("routing/provide", arg=cid)
    def is_found():
        events = reader.lines("routing/findprovs", arg=cid, num_providers=1)
        return any(r["ID"] == holder.id for e in events for r in e["Responses"] or [])
    until(is_found)


def hears(reader, holder):
    heard, topic = [], "u" + base64.urlsafe_b64encode(reader.id.encode()).decode().rstrip("=")
    stream = reader.open("pubsub/sub", arg=topic)

    def listen():
        for line in stream:
            heard.append(json.loads(line))
    threading.Thread(target=listen, daemon=True).start()
    until(lambda: reader.id in holder.json("pubsub/peers", arg=topic)["Strings"])
    holder.bytes("pubsub/pub", [("data", b"said")], arg=topic)
    until(lambda: heard)
    assert heard[0]["from"] == holder.id and heard[0]["data"] == "uc2FpZA", heard


def lets_go_of_and_comes_back_to(reader, holder):
    said = reader.json("swarm/disconnect", arg=f"/p2p/{holder.id}")["Strings"]
    assert said == [f"disconnect {holder.id} success"], said
    connect(reader, holder)
    until(lambda: reader.id in holder.peers())
    a_small_file(reader, holder, 99)


TALKS = [pings, knows, finds, finds_what_is_provided_by, hears, lets_go_of_and_comes_back_to]
