"""Everyday work through ipfshttpclient 0.8.0a2, against the daemon at $API_ADDR (host:port)."""
import asyncio, io, os, pathlib, sys, tempfile, warnings

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "py"))
from checks import *

import ipfshttpclient
from ipfshttpclient.exceptions import ErrorResponse

warnings.simplefilter("ignore", ipfshttpclient.exceptions.VersionMismatch)   # it knows servers up to 0.8
host, port = os.environ["API_ADDR"].rsplit(":", 1)
ipfs = ipfshttpclient.connect(f"/ip4/{host}/tcp/{port}/http", session=True, timeout=20)
tmp = pathlib.Path(tempfile.mkdtemp(prefix="compat-py-"))
tree = write_tree(tmp)


def refused(message, call, *args, **options):
    try:
        got = call(*args, **options)
    except ErrorResponse as e:
        return same(e.args[0], message)
    raise AssertionError(f"expected the error {message!r}, got {got!r}")


def add_bytes_strings_and_json():
    same(ipfs.add_bytes(HELLO), HELLO_V0)
    same(ipfs.add_str(HELLO.decode()), HELLO_V0)
    same(ipfs.get_json(ipfs.add_json({"b": 1, "a": [1, 2]})), {"b": 1, "a": [1, 2]})


def add_a_file_from_disk():
    (tmp / "m").write_bytes(counted(1000000))
    got = ipfs.add(str(tmp / "m"))
    same((got["Name"], got["Hash"], got["Size"]), ("m", MEGABYTE_V0, "1000256"))


def add_a_stream_with_options():
    got = ipfs.add(io.BytesIO(counted(1000000)), trickle=True, chunker="size-262144")
    same(got["Hash"], "QmRZgNcUVr7K57qQaEx5f2T3KX4NcmiC8Z7vBgtGZgZw6a")
    same(ipfs.add(io.BytesIO(HELLO), cid_version=1, raw_leaves=True)["Hash"], HELLO_RAW)
    same(ipfs.add(io.BytesIO(b"only the hash"), only_hash=True)["Hash"][:2], "Qm")


def add_a_directory():
    got = ipfs.add(str(tree), recursive=True)
    same([(e["Name"], e["Hash"]) for e in got],
         [("d/a.txt", A_TXT), ("d/sub/b.txt", B_TXT), ("d/sub/empty", EMPTY), ("d/sub", SUB), ("d", DIR)])


def add_a_directory_by_pattern():
    got = ipfs.add(str(tree), recursive=True, pattern="**/*.txt")
    same([e["Name"] for e in got], ["d/a.txt", "d/sub/b.txt", "d/sub", "d"])


def cat_and_ranges():
    same(ipfs.cat(HELLO_V0), HELLO)
    same(ipfs.cat("/ipfs/" + DIR + "/sub/b.txt"), b"bb")
    same(ipfs.cat(MEGABYTE_V0, offset=262143, length=2), counted(1000000)[262143:262145])
    same(ipfs.cat(MEGABYTE_V0) == counted(1000000), True)


def cat_as_a_stream():
    with ipfs.cat(MEGABYTE_V0, stream=True) as chunks:
        same(b"".join(chunks) == counted(1000000), True)


def get_a_directory():
    ipfs.get(DIR, target=str(tmp))
    same({str(p.relative_to(tmp / DIR)): p.read_text() for p in (tmp / DIR).rglob("*") if p.is_file()},
         {"a.txt": "a", "sub/b.txt": "bb", "sub/empty": ""})


def ls_a_directory():
    [listing] = ipfs.ls(DIR)["Objects"]
    same([(l["Name"], l["Hash"], l["Size"], l["Type"]) for l in listing["Links"]], [("a.txt", A_TXT, 1, 2), ("sub", SUB, 0, 1)])


def pin_add_ls_update_rm():
    same(ipfs.pin.ls(type="recursive")["Keys"][DIR]["Type"], "recursive")
    same(ipfs.pin.ls(DIR)["Keys"], {DIR: {"Type": "recursive", "Name": ""}})
    same(ipfs.pin.add(SUB)["Pins"], [SUB])
    loose = ipfs.add(io.BytesIO(b"pinned later"), pin=False)["Hash"]
    same(ipfs.pin.update(SUB, loose)["Pins"], [SUB, loose])
    refused("not pinned or pinned indirectly", ipfs.pin.rm, SUB)
    same(ipfs.pin.rm(loose)["Pins"], [loose])
    same(ipfs.pin.add(loose, recursive=False)["Pins"], [loose])
    same(ipfs.pin.ls(loose, type="direct")["Keys"], {loose: {"Type": "direct", "Name": ""}})
    refused(f"path '{ABSENT}' is not pinned", ipfs.pin.ls, ABSENT)


def block_put_get_stat():
    got = ipfs.block.put(io.BytesIO(HELLO))
    same((got["Key"], got["Size"]), (HELLO_RAW, 13))
    same(ipfs.block.get(HELLO_RAW), HELLO)
    same(ipfs.block.stat(HELLO_RAW)["Size"], 13)


def dag_get_resolve_export_import():
    same(ipfs.dag.get(DIR)["Links"][1]["Hash"], {"/": SUB})
    same(ipfs.dag.resolve(DIR + "/sub/b.txt")["Cid"], {"/": B_TXT})
    car = ipfs.dag.export(DIR)
    same(car[:18].hex(), "38a265726f6f747381d82a58230012205c68")
    same(ipfs.dag.imprt(io.BytesIO(car))["Root"]["Cid"], {"/": DIR})


def config_get_and_set():
    ipfs.config.set("Datastore.StorageMax", "12GB")
    same(ipfs.config.get()["Datastore"]["StorageMax"], "12GB")


def bootstrap_list_add_rm():
    peer = "/ip4/127.0.0.1/tcp/4009/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
    same(ipfs.bootstrap.add(peer)["Peers"], [peer])
    same([str(p) for p in ipfs.bootstrap.list()["Peers"]], [peer])
    same(ipfs.bootstrap.rm(peer)["Peers"], [peer])


def id_version_and_repo():
    same(ipfs.id()["ID"][:8], "12D3KooW")
    same(ipfs.version()["Version"].split("-")[0], "0.44.0")
    stat = ipfs.repo.stat()
    same(stat["Version"], "fs-repo@18")
    assert stat["NumObjects"] > 5, stat


def repo_gc():
    loose = ipfs.add(io.BytesIO(b"loose, to be collected"), pin=False)["Hash"]
    assert loose in [x["Key"]["/"] for x in ipfs.repo.gc()] or loose.startswith("Qm")
    refused(f"block was not found locally (offline): ipld: could not find {loose}", ipfs.cat, loose, offline=True)
    same(ipfs.cat(DIR + "/a.txt"), b"a")


def swarm_without_peers():
    same(ipfs.swarm.peers()["Peers"], None)
    assert ipfs.id()["ID"] in ipfs.swarm.addrs()["Addrs"]    # beside a bootstrap peer that was named, and let go again


def stats_and_logs():
    same(ipfs.bitswap.wantlist()["Keys"], [])
    same(ipfs.bitswap.stat()["BlocksReceived"], 0)
    assert ipfs.unstable.log.ls()["Strings"]
    same(ipfs.unstable.log.level("all", "error")["Message"], "Changed log level of '*' to 'error'\n")
    assert {"Ref": HELLO_RAW, "Err": ""} in list(ipfs.unstable.refs.local())


def resolve_a_path():
    same(ipfs.resolve(f"/ipfs/{DIR}/sub/b.txt")["Path"], "/ipfs/" + B_TXT)


def errors_have_kubo_texts():
    refused('invalid path "nonsense": path does not have enough components', ipfs.cat, "nonsense")
    refused(f'no link named "nope" under {DIR}', ipfs.cat, DIR + "/nope")
    refused("this dag node is a directory", ipfs.cat, DIR)


asyncio.run(run_all([f for n, f in list(globals().items()) if callable(f) and getattr(f, "__module__", "") == "__main__" and n != "refused"]))
