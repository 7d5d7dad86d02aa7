/** The receiver of the HTTP rows, a process of its own: takes every request, and ends when its input does. */
import { createServer } from "node:http"

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  request.resume()
  request.on("end", () => response.writeHead(200, { "content-length": 0 }).end())
})
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  console.log(typeof address === "object" ? address?.port : "")
})
process.stdin.resume().on("end", () => process.exit(0))
