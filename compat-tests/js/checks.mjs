// A list of named checks, run in order against one daemon: prints `ok NAME` or `FAIL NAME: why` for each, then a sum.
// No test framework: what a check needs is a name, a promise and an assertion.
import assert from 'node:assert/strict'

// Node 20 lacks these two, which newer versions of the clients' own dependencies call.
Promise.withResolvers ??= function () { let resolve, reject; const promise = new this((a, b) => { resolve = a; reject = b }); return { promise, resolve, reject } }
Promise.try ??= function (f, ...a) { return new this(r => r(f(...a))) }

const CHECK_LIMIT_MS = 10000

export const same = assert.deepEqual
export const ok = assert.ok

/// The promise must be refused, and its message must be exactly this text or match this pattern.
export async function refused (promise, message) {
  const error = await promise.then(() => null, e => e)
  ok(error !== null, `expected the error ${message}, got an answer`)
  if (message instanceof RegExp) assert.match(error.message, message)
  else same(error.message, message)
}

export async function all (iterable) { const out = []; for await (const x of iterable) out.push(x); return out }
export const joined = async iterable => Buffer.concat(await all(iterable))
export const text = async iterable => (await joined(iterable)).toString()

/// The generated contents that the recorded answers use: SHA-256(be64(0)) || SHA-256(be64(1)) || …, cut at `size`.
export async function counted (size) {
  const { createHash } = await import('node:crypto')
  const parts = []
  for (let i = 0; i * 32 < size; i++) {
    const b = Buffer.alloc(8)
    b.writeBigUInt64BE(BigInt(i))
    parts.push(createHash('sha256').update(b).digest())
  }
  return Buffer.concat(parts).subarray(0, size)
}

export async function run (checks) {
  let passed = 0; let failed = 0
  for (const [name, check] of Object.entries(checks)) {
    let timer
    try {
      await Promise.race([check(), new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error('no end after 10 s')), CHECK_LIMIT_MS) })])
      passed++
      console.log('ok ' + name)
    } catch (e) {
      failed++
      console.log(`FAIL ${name}: ${String(e.message).replace(/\s+/g, ' ').slice(0, 400)}`)
    } finally { clearTimeout(timer) }
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}
