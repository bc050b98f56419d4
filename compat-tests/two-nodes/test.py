"""What two nodes of one private network read of each other: pinmesh and pinmesh, pinmesh and Kubo each way."""
import asyncio, os, pathlib, shutil, sys, tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "py"))
from checks import run_all
from network import READS, TALKS, Failed, Node, connect, swarm_key

ours, kubo = os.environ["IPFS_BIN"], os.environ.get("KUBO_BIN")
seeds = iter(range(1, 1_000_000))


def named(name, check):
    check.__name__ = name
    return check


def checks_of(reader, holder):
    """Both directions of the content, and of the talk."""
    yield named(f"{reader.name} connects to {holder.name}", lambda: connect(reader, holder))
    for a, b in (reader, holder), (holder, reader):
        for talk in TALKS:
            yield named(f"{a.name} {talk.__name__} {b.name}", lambda talk=talk, a=a, b=b: talk(a, b))
        for read in READS:
            yield named(f"{a.name} reads {read.__name__} from {b.name}", lambda read=read, a=a, b=b: read(a, b, next(seeds)))


def a_node_with_another_key_is_kept_out(member, stranger):
    try:
        connect(stranger, member)
    except Failed:
        assert stranger.id not in member.peers()
    else:
        raise AssertionError("it was let in")


def main():
    where = pathlib.Path(tempfile.mkdtemp(prefix="two-nodes-"))
    key, nodes = swarm_key(where), []
    (where / "other").mkdir()
    start = lambda name, binary, key: nodes.append(Node(name, binary, where / name.replace(" ", "-"), key)) or nodes[-1]
    try:
        one, two = start("pinmesh", ours, key), start("pinmesh two", ours, key)
        stranger = start("stranger", ours, swarm_key(where / "other"))
        checks = [*checks_of(one, two), named("pinmesh keeps a stranger out", lambda: a_node_with_another_key_is_kept_out(one, stranger))]
        if kubo:
            three, four = start("kubo", kubo, key), start("pinmesh three", ours, key)
            checks += [*checks_of(four, three), named("kubo keeps a stranger out", lambda: a_node_with_another_key_is_kept_out(three, stranger))]
        else:
            print("Kubo's part is skipped: KUBO_BIN names no ipfs binary")
        asyncio.run(run_all(checks))
    finally:
        for node in nodes:
            node.stop()
        shutil.rmtree(where, ignore_errors=True)


main()
