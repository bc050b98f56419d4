import { run } from '../js/checks.mjs'
import { everyday } from '../js/everyday.mjs'

const { create, CID } = await import('ipfs-http-client')
await run(everyday(create({ url: process.env.API }), CID))
