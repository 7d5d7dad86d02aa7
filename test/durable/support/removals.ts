/**
 * Displaces the files beside a database while processes write to it, kills the processes once one of them has noticed, and
 * judges what is in the file: all that was acknowledged, nothing that surely failed, nothing twice, and no damage.
 */
import { DatabaseSync } from "node:sqlite"
import { setTimeout as sleep } from "node:timers/promises"
import { randomFrom } from "../../support/random.ts"
import { start } from "./sqliteProcess.ts"

export interface Plan {
  readonly filename: string
  readonly processes: number
  readonly parts: ReadonlyArray<string>
  /** What is done to the path of each part, one of them in each round. */
  readonly ways: ReadonlyArray<(path: string) => void>
  readonly rounds: number
  readonly seed: number
}

export interface Outcome {
  readonly acknowledged: number
  /** What should not have been, each in words. */
  readonly problems: ReadonlyArray<string>
}

export const removals = async ({ filename, parts, processes, rounds, seed, ways }: Plan): Promise<Outcome> => {
  const random = randomFrom(seed)
  const problems: Array<string> = []
  const acknowledged = new Set<string>()
  const refused = new Set<string>()

  /** Starts a process whose lines are taken down as they come. */
  const writer = () => {
    const one = start("go on", filename)
    const waiting: Array<{ readonly word: string; left: number; readonly resolve: () => void }> = []
    const read = (async () => {
      for (let line = await one.line(); line !== undefined; line = await one.line()) {
        const [word = "", n, problem, doubt] = line.split(" ")
        const name = `${one.process.pid}-${n}/0`
        if (word === "wrote") acknowledged.add(name)
        else if (doubt === "sure") refused.add(name)
        if (word === "failed" && problem !== "Disconnected") problems.push(line)
        for (const one of waiting) if (one.word === word && --one.left === 0) one.resolve()
      }
    })()
    /** Waits until it has said a word so many times more. */
    const said = (word: string, left: number) =>
      Promise.race([new Promise<void>((resolve) => void waiting.push({ word, left, resolve })), read])
    const kill = async () => {
      await one.kill()
      await read
    }
    return { said, kill, signal: (signal: NodeJS.Signals) => void one.process.kill(signal) }
  }

  const judge = (where: string): void => {
    const db = new DatabaseSync(filename)
    const check = db.prepare("PRAGMA integrity_check").get()?.["integrity_check"]
    const rows = db.prepare("SELECT trim(CAST(payload AS TEXT)) AS text FROM deliveries").all()
    db.close()
    const found = new Set(rows.map(({ text }) => String(text)))
    const lost = [...acknowledged].filter((name) => !found.has(name))
    if (check !== "ok") problems.push(`${String(check)} ${where}`)
    if (lost.length > 0) problems.push(`${lost.length} of ${acknowledged.size} are lost ${where}: ${lost[0]}`)
    if (found.size < rows.length) problems.push(`${rows.length - found.size} are there twice ${where}`)
    for (const name of refused) if (found.has(name)) problems.push(`${name} had failed ${where}`)
  }

  for (let round = 0; round < rounds && problems.length === 0; round++) {
    const alive = Array.from({ length: processes }, writer)
    try {
      await Promise.all(alive.map(({ said }) => said("wrote", 1 + Math.floor(random() * 10))))
      const noticed = Promise.race(alive.flatMap(({ said }) => [said("failed", 1), said("wrote", 50)]))
      const isPaused = random() < 0.5
      if (isPaused) alive[0]?.signal("SIGSTOP")
      for (const part of parts) ways[(seed + round) % ways.length]?.(filename + part)
      if (isPaused) {
        // One that comes while another has not noticed.
        alive.push(writer())
        await sleep(300 + random() * 700)
        alive[0]?.signal("SIGCONT")
      }
      await noticed
      // Some are killed at once, some when they have gone on, and some lose another process first.
      if (random() < 0.5) {
        if (random() < 0.5) await alive.pop()?.kill()
        await Promise.all(alive.map(({ said }) => said("wrote", 1 + Math.floor(random() * 10))))
      }
    } finally {
      await Promise.all(alive.map(({ kill }) => kill()))
    }
    judge(`in round ${round}`)
  }
  return { acknowledged: acknowledged.size, problems }
}
