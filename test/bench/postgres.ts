/** A Postgres server for the rows that need one, which says its port, and ends when its input does. */
import { PostgresServer, skipped } from "../durable/support/postgresServer.ts"

if (skipped !== "") {
  console.log(`not installed${skipped}`)
  process.exit(0)
}
const server = await PostgresServer.start({ fsync: true })
console.log(server.port)
process.stdin.resume().on("end", () => void server.remove().then(() => process.exit(0)))
