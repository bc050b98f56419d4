import { all, ok, run, same } from '../js/checks.mjs'
import { everyday } from '../js/everyday.mjs'

const { create, CID } = await import('kubo-rpc-client')
const ipfs = create({ url: process.env.API })

await run({
  ...everyday(ipfs, CID),
  'pin names are shown to a listing that asks': async () => {
    const { cid } = await ipfs.add('a named pin', { pin: false })
    await ipfs.pin.add(cid, { name: 'my name' })
    same((await all(ipfs.pin.ls({ paths: cid, names: true }))).map(p => p.name), ['my name'])
    ok(!(await all(ipfs.pin.ls({ paths: cid }))).some(p => p.name))
  },
  'pin ls by name': async () => same((await all(ipfs.pin.ls({ name: 'my n' }))).map(p => p.name), ['my name'])
})
