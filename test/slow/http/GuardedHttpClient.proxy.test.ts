import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import { network } from "../../http/support/network.ts"
import { rawReceiver } from "../../http/support/receiver.ts"

describe("an environment that names a proxy", () => {
  const run = promisify(execFile)

  it.live("is ignored: the proxy sees neither allowed nor refused requests", () =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network()
      const proxy = yield* rawReceiver((socket) => void socket.end("HTTP/1.1 418 No\r\n\r\n"))
      const names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
      const env = {
        ...process.env,
        ...Object.fromEntries(names.map((name) => [name, `http://127.0.0.1:${proxy.port}`])),
        NO_PROXY: "",
        no_proxy: "",
        NODE_USE_ENV_PROXY: "1"
      }
      const script = join(import.meta.dirname, "..", "..", "http", "support", "proxied.ts")
      const { stdout } = yield* Effect.promise(() =>
        run(process.execPath, ["--conditions=@effect-events/source", script, String(port)], { env })
      )
      // That of the ordinary client.
      assert.strictEqual(proxy.connections(), 1)
      const refusal = "ForbiddenAddress: 127.0.0.1 is not allowed: loopback (127.0.0.0/8, RFC 1122, section 3.2.1.3)"
      assert.deepStrictEqual(JSON.parse(stdout), ["TypeError: fetch failed", ["200", refusal]])
      assert.strictEqual(out.requests.length, 1)
      assert.strictEqual(reached(), 0)
    })
  )
})
