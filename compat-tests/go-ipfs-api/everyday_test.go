// Everyday work through github.com/ipfs/go-ipfs-api, against the daemon at $API_ADDR (host:port).
// Every CID here is the one that Kubo gives.
package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	shell "github.com/ipfs/go-ipfs-api"
	"github.com/ipfs/go-ipfs-api/options"
)

const (
	hello      = "hello pinmesh"
	helloV0    = "Qmb5XteLBb5srRAeQtSStF4Zik5KGoeuNkJCqfbAuVDyKw"
	helloRaw   = "bafkreifosoqcivegq64r3wpwjw4pc7h4afwklhglvychblqwuaf3kxhx2e"
	megabyteV0 = "QmNrbRPZ2Fqgp6kT2rhfq4iBuN5bGx3mTKHybrMCbvgVww"
	dir        = "QmUZNv8wCy675yChrrqpUsJPDJ4BS4FHXptVfEHZG9b6fF"
	sub        = "Qmc7pm973cvSoDmMyT6dU6YvdfvKse7HAdY8P3djCTrNWS"
	aTxt       = "QmfDmsHTywy6L9Ne5RXsj5YumDedfBLMvCvmaxjBoe6w4d"
	bTxt       = "QmZyUAuPMneEWTdKbkRUuo8JuVW5qiCzUHLKqptzgqkVCq"
	empty      = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
	cborNode   = "bafyreiaah35mwsxiu4sflymkipv5ccvlxwoprdubyw4tnmxpryd2rnz5qy"
	cborJSON   = `{"a":1,"b":[true,null,"x"],"bytes":{"/":{"bytes":"AQID"}},"link":{"/":"` + helloV0 + `"}}`
	absent     = "QmNLei78zWmzUdbeRB3CiUfAizWUrbeeZh5K1rhAQKCh51"
)

var sh = shell.NewShell(os.Getenv("API_ADDR"))

func TestMain(m *testing.M) {
	sh.SetTimeout(20 * time.Second)
	os.Exit(m.Run())
}

func counted(size int) []byte {
	var out []byte
	for i := uint64(0); len(out) < size; i++ {
		h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
		out = append(out, h[:]...)
	}
	return out[:size]
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("expected %v, got %v", want, got)
	}
}

func fine(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("expected the error %q, got %v", text, err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	r, err := sh.Cat(path)
	fine(t, err)
	defer r.Close()
	out, err := io.ReadAll(r)
	fine(t, err)
	return out
}

// Adds what the other tests read; they run after it, in the order of this file.
func TestAdd(t *testing.T) {
	cid, err := sh.Add(strings.NewReader(hello))
	fine(t, err)
	same(t, cid, helloV0)
	cid, err = sh.Add(strings.NewReader(hello), shell.CidVersion(1))
	fine(t, err)
	same(t, cid, helloRaw)
	cid, err = sh.Add(bytes.NewReader(counted(1000000)))
	fine(t, err)
	same(t, cid, megabyteV0)
	cid, err = sh.Add(strings.NewReader("only the hash"), shell.OnlyHash(true))
	fine(t, err)
	same(t, cid[:2], "Qm")
}

func TestAddDir(t *testing.T) {
	d := filepath.Join(t.TempDir(), "d")
	fine(t, os.MkdirAll(filepath.Join(d, "sub"), 0o755))
	for name, content := range map[string]string{"a.txt": "a", "sub/b.txt": "bb", "sub/empty": ""} {
		fine(t, os.WriteFile(filepath.Join(d, name), []byte(content), 0o644))
	}
	cid, err := sh.AddDir(d)
	fine(t, err)
	same(t, cid, dir)
}

func TestCat(t *testing.T) {
	same(t, string(read(t, helloV0)), hello)
	same(t, string(read(t, dir+"/sub/b.txt")), "bb")
	same(t, bytes.Equal(read(t, megabyteV0), counted(1000000)), true)
}

func TestGet(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	fine(t, sh.Get(dir, out))
	b, err := os.ReadFile(filepath.Join(out, "sub", "b.txt"))
	fine(t, err)
	same(t, string(b), "bb")
}

func TestList(t *testing.T) {
	links, err := sh.List(dir)
	fine(t, err)
	same(t, len(links), 2)
	same(t, *links[0], shell.LsLink{Hash: aTxt, Name: "a.txt", Size: 1, Type: shell.TFile})
	same(t, *links[1], shell.LsLink{Hash: sub, Name: "sub", Size: 0, Type: shell.TDirectory})
}

func TestRefs(t *testing.T) {
	refs, err := sh.Refs(dir, true)
	fine(t, err)
	var got []string
	for r := range refs {
		got = append(got, r)
	}
	same(t, got, []string{aTxt, sub, bTxt, empty})
}

func TestResolvePath(t *testing.T) {
	cid, err := sh.ResolvePath("/ipfs/" + dir + "/sub/b.txt")
	fine(t, err)
	same(t, cid, bTxt)
}

func TestPins(t *testing.T) {
	pins, err := sh.Pins()
	fine(t, err)
	same(t, pins[dir].Type, "recursive")
	same(t, pins[sub].Type, "indirect")
	fine(t, sh.Pin(sub))
	recursive, err := sh.PinsOfType(context.Background(), shell.RecursivePin)
	fine(t, err)
	same(t, recursive[sub].Type, "recursive")
	fine(t, sh.Unpin(sub))
	refused(t, sh.Unpin(sub), "pin/rm: not pinned or pinned indirectly")
	stream, err := sh.PinsStream(context.Background())
	fine(t, err)
	seen := map[string]string{}
	for p := range stream {
		seen[p.Cid] = p.Type
	}
	same(t, []string{seen[dir], seen[sub]}, []string{"recursive", "indirect"})
}

func TestBlocks(t *testing.T) {
	key, err := sh.BlockPut([]byte(hello), "raw", "sha2-256", -1)
	fine(t, err)
	same(t, key, helloRaw)
	b, err := sh.BlockGet(key)
	fine(t, err)
	same(t, string(b), hello)
	key, size, err := sh.BlockStat(key)
	fine(t, err)
	same(t, []any{key, size}, []any{helloRaw, 13})
}

func TestDag(t *testing.T) {
	cid, err := sh.DagPutWithOpts([]byte(cborJSON), options.Dag.InputCodec("dag-json"), options.Dag.StoreCodec("dag-cbor"))
	fine(t, err)
	same(t, cid, cborNode)
	var v map[string]any
	fine(t, sh.DagGet(cid, &v))
	same(t, v["b"], []any{true, nil, "x"})
}

func TestDagExportAndImport(t *testing.T) {
	r, err := sh.Request("dag/export", dir).Send(context.Background())
	fine(t, err)
	car, err := io.ReadAll(r.Output)
	fine(t, err)
	same(t, len(car) > 100, true)
	out, err := sh.DagImport(car, false, false)
	fine(t, err)
	same(t, out.Roots[0].Root.Cid.Value, dir)
}

func TestVersionAndID(t *testing.T) {
	same(t, sh.IsUp(), true)
	v, _, err := sh.Version()
	fine(t, err)
	same(t, strings.Split(v, "-")[0], "0.44.0")
	id, err := sh.ID()
	fine(t, err)
	same(t, id.ID[:8], "12D3KooW")
	same(t, strings.HasPrefix(id.AgentVersion, "kubo/0.44.0"), true)
}

func TestBootstrap(t *testing.T) {
	peer := "/ip4/127.0.0.1/tcp/4009/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
	peers, err := sh.BootstrapAdd([]string{peer})
	fine(t, err)
	same(t, peers, []string{peer})
	peers, err = sh.BootstrapRmAll()
	fine(t, err)
	same(t, peers, []string{peer})
}

func TestSwarmWithoutPeers(t *testing.T) {
	peers, err := sh.SwarmPeers(context.Background())
	fine(t, err)
	same(t, len(peers.Peers), 0)
	bw, err := sh.StatsBW(context.Background())
	fine(t, err)
	same(t, bw.RateIn >= 0, true)
}

func TestErrors(t *testing.T) {
	_, err := sh.Cat("nonsense")
	refused(t, err, `cat: invalid path "nonsense": path does not have enough components`)
	_, err = sh.Cat(dir + "/nope")
	refused(t, err, `cat: no link named "nope" under `+dir)
	_, err = sh.Cat(dir)
	refused(t, err, "cat: this dag node is a directory")
	err = sh.Request("block/get", absent).Option("offline", true).Exec(context.Background(), nil)
	refused(t, err, "block/get: block was not found locally (offline): ipld: could not find "+absent)
	err = sh.Request("nope").Exec(context.Background(), nil)
	refused(t, err, "command not found")
}
