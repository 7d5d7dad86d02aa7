/** The viewer of a dashboard, a process of its own: asks as often and for the same as the page, and ends when its input does. */
const base = `${process.argv[2]}/api`

/** What the page needs to know for its next request. */
interface Said {
  readonly revision: string
  readonly sequence: number
  readonly nodes: ReadonlyArray<unknown>
}
const ask = async (path: string): Promise<Said> => {
  const response = await fetch(base + path)
  if (!response.ok) throw new Error(`${path} answered ${response.status}`)
  // Other answers are only read.
  return (await response.json()) as Said
}

process.stdin.resume().on("end", () => process.exit(0))
await ask("/graph")
await ask("/history?seconds=15")
setInterval(() => void ask("/history?seconds=15"), 15_000)
let { revision, sequence } = await ask("/live")
setInterval(async () => ({ revision, sequence } = await ask(`/live?revision=${revision}&since=${sequence}`)), 1000)
