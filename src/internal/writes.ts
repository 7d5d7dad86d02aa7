import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { within } from "./deadline.ts"
import { annotate } from "./failureLog.ts"
import type { Node } from "./node.ts"

/** The writes that are under way through a part, which its close waits for before anything below it is released. */
export class Writes {
  private readonly node: Node
  private readonly idle = Latch.makeUnsafe(true)

  constructor(node: Node) {
    this.node = node
  }

  enter(): void {
    this.node.inFlight++
  }

  leave(): void {
    this.node.inFlight--
    if (this.node.inFlight === 0) this.idle.openUnsafe()
  }

  /** Lets no further write begin, and waits for those under way up to `timeout`. */
  close(timeout: Duration.Duration): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { node } = this
      node.state = "closing"
      if (node.inFlight > 0) this.idle.closeUnsafe()
      return Effect.flatMap(within(this.idle.await, timeout), (idle) => {
        node.state = "closed"
        if (idle) return Effect.void
        return Effect.logWarning(
          `${node.kind} "${node.name}" closed while ${node.inFlight} writes through it were under way`
        ).pipe(annotate(node.kind, node.name))
      })
    })
  }
}
