import type { Row } from "../model.ts"
import { backlog } from "./backlog.ts"
import { broadcast } from "./broadcast.ts"
import { channel } from "./channel.ts"
import { closing } from "./closing.ts"
import { dashboard } from "./dashboard.ts"
import { direct } from "./direct.ts"
import { drainer } from "./drainer.ts"
import { durable } from "./durable.ts"
import { durableFanout } from "./durableFanout.ts"
import { durableIdle } from "./durableIdle.ts"
import { durableInsight } from "./durableInsight.ts"
import { durablePostgres } from "./durablePostgres.ts"
import { filter } from "./filter.ts"
import { graph } from "./graph.ts"
import { http } from "./http.ts"
import { latency } from "./latency.ts"
import { membership } from "./membership.ts"
import { memory } from "./memory.ts"
import { others } from "./others.ts"
import { outside } from "./outside.ts"
import { pipeline } from "./pipeline.ts"
import { queue } from "./queue.ts"
import { queueOptions } from "./queueOptions.ts"
import { retrier } from "./retrier.ts"
import { webhooks } from "./webhooks.ts"

/** By the names of their files, which the processes that measure them load alone. */
const coreFiles: Readonly<Record<string, ReadonlyArray<Row>>> = {
  queue,
  queueOptions,
  outside,
  broadcast,
  direct,
  retrier,
  filter,
  channel,
  pipeline,
  graph,
  memory,
  backlog,
  membership,
  latency,
  closing,
  drainer
}
const files: typeof coreFiles = {
  ...coreFiles,
  http,
  dashboard,
  durable,
  durableFanout,
  durableIdle,
  durableInsight,
  durablePostgres,
  webhooks,
  others
}

/** The rows of what is neither HTTP nor durable. */
export const core: ReadonlyArray<Row> = Object.values(coreFiles).flat()

export const rows: ReadonlyArray<Row> = Object.values(files).flat()

export const fileOf = (row: Row): string => {
  const file = Object.keys(files).find((file) => files[file]!.some(({ name }) => name === row.name))
  if (file === undefined) throw new Error(`no file has the row "${row.name}"`)
  return file
}
