"""Daemons of one group: started, killed and started again in the same place, and compared with each other."""
import json, os, pathlib, signal, socket, subprocess, threading

from network import Node, until

START_LIMIT_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Member(Node):
    """A daemon on fixed ports of loopback, in a repository of its own in the directory `where`.

    `bootstrap` are addresses of other members; without any it waits for others to come."""
    def __init__(self, name, binary, where, key, bootstrap=(), env=()):
        self.name, self.binary, self.where, self.process = name, str(binary), pathlib.Path(where), None
        self.where.mkdir()
        self.repo = self.where / "repo"
        self.env = {**os.environ, "IPFS_PATH": str(self.repo), "GOLOG_LOG_LEVEL": "info", "PINMESH_HELLOINTERVAL": "2", **dict(env)}
        self.repo.mkdir()
        (self.repo / "swarm.key").write_bytes(pathlib.Path(key).read_bytes())
        self.command("init", "--profile=test")
        config = json.loads((self.repo / "config").read_text())
        self.port = free_port()
        config["Addresses"].update(API="/ip4/127.0.0.1/tcp/0", Gateway="/ip4/127.0.0.1/tcp/0", Swarm=[f"/ip4/127.0.0.1/tcp/{self.port}"])
        config["Bootstrap"] = list(bootstrap)
        (self.repo / "config").write_text(json.dumps(config))
        self.id = config["Identity"]["PeerID"]
        self.address = f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{self.id}"

    def command(self, *args):
        """Runs a command of the program; gives what it prints."""
        done = subprocess.run([self.binary, *args], env=self.env, capture_output=True, text=True, timeout=START_LIMIT_S)
        assert done.returncode == 0, f"{self.name} {args[0]}: {done.stderr}"
        return done.stdout

    def start(self):
        (self.repo / "api").unlink(missing_ok=True)
        self.log = open(self.where / "daemon.log", "a+")
        self.process = subprocess.Popen([self.binary, "daemon"], env=self.env, stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = threading.Timer(START_LIMIT_S, self.process.kill)
        ready.start()
        is_ready = any("Daemon is ready" in line for line in self.process.stdout)
        ready.cancel()
        assert is_ready, f"{self.name} did not start: " + (self.where / "daemon.log").read_text()[-1000:]
        # Nobody reads on: what comes is little, and goes into the pipe.
        _, _, host, _, port = (self.repo / "api").read_text().split("/")
        self.api = f"http://{host}:{port}"
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def kill(self):
        """As a pulled plug, as far as a process can tell."""
        self.process.kill()
        self.process.wait(60)

    def status(self):
        return self.json("sync/status")

    def pins(self):
        """The pins of the user on this node: text of the CID, type and name."""
        found = {cid: (pin["Type"], pin["Name"]) for kind in ("recursive", "direct")
                 for cid, pin in (self.json("pin/ls", type=kind, names="true").get("Keys") or {}).items()}
        found.pop("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", None)  # every node's own empty directory
        return found

    def block(self, data, **options):
        """Puts and pins a block; gives its CID."""
        return self.json("block/put", [("b", data)], pin="true", cid_codec="raw", **options)["Key"]


def are_equal(members):
    """Whether all have the same pins, content included, and the same root."""
    first, *others = [(m.pins(), m.status()) for m in members]
    return all(pins == first[0] and status["LiveRoot"] == first[1]["LiveRoot"] for pins, status in others) \
        and len(first[0]) == first[1]["Pins"]


def until_equal(members, limit_s=60):
    try:
        until(lambda: are_equal(members), limit_s)
    except AssertionError:
        said = [f"{m.name}: {len(m.pins())} pins here, {m.status()}" for m in members]
        raise AssertionError("pins or roots differ: " + "; ".join(said)) from None
