/** The part of the page's script that asks the API once a second, and shows what needs attention. */
export const scriptOfPage = String.raw`
const base = location.pathname.replace(/\/+$/, "")
const tokenKey = "effect-events/token"
let token = sessionStorage.getItem(tokenKey)
const given = new URLSearchParams(location.hash.slice(1)).get("token")
if (given) {
  token = given
  sessionStorage.setItem(tokenKey, given)
  // The token stays out of the history and of what is copied from the address.
  history.replaceState(null, "", location.pathname + location.search)
}

class Answer extends Error {
  constructor(status, message) { super(message); this.status = status }
}
const request = async (path, { body, signal } = {}) => {
  const headers = {}
  if (token) headers.authorization = "Bearer " + token
  if (body !== undefined) {
    headers["x-effect-events"] = "1"
    headers["content-type"] = "application/json"
  }
  const response = await fetch(base + path, {
    method: body === undefined ? "GET" : "POST", headers, credentials: "same-origin", cache: "no-store", signal,
    body: body === undefined ? undefined : JSON.stringify(body)
  })
  if (response.ok) return response
  const found = await response.json().catch(() => ({}))
  throw new Answer(response.status, found.message ?? found.detail ?? "the server answered with " + response.status)
}
const ask = async (path, options) => (await request(path, options)).json()
/** Hands on each line of an answer as it comes, those that came at once together. */
const follow = async (path, signal, onValues) => {
  const { body } = await request(path, { signal })
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const lines = (text + read.value).split("\n")
    text = lines.pop()
    onValues(lines.map((line) => JSON.parse(line)))
  }
}

let sequence
let problems = 0
const load = async () => {
  const graph = await ask("/api/graph")
  state.graph = graph
  state.views.clear()
  sequence = undefined
  document.title = graph.title
  setText(byId("title"), graph.title)
}
const poll = async () => {
  if (!state.graph) await load()
  let live = await ask("/api/live?" + new URLSearchParams(sequence === undefined ? {} : { revision: state.graph.revision, since: sequence }))
  let isNew = drawn.size === 0
  if (live.revision !== state.graph.revision) {
    await load()
    live = await ask("/api/live")
    isNew = true
  }
  sequence = live.sequence
  state.at = live.at
  state.jobs = live.jobs
  for (const view of live.nodes) state.views.set(view.id, view)
  show(isNew, live.nodes)
}
const show = (isNew, changed) => {
  byId("token").hidden = true
  byId("main").hidden = false
  if (isNew) {
    if (state.selected && !nodeOf(state.selected)) closePanel()
    byId("find").hidden = state.graph.nodes.length <= 20
    drawGraph()
    refresh()
  } else for (const { id } of changed) drawNode(id)
  drawEdges()
  showTroubles()
  showPanel()
}

const showTroubles = () => {
  const hurting = []
  for (const node of state.graph.nodes) {
    const view = state.views.get(node.id)
    if (view && view.trouble) hurting.push({ node, ...view.trouble })
  }
  hurting.sort((a, b) => (a.level === b.level ? 0 : a.level === "bad" ? -1 : 1))
  const list = byId("trouble-list")
  const shown = hurting.slice(0, 50)
  if (hurting.length > shown.length) shown.push({ rest: hurting.length - shown.length })
  if (shown.length === 0) shown.push({})
  // In place, so that the focus stays where it is.
  while (list.childElementCount > shown.length) list.lastElementChild.remove()
  shown.forEach((one, i) => {
    const key = one.node ? one.node.id : String(one.rest)
    let item = list.children[i]
    if (!item || item.dataset.key !== key) {
      const fresh = one.node
        ? make("li", {}, make("button", { type: "button", on: { click: () => select(one.node.id) } }, make("span", { class: "name" }, labelOf(one.node)), make("span"), make("span")))
        : make("li", { class: "none" }, one.rest ? "and " + one.rest + " more" : "Nothing: every sink delivers.")
      fresh.dataset.key = key
      if (item) item.replaceWith(fresh)
      else list.append(fresh)
      item = fresh
    }
    if (!one.node) return
    setAttribute(item, "class", one.level)
    const [, , text] = item.firstChild.children
    setText(item.firstChild.children[1], " ")
    setText(text, one.text)
  })
  const bad = hurting.filter(({ level }) => level === "bad").length
  const warn = hurting.length - bad
  const sinks = (n) => n === 1 ? "1 sink" : n + " sinks"
  const summary = byId("summary")
  setAttribute(summary, "class", bad > 0 ? "bad" : warn > 0 ? "warn" : "good")
  setText(summary, bad > 0 ? "✕ " + sinks(bad) + (bad === 1 ? " is" : " are") + " in trouble" + (warn > 0 ? ", " + warn + " to look at" : "")
    : warn > 0 ? "! " + sinks(warn) + " to look at" : "✓ All " + sinks(state.graph.nodes.length) + " are well")
  document.title = (bad > 0 ? "(" + bad + ") " : "") + state.graph.title
}

const refresh = async () => {
  const { nodes } = await ask("/api/history?seconds=15")
  state.history = new Map(nodes.map((node) => [node.id, node]))
  drawSparks()
}
const failed = (error) => {
  const connection = byId("connection")
  if (error.status === 401 || error.status === 403) {
    problems = 0
    if (token) setText(byId("token-why"), "This token is not accepted: " + messageOf(error))
    byId("main").hidden = true
    setAttribute(connection, "class", "")
    setText(connection, "not authorized")
    setText(byId("summary"), "")
    if (byId("token").hidden) {
      byId("token").hidden = false
      byId("token-input").focus()
    }
    return
  }
  problems++
  if (error.status === 404) state.graph = undefined
  setAttribute(connection, "class", "lost")
  setText(connection, "no answer for " + problems + " s: what is shown is old")
}
const tick = async () => {
  if (document.hidden || !byId("token").hidden) return
  try {
    await poll()
    problems = 0
    setAttribute(byId("connection"), "class", "")
    setText(byId("connection"), new Date(state.at).toLocaleTimeString() + (state.graph.changes ? "" : " · read only"))
  } catch (error) {
    failed(error)
  }
}
const forever = async () => {
  await tick()
  setTimeout(forever, 1000)
}
setInterval(() => { if (state.graph && !document.hidden && byId("token").hidden) refresh().catch(() => {}) }, 15000)
setInterval(() => { if (panel && !document.hidden) showHistory().catch(() => {}) }, 5000)
setInterval(() => { if (panel && panel.loadAttempts && !document.hidden) panel.loadAttempts() }, 2000)
/** Marks the sinks that match, and opens the next of them. */
let foundAt = -1
byId("find").addEventListener("input", () => {
  foundAt = -1
  markFound()
})
byId("find").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return
  // It would press the button that has the focus then.
  event.preventDefault()
  const all = markFound()
  if (all.length === 0) return
  foundAt = (foundAt + 1) % all.length
  select(all[foundAt])
})
byId("token").addEventListener("submit", (event) => {
  event.preventDefault()
  token = byId("token-input").value
  sessionStorage.setItem(tokenKey, token)
  byId("token").hidden = true
  tick()
})
document.addEventListener("visibilitychange", tick)
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.selected && !byId("confirm").open) closePanel()
})
let width = innerWidth
addEventListener("resize", () => {
  // On a phone the height changes with each scroll.
  if (innerWidth === width) return
  width = innerWidth
  if (state.graph && drawn.size > 0) drawGraph()
})
forever()
`
