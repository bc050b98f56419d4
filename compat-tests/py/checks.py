"""A list of named checks for the Python clients, and the CIDs that Kubo gives to what they add.

Prints `ok NAME` or `FAIL NAME: why` for each check, then a sum.  No test framework: a check is a function.
"""
import asyncio, hashlib, inspect, sys, traceback

HELLO = b"hello pinmesh"
HELLO_V0 = "Qmb5XteLBb5srRAeQtSStF4Zik5KGoeuNkJCqfbAuVDyKw"
HELLO_RAW = "bafkreifosoqcivegq64r3wpwjw4pc7h4afwklhglvychblqwuaf3kxhx2e"
MEGABYTE_V0 = "QmNrbRPZ2Fqgp6kT2rhfq4iBuN5bGx3mTKHybrMCbvgVww"
DIR = "QmUZNv8wCy675yChrrqpUsJPDJ4BS4FHXptVfEHZG9b6fF"
SUB = "Qmc7pm973cvSoDmMyT6dU6YvdfvKse7HAdY8P3djCTrNWS"
EMPTY = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
A_TXT = "QmfDmsHTywy6L9Ne5RXsj5YumDedfBLMvCvmaxjBoe6w4d"
B_TXT = "QmZyUAuPMneEWTdKbkRUuo8JuVW5qiCzUHLKqptzgqkVCq"
CBOR = "bafyreiaah35mwsxiu4sflymkipv5ccvlxwoprdubyw4tnmxpryd2rnz5qy"
CBOR_JSON = '{"a":1,"b":[true,null,"x"],"bytes":{"/":{"bytes":"AQID"}},"link":{"/":"%s"}}' % HELLO_V0
ABSENT = "QmNLei78zWmzUdbeRB3CiUfAizWUrbeeZh5K1rhAQKCh51"
CHECK_LIMIT_S = 20


def counted(size):
    """SHA-256(be64(0)) || SHA-256(be64(1)) || …, cut at `size`."""
    return b"".join(hashlib.sha256(i.to_bytes(8, "big")).digest() for i in range(size // 32 + 1))[:size]


def same(got, want, what=""):
    assert got == want, f"{what} expected {want!r}, got {got!r}"


def write_tree(root):
    """The directory `d` whose CID is DIR."""
    (root / "d/sub").mkdir(parents=True)
    for name, content in {"a.txt": "a", "sub/b.txt": "bb", "sub/empty": ""}.items():
        (root / "d" / name).write_text(content)
    return root / "d"


async def run_all(checks):
    failed = 0
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            if inspect.iscoroutinefunction(check):
                await asyncio.wait_for(check(), CHECK_LIMIT_S)
            else:
                check()
            print("ok", name, flush=True)
        except Exception as e:
            failed += 1
            traceback.print_exc()
            why = " ".join(f"{type(e).__name__} {e}".split())[:400]
            print(f"FAIL {name}: {why}", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
