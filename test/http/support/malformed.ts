/** Requests that are malformed in one of many ways, by a seed: none may be taken, whatever else is right about it. */
import { Webhook } from "standardwebhooks"

export const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const strange = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

export const maxBytes = 4096

/** mulberry32: 32 bits of state are enough to choose tests by. */
export class Dice {
  private state: number

  constructor(seed: number) {
    this.state = seed | 0
  }

  /** From 0 up to 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  int(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1))
  }

  of<A>(values: ReadonlyArray<A>): A {
    return values[this.int(0, values.length - 1)]!
  }

  /** A multiple of four of them is random throughout. */
  bytes(from: number, to: number): Buffer {
    const bytes = Buffer.alloc(this.int(from, to))
    for (let i = 0; i + 4 <= bytes.length; i += 4) bytes.writeUInt32LE(this.int(0, 2 ** 32 - 1), i)
    return bytes
  }
}

/** A request in parts, before it is written down. */
interface Draft {
  method: string
  path: string
  version: string
  /** Lines, since what is malformed may be a name, or come twice. */
  headers: Array<readonly [string, string]>
  body: Buffer
  /** How the body goes over the wire. */
  framing: "length" | "chunked"
}

export interface Malformed {
  readonly what: string
  readonly bytes: ReadonlyArray<Buffer>
  /** What the sender does then: it waits, sends no more, or is gone. */
  readonly after: "wait" | "end" | "destroy"
  /** Whether the framing is right, so that the connection may go on. */
  readonly framed: boolean
}

export type Route = "/json" | "/cloud" | "/registry" | "/signed"
export const routes: ReadonlyArray<Route> = ["/json", "/cloud", "/registry", "/signed"]

const event = (id: string) => ({
  id,
  timestamp: "2026-01-02T03:04:05.678Z",
  action: "push",
  target: { repository: "team/app" }
})
const cloud = (id: string) => ({ specversion: "1.0", id, source: "/s", type: "t", data: { amount: 1 } })

const sign = (id: string, body: Buffer, at: number, key = secret): Array<readonly [string, string]> => [
  ["webhook-id", id],
  ["webhook-timestamp", String(at)],
  ["webhook-signature", new Webhook(key).sign(id, new Date(at * 1000), body)]
]

const now = (): number => Math.floor(Date.now() / 1000)

const draft = (path: Route, headers: Draft["headers"], body: string): Draft => ({
  method: "POST",
  path,
  version: "HTTP/1.1",
  headers: [["host", "x"], ...headers],
  body: Buffer.from(body),
  framing: "length"
})

/** A request that must be taken, with an event of this id. */
const good = (dice: Dice, route: Route, id: string): Draft => {
  const json = JSON.stringify({ id, total: 1 })
  switch (route) {
    case "/json":
      return dice.of([
        draft(route, [["content-type", "application/json"]], json),
        draft(route, [["content-type", "application/x-ndjson"]], `${json}\n`)
      ])
    case "/registry":
      return draft(
        route,
        [["content-type", "application/vnd.docker.distribution.events.v1+json"]],
        JSON.stringify({ events: [event(id)] })
      )
    case "/cloud": {
      const { data, ...attributes } = cloud(id)
      return dice.of([
        draft(
          route,
          [
            ...Object.entries(attributes).map(([name, value]) => [`ce-${name}`, value] as const),
            ["content-type", "application/json"]
          ],
          JSON.stringify(data)
        ),
        draft(route, [["content-type", "application/cloudevents+json"]], JSON.stringify(cloud(id))),
        draft(route, [["content-type", "application/cloudevents-batch+json"]], JSON.stringify([cloud(id)]))
      ])
    }
    case "/signed": {
      const body = Buffer.from(json)
      return draft(route, [["content-type", "application/json"], ...sign(id, body, now())], json)
    }
  }
}

const head = ({ headers, method, path, version }: Draft, more: Draft["headers"] = []): Buffer =>
  Buffer.from(
    `${method} ${path} ${version}\r\n${[...headers, ...more].map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`,
    "latin1"
  )

const chunk = (bytes: Buffer): Buffer =>
  Buffer.from(`${bytes.length.toString(16)}\r\n${bytes.toString("latin1")}\r\n`, "latin1")

const written = (dice: Dice, it: Draft): ReadonlyArray<Buffer> => {
  if (it.framing === "length") return [head(it, [["content-length", String(it.body.length)]]), it.body]
  const cut = dice.int(1, Math.max(1, it.body.length - 1))
  const chunks = [it.body.subarray(0, cut), it.body.subarray(cut)].filter(({ length }) => length > 0).map(chunk)
  return [head(it, [["transfer-encoding", "chunked"]]), ...chunks, Buffer.from("0\r\n\r\n")]
}

const without = (it: Draft, name: string): Draft => ({ ...it, headers: it.headers.filter(([key]) => key !== name) })
const withHeader = (it: Draft, name: string, value: string): Draft => ({
  ...it,
  headers: [...it.headers.filter(([key]) => key !== name), [name, value]]
})
/** With another body, of which a signature is made again: what is wrong is to be the body and nothing before it. */
const withBody = (it: Draft, body: Buffer): Draft => {
  const id = it.headers.find(([name]) => name === "webhook-id")?.[1]
  if (id === undefined) return { ...it, body }
  const rest = it.headers.filter(([name]) => !name.startsWith("webhook-"))
  return { ...it, body, headers: [...rest, ...sign(id, body, now())] }
}

type Spoil = (dice: Dice, it: Draft) => Omit<Malformed, "what">

/** Spoils a request without its framing. */
const framed =
  (spoil: (dice: Dice, it: Draft) => Draft): Spoil =>
  (dice, it) => ({
    bytes: written(dice, { ...spoil(dice, it), framing: dice.of(["length", "chunked"]) }),
    after: "wait",
    framed: true
  })
/** Sends these bytes in place of the request. */
const raw =
  (make: (dice: Dice, it: Draft) => ReadonlyArray<Buffer | string>, after: Malformed["after"] = "end"): Spoil =>
  (dice, it) => ({ bytes: make(dice, it).map((part) => Buffer.from(part)), after, framed: false })

const badBodies: ReadonlyArray<(dice: Dice, body: Buffer) => Buffer> = [
  // Cut short, where what is left is no JSON.
  (dice, body) => body.subarray(0, dice.int(1, body.toString().trimEnd().length - 1)),
  (dice) => Buffer.concat([Buffer.from([0xff]), dice.bytes(0, 200)]),
  (dice) => Buffer.from(`${"[".repeat(dice.int(1, 2000))}`),
  (dice) => Buffer.from(`${'{"a":'.repeat(dice.int(1, 700))}`),
  (dice) => Buffer.from("[".repeat(1500) + "]".repeat(1500) + " ".repeat(dice.int(0, 99))),
  (dice) =>
    Buffer.from(dice.of(["null", "true", "0", '""', "{}", '{"events":1}', '{"id":1}', "[1]", "[[]]", '"\\ud800"'])),
  (dice) => Buffer.from(`{"id":${dice.of(["1", "null", "[]", "{}"])},"total":1,"events":[{}],"specversion":"1.0"}`),
  (dice) => Buffer.from(`{"id":"a","total":${dice.of(["1.5", '"1"', "1e999", "null", "-"])},"events":{}}`),
  (dice) => Buffer.from(`{"__proto__":{"id":"a"},"constructor":${dice.int(0, 9)}}`),
  (_, body) => Buffer.concat([body.subarray(0, body.length - 1), Buffer.from([0xc3])]),
  (_, body) => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf]), body]),
  (_, body) => Buffer.from(body.toString(), "utf16le"),
  (dice, body) => Buffer.concat([body, Buffer.from(dice.of(["}", "]", ",", "x", '"'] as const))])
]

const spoils: Readonly<Record<string, Spoil>> = {
  body: framed((dice, it) => withBody(it, dice.of(badBodies)(dice, it.body))),
  // Of lines none is a request without events, which is one.
  "no body": framed((_, it) => {
    const lines = it.headers.some(([, value]) => value === "application/x-ndjson")
    return withBody(lines ? withHeader(it, "content-type", "application/json") : it, Buffer.alloc(0))
  }),
  "a large body": framed((dice, it) =>
    withBody(it, Buffer.concat([it.body, Buffer.alloc(maxBytes + dice.int(0, maxBytes), " ")]))
  ),
  "content type": framed((dice, it) =>
    withHeader(
      without(it, "ce-specversion"),
      "content-type",
      dice.of([
        "text/plain",
        "text/xml; charset=utf-8",
        "application/xml",
        "application/cloudevents",
        "application/cloudevents+avro",
        "application/json; charset=utf-16",
        "application/json;charset=latin1",
        "*/*",
        "json",
        "",
        ";",
        "application/",
        "multipart/form-data; boundary=x",
        `a/${"b".repeat(dice.int(1, 500))}`
      ])
    )
  ),
  "no content type": framed((_, it) => without(without(it, "ce-specversion"), "content-type")),
  encoding: framed((dice, it) =>
    withHeader(
      it,
      "content-encoding",
      dice.of(["gzip", "br", "deflate", "zstd", "compress", "gzip, gzip", "x-gzip", "no"])
    )
  ),
  method: framed((dice, it) => ({ ...it, method: dice.of(["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "LOCK"]) })),
  path: framed((dice, it) => ({ ...it, path: dice.of(["/", "/jso", "/json/x", "/%", "/%ff", "//", "/..", "*"]) })),
  "cloud event": framed((dice) => {
    const it = draft("/cloud", [["content-type", "application/json"]], '{"amount":1}')
    const attributes: Record<string, string> = { specversion: "1.0", id: "a", source: "/s", type: "t" }
    const wrong: Record<string, string> = dice.of([
      { specversion: dice.of(["0.3", "1", "2.0", "1.0 ", "x"]) + "x" },
      { id: "" },
      { source: dice.of(["", "%zz ", "a b", "http://[", "\\"]) },
      { type: "" },
      { time: dice.of(["yesterday", "2026-13-01T00:00:00Z", "2026-01-02", "1"]) },
      { dataschema: dice.of(["", "relative", "a b"]) },
      { id: "%ff%fe" },
      { subject: "%c3" },
      { datacontenttype: "application/json" },
      { no_name: "a" },
      { data: "a" }
    ])
    for (const [name, value] of Object.entries({ ...attributes, ...wrong })) it.headers.push([`ce-${name}`, value])
    if (dice.next() < 0.3) return without(it, `ce-${dice.of(["id", "source", "type"])}`)
    return it
  }),
  signature: framed((dice) => {
    const body = Buffer.from('{"id":"forged","total":1}')
    const it = draft("/signed", [["content-type", "application/json"], ...sign("m", body, now())], body.toString())
    const resigned = (at: number, key?: string): Draft => ({
      ...it,
      headers: [["host", "x"], ["content-type", "application/json"], ...sign("m", body, at, key)]
    })
    const genuine = it.headers.at(-1)![1]
    return dice.of([
      () => without(it, dice.of(["webhook-id", "webhook-timestamp", "webhook-signature"])),
      () => resigned(now(), strange),
      () => resigned(now() - dice.int(400, 10_000)),
      () => resigned(now() + dice.int(400, 10_000)),
      () => ({ ...it, body: Buffer.concat([it.body, Buffer.from(" ")]) }),
      () => withHeader(it, "webhook-id", dice.of(["other", "m.1", "", " ", "x".repeat(1025)])),
      () =>
        withHeader(it, "webhook-timestamp", dice.of(["", "x", "-1", "1e9", "9".repeat(20), `0${now()}`, `${now()}.0`])),
      () =>
        withHeader(
          it,
          "webhook-signature",
          dice.of([
            "",
            "v1",
            "v1,",
            "v1a,AAAA",
            genuine.slice(3),
            genuine.replace("v1", "v2"),
            genuine.slice(0, -1),
            "v1,????"
          ])
        ),
      () => withHeader(it, "webhook-signature", `v1,${dice.bytes(32, 32).toString("base64")} `.repeat(dice.int(1, 20)))
    ])()
  }),
  "a header's syntax": raw((dice, it) => [
    head({
      ...it,
      headers: [
        ...it.headers,
        dice.of([
          ["a b", "c"],
          ["", "c"],
          ["a\u0000", "c"],
          ["a", "b\u0000c"],
          ["a", "b\rc"],
          ["(", ")"],
          ["x", "y".repeat(20_000)]
        ] as const)
      ]
    }),
    it.body
  ]),
  "no host": raw((_, it) => written(new Dice(0), without(it, "host"))),
  "a length": raw((dice, it) => [
    head(it, [
      [
        "content-length",
        dice.of(["-1", "+5", "1e3", "0x10", "5 5", "", "99999999999999999999", "1,1", "NaN", `${it.body.length}, 1`])
      ]
    ]),
    it.body
  ]),
  "two lengths": raw((dice, it) => [
    head(it, [
      ["content-length", String(it.body.length)],
      dice.of([
        ["content-length", String(it.body.length + 1)],
        ["transfer-encoding", "chunked"],
        ["transfer-encoding", "identity"]
      ] as const)
    ]),
    it.body
  ]),
  "a length too long": raw(
    (dice, it) => [head(it, [["content-length", String(it.body.length + dice.int(1, 500))]]), it.body],
    "end"
  ),
  "a length too short": raw((dice, it) => {
    const json = it.body.toString().trimEnd()
    return [head(it, [["content-length", String(dice.int(1, json.length - 1))]]), it.body]
  }),
  "a length above the limit": raw(
    (dice, it) => [
      head(it, [
        ["content-length", String(maxBytes + dice.int(1, 10 ** dice.int(1, 12)))],
        ...(dice.next() < 0.5 ? [["expect", "100-continue"] as const] : [])
      ]),
      it.body
    ],
    "wait"
  ),
  "a coding": raw((dice, it) => [
    head(it, [
      ["transfer-encoding", dice.of(["gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "x", "identity"])]
    ]),
    chunk(it.body),
    "0\r\n\r\n"
  ]),
  "a chunk": raw((dice, it) => [
    head(it, [["transfer-encoding", "chunked"]]),
    dice.of([
      "zz\r\n",
      "-1\r\n",
      "\r\n",
      "5",
      "fffffffffffffffffff\r\n",
      "5;\u0000\r\nabcde",
      "3\r\nabcde\r\n",
      " 5\r\n",
      "0x5\r\n"
    ]),
    it.body
  ]),
  "chunks cut short": raw((dice, it) => {
    const chunks = written(dice, { ...it, framing: "chunked" })
    const all = Buffer.concat(chunks)
    // Less than the last byte of the last chunk, and more than the head.
    return [all.subarray(0, dice.int(chunks[0]!.length + 1, all.length - 5))]
  }, "end"),
  "chunks without end": raw(
    (dice, it) => [
      head(it, [["transfer-encoding", "chunked"]]),
      ...Array.from({ length: 3 }, () => chunk(dice.bytes(2048, 2048)))
    ],
    "wait"
  ),
  "a request line": raw((dice, { path }) => [
    dice.of([
      `POST ${path}\r\n\r\n`,
      `post ${path} HTTP/1.1\r\nhost: x\r\n\r\n`,
      `POST ${path} HTTP/9.9\r\nhost: x\r\n\r\n`,
      `POST  HTTP/1.1\r\nhost: x\r\n\r\n`,
      `POST ${path} HTTP/1.1 x\r\nhost: x\r\n\r\n`,
      `FETCH ${path} HTTP/1.1\r\nhost: x\r\n\r\n`,
      "\r\n\r\n\r\nx\r\n\r\n",
      `POST ${path}${"x".repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`
    ])
  ]),
  "no HTTP": raw((dice) => [Buffer.concat([Buffer.from([dice.of([0, 0x16, 0x80, 0xff])]), dice.bytes(1, 300)])]),
  "an end in the middle": (dice, it) => {
    const all = Buffer.concat([...written(dice, it)])
    return { bytes: [all.subarray(0, dice.int(1, all.length - 1))], after: dice.of(["end", "destroy"]), framed: false }
  }
}

const kinds: ReadonlyArray<string> = Object.keys(spoils)

/** The n-th malformed request: each kind comes as often as the others. */
export const malformed = (dice: Dice, n: number): Malformed => {
  const what = kinds[n % kinds.length]!
  return { what, ...spoils[what]!(dice, good(dice, dice.of(routes), `bad-${n}`)) }
}

/** A request to be taken, as bytes. */
export const wellFormed = (dice: Dice, id: string): ReadonlyArray<Buffer> =>
  written(dice, { ...good(dice, dice.of(routes), id), framing: dice.of(["length", "chunked"]) })
