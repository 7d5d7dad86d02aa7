import type { Row } from "../model.ts"
import { backlog } from "./backlog.ts"
import { broadcast } from "./broadcast.ts"
import { channel } from "./channel.ts"
import { closing } from "./closing.ts"
import { directBroadcast } from "./direct.ts"
import { durable } from "./durable.ts"
import { durablePostgres } from "./durablePostgres.ts"
import { filter } from "./filter.ts"
import { http } from "./http.ts"
import { latency } from "./latency.ts"
import { membership } from "./membership.ts"
import { memory } from "./memory.ts"
import { pipeline } from "./pipeline.ts"
import { queue } from "./queue.ts"
import { retrier } from "./retrier.ts"

export const rows: ReadonlyArray<Row> = [
  ...queue,
  ...broadcast,
  ...directBroadcast,
  ...retrier,
  ...filter,
  ...channel,
  ...pipeline,
  ...memory,
  ...backlog,
  ...membership,
  ...latency,
  ...closing,
  ...http,
  ...durable,
  ...durablePostgres
]
