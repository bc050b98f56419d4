// The everyday work of the JavaScript clients, which share one interface.  Every CID here is the one that Kubo gives.
import { all, counted, joined, ok, refused, same, text } from './checks.mjs'

const HELLO = 'hello pinmesh'
const HELLO_V0 = 'Qmb5XteLBb5srRAeQtSStF4Zik5KGoeuNkJCqfbAuVDyKw'
const HELLO_RAW = 'bafkreifosoqcivegq64r3wpwjw4pc7h4afwklhglvychblqwuaf3kxhx2e'
const MEGABYTE_V0 = 'QmNrbRPZ2Fqgp6kT2rhfq4iBuN5bGx3mTKHybrMCbvgVww'
const MEGABYTE_V1 = 'bafybeiap7ioud3krrnoopo7ginypritpjpmyzltcd2y3uzehrxgvdi3bkm'
const DIR = 'QmUZNv8wCy675yChrrqpUsJPDJ4BS4FHXptVfEHZG9b6fF'
const SUB = 'Qmc7pm973cvSoDmMyT6dU6YvdfvKse7HAdY8P3djCTrNWS'
const EMPTY = 'QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH'
const EMPTY_DIR = 'QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn'
const A_TXT = 'QmfDmsHTywy6L9Ne5RXsj5YumDedfBLMvCvmaxjBoe6w4d'
const B_TXT = 'QmZyUAuPMneEWTdKbkRUuo8JuVW5qiCzUHLKqptzgqkVCq'
const CBOR = 'bafyreiaah35mwsxiu4sflymkipv5ccvlxwoprdubyw4tnmxpryd2rnz5qy'
const ABSENT = 'QmNLei78zWmzUdbeRB3CiUfAizWUrbeeZh5K1rhAQKCh51'
const TREE = [{ path: 'd/a.txt', content: 'a' }, { path: 'd/sub/b.txt', content: 'bb' }, { path: 'd/sub/empty', content: new Uint8Array(0) }]
const str = x => String(x.cid ?? x)

/// `ipfs` is a client of a fresh repository; `CID` the client's own class.
export function everyday (ipfs, CID) {
  const cid = s => CID.parse(s)
  return {
    ...adding(ipfs), ...reading(ipfs, cid), ...pinning(ipfs, cid), ...blocks(ipfs, cid), ...dags(ipfs, cid), ...node(ipfs, cid), ...errors(ipfs, cid)
  }
}

const adding = ipfs => ({
  'add a string': async () => {
    const { path, cid, size } = await ipfs.add(HELLO)
    same([path, str(cid), size], [HELLO_V0, HELLO_V0, 21])
  },
  'add bytes as CIDv1': async () => same(str(await ipfs.add(Buffer.from(HELLO), { cidVersion: 1 })), HELLO_RAW),
  'add an empty file': async () => same(str(await ipfs.add('')), EMPTY),
  'add a stream of a megabyte': async () => {
    const bytes = await counted(1000000)
    async function * chunks () { for (let i = 0; i < bytes.length; i += 70001) yield bytes.subarray(i, i + 70001) }
    const { cid, size } = await ipfs.add(chunks())
    same([str(cid), size], [MEGABYTE_V0, 1000256])
    same(str(await ipfs.add(bytes, { cidVersion: 1 })), MEGABYTE_V1)
  },
  'add with chunkers and layouts': async () => {
    const bytes = await counted(1000000)
    same(str(await ipfs.add(bytes, { trickle: true })), 'QmRZgNcUVr7K57qQaEx5f2T3KX4NcmiC8Z7vBgtGZgZw6a')
    same(str(await ipfs.add(bytes, { chunker: 'rabin' })), 'QmR6DioTBHH2cNBWQAeFy4YqxMZ7nwRswT2ZDSUp5JfwjZ')
    same(str(await ipfs.add(bytes, { chunker: 'size-1000' })), 'QmcXGDNG9BuApWyW4WTFS8X5nBNwCSh37hBhVFiui2VN4K')
  },
  'add only the hash stores nothing': async () => {
    const { cid } = await ipfs.add('only the hash of this', { onlyHash: true })
    await refused(ipfs.block.get(cid, { offline: true }), /^block was not found locally \(offline\): ipld: could not find Qm/)
  },
  'add with progress': async () => {
    const seen = []
    await ipfs.add({ path: 'm', content: await counted(1000000) }, { progress: (n, name) => seen.push([n, name]) })
    same(seen.at(-1), [1000000, 'm'])
  },
  'add a directory': async () => {
    const out = await all(ipfs.addAll(TREE))
    same(out.map(x => [x.path, str(x)]), [['d/a.txt', A_TXT], ['d/sub/b.txt', B_TXT], ['d/sub/empty', EMPTY], ['d/sub', SUB], ['d', DIR]])
  },
  'add files wrapped in a directory': async () => {
    const out = await all(ipfs.addAll([{ path: 'h', content: HELLO }], { wrapWithDirectory: true }))
    same(out.map(x => [x.path, str(x)]), [['h', HELLO_V0], ['', 'QmaL13NF6fMDCT9te5ZQso35Zx3UKJTueha3sKKiRKnN59']])
  },
  'add an empty directory': async () => same((await all(ipfs.addAll([{ path: 'void' }]))).map(str), [EMPTY_DIR]),
  'add a name with spaces and umlauts': async () => {
    const [file] = await all(ipfs.addAll([{ path: 'größe & so on/ü.txt', content: 'x' }]))
    same(file.path, 'größe & so on/ü.txt')
  },
  'add many files at once': async () => {
    const out = await all(ipfs.addAll(Array.from({ length: 300 }, (_, i) => ({ path: `many/${i}`, content: String(i) }))))
    same([out.length, out.at(-1).path], [301, 'many'])
  }
})

const reading = (ipfs, cid) => ({
  'cat a file by CID, by path and by URI': async () => {
    for (const p of [cid(HELLO_V0), HELLO_V0, '/ipfs/' + HELLO_V0, HELLO_RAW, 'ipfs://' + HELLO_RAW]) same(await text(ipfs.cat(p)), HELLO)
  },
  'cat a megabyte': async () => same(Buffer.compare(await joined(ipfs.cat(MEGABYTE_V0)), await counted(1000000)), 0),
  'cat ranges': async () => {
    const bytes = await counted(1000000)
    for (const [offset, length] of [[0, 1], [262143, 2], [262144, 262144], [999999, 10], [500000, 300000], [1000000, 1]]) {
      same(Buffer.compare(await joined(ipfs.cat(MEGABYTE_V1, { offset, length })), bytes.subarray(offset, offset + length)), 0, `${offset}+${length}`)
    }
  },
  'cat a path inside a directory': async () => same(await text(ipfs.cat(DIR + '/sub/b.txt')), 'bb'),
  'get a directory as tar': async () => {
    const tar = await joined(ipfs.get(DIR))
    const names = []
    for (let i = 0; i + 512 <= tar.length && tar[i] !== 0;) {
      const field = (from, to) => tar.subarray(i + from, i + to).toString().replace(/\0.*$/s, '')
      if (field(156, 157) !== 'x') names.push(field(0, 100)) // x: an extended header, there for the time
      i += 512 + Math.ceil(parseInt(field(124, 136) || '0', 8) / 512) * 512
    }
    same(names, [DIR, DIR + '/a.txt', DIR + '/sub', DIR + '/sub/b.txt', DIR + '/sub/empty'])
  },
  'get a file as gzip': async () => {
    const { gunzipSync } = await import('node:zlib')
    same(gunzipSync(await joined(ipfs.get(HELLO_V0, { compress: true, archive: false, compressionLevel: 5 }))).toString(), HELLO)
  },
  'ls a directory': async () => {
    const out = await all(ipfs.ls(DIR))
    same(out.map(x => [x.name, x.type, x.size, str(x), x.path]), [['a.txt', 'file', 1, A_TXT, DIR + '/a.txt'], ['sub', 'dir', 0, SUB, DIR + '/sub']])
  },
  'ls a directory inside': async () => same((await all(ipfs.ls(`/ipfs/${DIR}/sub`))).map(x => x.name), ['b.txt', 'empty']),
  'refs of a directory': async () => same((await all(ipfs.refs(DIR))).map(x => x.ref), [A_TXT, SUB]),
  'refs recursive with format and unique': async () => {
    same((await all(ipfs.refs(DIR, { recursive: true }))).map(x => x.ref), [A_TXT, SUB, B_TXT, EMPTY])
    same((await all(ipfs.refs(DIR, { recursive: true, maxDepth: 1, format: '<src> -> <dst> (<linkname>)' }))).map(x => x.ref), [`${DIR} -> ${A_TXT} (a.txt)`, `${DIR} -> ${SUB} (sub)`])
    same((await all(ipfs.refs(MEGABYTE_V0, { recursive: true, unique: true }))).length, 4)
  },
  'refs local lists what is stored': async () => {
    const found = new Set((await all(ipfs.refs.local())).map(x => x.ref))
    ok(found.has(HELLO_RAW) && found.size > 300)
  },
  'resolve a path': async () => {
    same(await ipfs.resolve(`/ipfs/${DIR}/sub/b.txt`), '/ipfs/' + B_TXT)
    same(await ipfs.resolve('/ipfs/' + HELLO_V0), '/ipfs/' + HELLO_V0)
  }
})

const pinning = (ipfs, cid) => ({
  'what was added is pinned': async () => {
    const pins = await all(ipfs.pin.ls({ type: 'recursive' }))
    ok(pins.some(p => str(p) === DIR && p.type === 'recursive'))
    ok(!pins.some(p => str(p) === SUB))
  },
  'pin ls of one path': async () => {
    same((await all(ipfs.pin.ls({ paths: DIR + '/sub' }))).map(p => [str(p), p.type]), [[SUB, 'indirect through ' + DIR]])
    same((await all(ipfs.pin.ls({ paths: [cid(DIR)], type: 'recursive' }))).map(p => [str(p), p.type]), [[DIR, 'recursive']])
  },
  'pin ls indirect': async () => {
    const pins = new Map((await all(ipfs.pin.ls({ type: 'indirect' }))).map(p => [str(p), p.type]))
    same([pins.get(SUB), pins.get(A_TXT), pins.get(DIR)], ['indirect', 'indirect', undefined])
  },
  'unpin, pin directly, pin recursively': async () => {
    same(str(await ipfs.pin.rm(cid(DIR))), DIR)
    await refused(ipfs.pin.rm(cid(DIR)), 'not pinned or pinned indirectly')
    same(str(await ipfs.pin.add(cid(DIR), { recursive: false })), DIR)
    same((await all(ipfs.pin.ls({ paths: DIR }))).map(p => p.type), ['direct'])
    same(str(await ipfs.pin.add(cid(DIR))), DIR)
    await refused(ipfs.pin.add(cid(DIR), { recursive: false }), `pin: ${DIR} already pinned recursively`)
  },
  'pin a path': async () => {
    same(str(await ipfs.pin.add(`/ipfs/${DIR}/sub`)), SUB)
    same(str(await ipfs.pin.rm(`/ipfs/${DIR}/sub`)), SUB)
  },
  'pin several at once and remove them': async () => {
    const sources = [A_TXT, B_TXT]
    same((await all(ipfs.pin.addAll(sources.map(cid)))).map(String).sort(), [...sources].sort())
    same((await all(ipfs.pin.rmAll(sources.map(cid)))).map(String).sort(), [...sources].sort())
  }
})

const blocks = (ipfs, cid) => ({
  'block put, get, stat': async () => {
    const put = await ipfs.block.put(Buffer.from(HELLO), { format: 'raw' })
    same(str(put), HELLO_RAW)
    same(Buffer.from(await ipfs.block.get(put)).toString(), HELLO)
    const stat = await ipfs.block.stat(put)
    same([str(stat), stat.size], [HELLO_RAW, 13])
  },
  'block put with another codec and hash': async () => {
    same(str(await ipfs.block.put(Buffer.from([0xa0]), { format: 'dag-cbor' })), 'bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua')
    const c = await ipfs.block.put(Buffer.from(HELLO), { format: 'raw', mhtype: 'sha2-512' })
    same([c.multihash.code, c.multihash.size], [0x13, 64])
  },
  'block rm': async () => {
    const put = await ipfs.block.put(Buffer.from('to be removed'), { format: 'raw' })
    same((await all(ipfs.block.rm(put))).map(x => [str(x), x.error]), [[str(put), undefined]])
    const [again] = await all(ipfs.block.rm(put))
    same(again.error?.message ?? String(again.error), `ipld: could not find ${put}`)
    same((await all(ipfs.block.rm(put, { force: true }))).map(x => x.error), [undefined])
  },
  'block rm refuses what is pinned': async () => {
    const [out] = await all(ipfs.block.rm(cid(MEGABYTE_V0)))
    same(out.error?.message ?? String(out.error), 'pinned: recursive')
  }
})

const dags = (ipfs, cid) => ({
  'dag put and get': async () => {
    const value = { a: 1, b: [true, null, 'x'], bytes: new Uint8Array([1, 2, 3]), link: cid(HELLO_V0) }
    const put = await ipfs.dag.put(value, { storeCodec: 'dag-cbor', hashAlg: 'sha2-256' })
    same(str(put), CBOR)
    const got = (await ipfs.dag.get(put)).value
    same([got.a, got.b, [...got.bytes], str(got.link)], [1, [true, null, 'x'], [1, 2, 3], HELLO_V0])
  },
  'dag get along a path': async () => {
    same((await ipfs.dag.get(cid(CBOR), { path: '/b/2' })).value, 'x')
    same((await ipfs.dag.get(cid(CBOR), { path: '/a' })).value, 1)
  },
  'dag get of a dag-pb node': async () => {
    const node = (await ipfs.dag.get(cid(DIR))).value
    same(node.Links.map(l => [l.Name, l.Tsize, str(l.Hash)]), [['a.txt', 9, A_TXT], ['sub', 114, SUB]])
  },
  'dag put as dag-json': async () => same((await ipfs.dag.put({ hello: 'world' }, { storeCodec: 'dag-json', hashAlg: 'sha2-256' })).code, 0x0129),
  'dag resolve': async () => {
    const { cid: c, remainderPath } = await ipfs.dag.resolve(`/ipfs/${CBOR}/b/2`)
    same([str(c), remainderPath.replace(/^\//, '')], [CBOR, 'b/2']) // the clients differ in the first slash
    same(str((await ipfs.dag.resolve(`/ipfs/${DIR}/sub/b.txt`)).cid), B_TXT)
  },
  'dag export and import': async () => {
    const car = await joined(ipfs.dag.export(cid(DIR)))
    same(car.subarray(0, 18).toString('hex'), '38a265726f6f747381d82a58230012205c68')
    const out = await all(ipfs.dag.import([car], { pinRoots: true }))
    same(out.map(x => [str(x.root.cid), x.root.pinErrorMsg || '']), [[DIR, '']])
  }
})

const node = (ipfs, cid) => ({
  id: async () => {
    const me = await ipfs.id()
    ok(String(me.id).startsWith('12D3KooW'))
    ok(me.agentVersion.startsWith('kubo/0.44.0'), me.agentVersion)
    ok(me.addresses.length > 0 && me.addresses.every(a => a.toString().endsWith('/p2p/' + me.id)), String(me.addresses))
    ok(me.protocols.includes('/ipfs/ping/1.0.0'), String(me.protocols))
  },
  version: async () => {
    const v = await ipfs.version()
    same(v.version.split('-')[0], '0.44.0')
    same(v.repo, '18')
  },
  'is online': async () => same(await ipfs.isOnline(), true),
  commands: async () => {
    const { Name, Subcommands, name, subcommands } = await ipfs.commands()
    same(Name ?? name, 'ipfs')
    ok((Subcommands ?? subcommands).some(c => (c.Name ?? c.name) === 'pin'))
  },
  'config get, set, and all': async () => {
    same(await ipfs.config.get('Routing.Type'), 'dht')
    await ipfs.config.set('Datastore.StorageMax', '11GB')
    same(await ipfs.config.get('Datastore.StorageMax'), '11GB')
    await ipfs.config.set('Gateway.NoFetch', true)
    same(await ipfs.config.get('Gateway.NoFetch'), true)
    await ipfs.config.set('API.HTTPHeaders', { 'X-Test': ['1'] })
    const whole = await ipfs.config.getAll()
    same([whole.API.HTTPHeaders, whole.Identity.PrivKey], [{ 'X-Test': ['1'] }, undefined])
  },
  'config profiles': async () => {
    const { original, updated } = await ipfs.config.profiles.apply('lowpower', { dryRun: true })
    same([original.Swarm.ConnMgr.LowWater, updated.Swarm.ConnMgr.LowWater], [undefined, 20])
  },
  bootstrap: async () => {
    const peer = '/ip4/127.0.0.1/tcp/4009/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA'
    const peers = x => x.Peers.map(String)
    same(peers(await ipfs.bootstrap.list()), [])
    same(peers(await ipfs.bootstrap.add(peer)), [peer])
    same(peers(await ipfs.bootstrap.list()), [peer])
    same(peers(await ipfs.bootstrap.rm(peer)), [peer])
    if (ipfs.bootstrap.clear) same(peers(await ipfs.bootstrap.clear()), []) // kubo-rpc-client 7 has none
  },
  'swarm without peers': async () => {
    same(await ipfs.swarm.peers(), [])
    const { id } = await ipfs.id()
    // A bootstrap peer that was named, and let go again, may still be known.
    ok((await ipfs.swarm.addrs()).some(p => String(p.id) === String(id)))
    ok((await ipfs.swarm.localAddrs()).some(a => a.toString().startsWith('/ip4/127.0.0.1/tcp/')))
  },
  'repo stat and version': async () => {
    const s = await ipfs.repo.stat()
    ok(s.numObjects > 300n && s.repoSize > 1000000n, `${s.numObjects} ${s.repoSize}`)
    ok(s.repoPath.endsWith('/repo'))
    same(s.version, 'fs-repo@18')
    same(await ipfs.repo.version(), '18')
  },
  'repo gc removes what is not pinned and keeps what is': async () => {
    const { cid: loose } = await ipfs.add('loose, to be collected', { pin: false, rawLeaves: true, cidVersion: 1 })
    const gone = (await all(ipfs.repo.gc())).map(x => str(x))
    ok(gone.includes(String(loose)), 'the loose block was not collected')
    await refused(ipfs.block.get(loose, { offline: true }), `block was not found locally (offline): ipld: could not find ${loose}`)
    same(await text(ipfs.cat(DIR + '/sub/b.txt')), 'bb')
  },
  'stats repo, bw and bitswap': async () => {
    ok((await ipfs.stats.repo()).numObjects > 0n)
    const [bw] = await all(ipfs.stats.bw())
    same([typeof bw.totalIn, typeof bw.rateIn], ['bigint', 'number'])
    const b = await (ipfs.stats.bitswap ?? ipfs.bitswap.stat)()
    same([b.wantlist, b.peers, b.blocksReceived, b.dataSent], [[], [], 0n, 0n])
  },
  'bitswap wantlist': async () => same(await ipfs.bitswap.wantlist(), []),
  'log ls and level': async () => {
    ok((await ipfs.log.ls()).length > 0)
    same((await ipfs.log.level('all', 'error')).message, "Changed log level of '*' to 'error'\n")
  },
  'diag sys and cmds': async () => {
    ok((await ipfs.diag.sys()).ipfs_version ?? (await ipfs.diag.sys()).ipfsVersion)
    ok(Array.isArray(await ipfs.diag.cmds()))
  }
})

const errors = (ipfs, cid) => ({
  'error of an invalid CID': async () => refused(all(ipfs.cat('nonsense')), 'invalid path "nonsense": path does not have enough components'),
  'error of a missing link': async () => refused(all(ipfs.cat(DIR + '/nope')), `no link named "nope" under ${DIR}`),
  'error of cat on a directory': async () => refused(all(ipfs.cat(DIR)), 'this dag node is a directory'),
  'error of a block that nobody has': async () => refused(all(ipfs.cat(cid(ABSENT), { offline: true })), `block was not found locally (offline): ipld: could not find ${ABSENT}`),
  'error at a deadline': async () => refused(ipfs.block.get(cid(ABSENT), { searchParams: { timeout: '300ms' }, timeout: 5000 }), /deadline exceeded|timed out/),
  'error of an unknown hash function': async () => refused(ipfs.add('x', { hashAlg: 'nope' }), /unrecognized hash function: "?nope"?/),
  'error of a negative offset': async () => refused(all(ipfs.cat(HELLO_V0, { offset: -1 })), 'cannot specify negative offset'),
  'error of an unknown chunker': async () => refused(ipfs.add('x', { chunker: 'nope' }), /unrecognized chunker option: nope/),
  'a request that the client gives up ends': async () => {
    const stop = new AbortController()
    setTimeout(() => stop.abort(), 200)
    const error = await ipfs.block.get(cid(ABSENT), { signal: stop.signal }).then(() => null, e => e)
    ok(error !== null)
    same(await text(ipfs.cat(HELLO_V0)), HELLO)
  }
})
