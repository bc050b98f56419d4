"""Everyday work through aioipfs, against the daemon at $API_ADDR (host:port)."""
import asyncio, os, pathlib, sys, tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "py"))
from checks import *

import aioipfs

tmp = pathlib.Path(tempfile.mkdtemp(prefix="compat-py-"))
tree = write_tree(tmp)
ipfs = None


async def refused(message, awaitable, kind=aioipfs.APIError):
    try:
        got = await awaitable
    except kind as e:
        return same(e.message, message)
    raise AssertionError(f"expected the error {message!r}, got {got!r}")


async def every(generator):
    return [x async for x in generator]


async def add_bytes_strings_and_json():
    same((await ipfs.add_bytes(HELLO))["Hash"], HELLO_V0)
    same((await ipfs.add_str(HELLO.decode(), cid_version=1))["Hash"], HELLO_RAW)
    entry = await ipfs.add_json({"a": [1, 2]})
    same(await ipfs.cat(entry["Hash"]), b'{"a": [1, 2]}')


async def add_a_file_from_disk():
    (tmp / "m").write_bytes(counted(1000000))
    [entry] = await every(ipfs.add(str(tmp / "m")))
    same((entry["Name"], entry["Hash"], entry["Size"]), ("m", MEGABYTE_V0, "1000256"))
    [entry] = await every(ipfs.add(str(tmp / "m"), chunker="rabin"))
    same(entry["Hash"], "QmR6DioTBHH2cNBWQAeFy4YqxMZ7nwRswT2ZDSUp5JfwjZ")


async def add_a_directory():
    entries = await every(ipfs.add(str(tree), recursive=True))
    found = {e["Name"]: e["Hash"] for e in entries}
    same(found, {"d/a.txt": A_TXT, "d/sub/b.txt": B_TXT, "d/sub/empty": EMPTY, "d/sub": SUB, "d": DIR})


async def cat_and_ranges():
    same(await ipfs.cat(DIR + "/sub/b.txt"), b"bb")
    same(await ipfs.cat(MEGABYTE_V0, offset=262143, length=2), counted(1000000)[262143:262145])
    same(await ipfs.cat(MEGABYTE_V0) == counted(1000000), True)


async def get_a_directory():
    await ipfs.get(DIR, dstdir=str(tmp))
    same({str(p.relative_to(tmp / DIR)): p.read_text() for p in (tmp / DIR).rglob("*") if p.is_file()},
         {"a.txt": "a", "sub/b.txt": "bb", "sub/empty": ""})


async def ls_and_ls_streamed():
    [listing] = (await ipfs.ls(DIR))["Objects"]
    same([(l["Name"], l["Hash"], l["Size"], l["Type"]) for l in listing["Links"]], [("a.txt", A_TXT, 1, 2), ("sub", SUB, 0, 1)])
    same([o["Objects"][0]["Links"][0]["Name"] for o in await every(ipfs.core.ls_streamed(DIR))], ["a.txt", "sub"])


async def refs_local():
    assert {"Ref": HELLO_RAW, "Err": ""} in await every(ipfs.refs.local())


async def pin_add_ls_update_verify_rm():
    same((await ipfs.pin.ls(DIR))["Keys"], {DIR: {"Type": "recursive", "Name": ""}})
    events = await every(ipfs.pin.add(SUB))
    same(events[-1]["Pins"], [SUB])
    same((await ipfs.pin.update(SUB, A_TXT))["Pins"], [SUB, A_TXT])
    same((await ipfs.pin.rm(A_TXT))["Pins"], [A_TXT])
    await refused("not pinned or pinned indirectly", ipfs.pin.rm(A_TXT))


async def pin_names():
    await every(ipfs.pin.add(B_TXT, name="a name"))
    same((await ipfs.pin.ls(B_TXT, names=True))["Keys"][B_TXT]["Name"], "a name")
    await ipfs.pin.rm(B_TXT)


async def block_put_get_stat_rm():
    (tmp / "block").write_bytes(b"a block to remove")
    put = await ipfs.block.put(str(tmp / "block"))
    same(put["Size"], 17)
    same(await ipfs.block.get(put["Key"]), b"a block to remove")
    same((await ipfs.block.stat(put["Key"]))["Size"], 17)
    same((await ipfs.block.rm(put["Key"]))["Hash"], put["Key"])


async def dag_put_get_resolve_stat():
    (tmp / "node.json").write_text(CBOR_JSON)
    same((await ipfs.dag.put(str(tmp / "node.json")))["Cid"], {"/": CBOR})
    same(await ipfs.dag.get(CBOR + "/b/2"), '"x"')
    same(await ipfs.dag.resolve(CBOR + "/b/2"), {"Cid": {"/": CBOR}, "RemPath": "/b/2"})
    last = (await every(ipfs.dag.stat(DIR)))[-1] if hasattr(ipfs.dag.stat(DIR), "__aiter__") else await ipfs.dag.stat(DIR)
    same(last["DagStats"][0]["NumBlocks"], 5)


async def dag_export_and_import():
    car = await ipfs.dag.car_export(DIR)
    same(car[:18].hex(), "38a265726f6f747381d82a58230012205c68")
    (tmp / "d.car").write_bytes(car)
    same((await ipfs.dag.car_import(str(tmp / "d.car")))["Root"]["Cid"], {"/": DIR})


async def cid_format_base32_and_lists():
    same((await ipfs.cid.base32(HELLO_V0))["Formatted"], "bafybeif5jcbco5t4js67bx63l4m2xz2ridrt3okp6nwxzzfhkdn5qwrxri")
    same((await ipfs.cid.format(HELLO_V0, version=1, multibase="base58btc"))["Formatted"][:1], "z")
    assert {"Name": "base32", "Code": 98} in await ipfs.cid.bases()
    assert {"Name": "dag-cbor", "Code": 0x71} in await ipfs.cid.codecs()
    assert {"Name": "sha2-256", "Code": 0x12} in await ipfs.cid.hashes()


async def multibase_encode_and_decode():
    (tmp / "plain").write_bytes(HELLO)
    encoded = await ipfs.multibase.encode(str(tmp / "plain"))
    same(encoded, "uaGVsbG8gcGlubWVzaA")
    (tmp / "encoded").write_text(encoded)
    same(await ipfs.multibase.decode(str(tmp / "encoded")), HELLO.decode())


async def config_show_set_profile():
    same((await ipfs.config.config("Routing.Type"))["Value"], "dht")
    same((await ipfs.config.config("Datastore.StorageMax", "13GB"))["Value"], "13GB")
    same((await ipfs.config.show())["Datastore"]["StorageMax"], "13GB")
    got = await ipfs.config.profile_apply("lowpower", dry_run=True)
    same(got["NewCfg"]["Swarm"]["ConnMgr"]["LowWater"], 20)


async def bootstrap_list_add_rm():
    peer = "/ip4/127.0.0.1/tcp/4009/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
    same((await ipfs.bootstrap.add(peer))["Peers"], [peer])
    same((await ipfs.bootstrap.list())["Peers"], [peer])
    same((await ipfs.bootstrap.rm_all())["Peers"], [peer])


async def id_version_commands_and_resolve():
    same((await ipfs.id())["ID"][:8], "12D3KooW")
    same((await ipfs.version())["Version"].split("-")[0], "0.44.0")
    same((await ipfs.commands())["Name"], "ipfs")
    same((await ipfs.core.resolve("/ipfs/" + DIR + "/sub"))["Path"], "/ipfs/" + SUB)


async def repo_stat_gc_version():
    assert (await ipfs.repo.stat())["NumObjects"] > 5
    same((await ipfs.repo.version())["Version"], "18")
    loose = (await ipfs.add_bytes(b"loose, to be collected", pin=False, cid_version=1))["Hash"]
    gone = [x["Key"]["/"] for x in await every(ipfs.repo.gc())]
    assert loose in gone, gone
    same(await ipfs.cat(DIR + "/a.txt"), b"a")


async def stats_diag_log_swarm():
    assert "RateIn" in await ipfs.stats.bw()
    same((await ipfs.stats.bitswap())["Peers"], [])
    assert (await ipfs.stats.repo())["NumObjects"] > 5
    assert "ipfs_version" in await ipfs.diag.sys()
    assert (await ipfs.log.ls())["Strings"]
    same((await ipfs.swarm.peers())["Peers"], None)
    assert (await ipfs.swarm.addrs_listen())["Strings"]


async def errors_have_kubo_texts():
    await refused('invalid path "nonsense": path does not have enough components', ipfs.cat("nonsense"))
    await refused(f'no link named "nope" under {DIR}', ipfs.cat(DIR + "/nope"))
    await refused("this dag node is a directory", ipfs.cat(DIR))


async def main():
    global ipfs
    ipfs = aioipfs.AsyncIPFS(maddr="/ip4/{}/tcp/{}".format(*os.environ["API_ADDR"].rsplit(":", 1)))
    own = [f for n, f in list(globals().items()) if getattr(f, "__module__", "") == "__main__" and n not in ("refused", "every", "main")]
    await run_all([f for f in own if callable(f)])

asyncio.run(main())
