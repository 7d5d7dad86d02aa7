/**
 * The part of the page's script that draws: figures as text, the graph and the charts as SVG. All text is set as text, never as
 * markup.
 */
export const scriptOfGraph = String.raw`
const byId = (id) => document.getElementById(id)
const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run)
    else if (value === true) element.setAttribute(name, "")
    else if (value !== undefined && value !== false && value !== null) element.setAttribute(name, value)
  }
  element.append(...children.filter((child) => child !== undefined && child !== null))
  return element
}
const draw = (tag, attributes, parent) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  if (parent) parent.append(element)
  return element
}
const setText = (element, text) => { if (element.textContent !== text) element.textContent = text }
const setAttribute = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value) }

const whole = new Intl.NumberFormat("en")
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 })
const count = (n) => n < 10000 ? whole.format(n) : short.format(n)
const rate = (n) => (n === 0 ? "0" : n < 10 ? n.toFixed(1) : count(Math.round(n))) + "/s"
const spell = (millis) => {
  const seconds = Math.max(0, millis) / 1000
  if (seconds < 10) return seconds.toFixed(1) + " s"
  if (seconds < 120) return Math.floor(seconds) + " s"
  const minutes = Math.floor(seconds / 60)
  if (minutes < 120) return minutes + " min"
  return minutes < 2880 ? Math.floor(minutes / 60) + " h " + minutes % 60 + " min" : Math.floor(minutes / 1440) + " days"
}
const clip = (text, length) => {
  const characters = Array.from(text.replace(/\s+/g, " "))
  return characters.length <= length ? characters.join("") : characters.slice(0, length - 1).join("") + "…"
}
/** The end of a name often tells it from others, such as that of an address. */
const clipMiddle = (text, length) => {
  const characters = Array.from(text.replace(/^https?:\/\//, "").replace(/\s+/g, " "))
  if (characters.length <= length) return characters.join("")
  const end = Math.floor(length * 0.4)
  return characters.slice(0, length - end - 1).join("") + "…" + characters.slice(-end).join("")
}
const labelOf = (node) => node.kind === node.name ? node.kind : node.kind + " " + node.name

const state = { graph: undefined, views: new Map(), jobs: [], history: new Map(), selected: undefined, at: 0 }
const narrow = matchMedia("(max-width: 900px)")
const card = { width: 208, height: 92, across: 62, down: 20 }

const flagsOf = (view) => {
  const flags = []
  if (view.state !== "open") flags.push(view.state)
  if (view.control && view.control.state !== "active") flags.push(view.control.state)
  else if (view.lease === "suspended") flags.push("stopped")
  if (view.breaker && view.breaker !== "closed") flags.push("breaker " + view.breaker)
  if (view.lease === "standby" && view.state === "open" && (!view.control || view.control.state === "active")) flags.push("standby")
  if (view.deadLetters) flags.push(count(view.deadLetters) + " dead")
  return flags
}
const figuresOf = (view) =>
  count(view.pending) + " waiting" + (view.age === null || view.age < 1000 ? "" : ", " + spell(view.age)) + " · " + rate(view.rate)

/** A line through values from 0, in a box, and the area below it. */
const lineThrough = (values, slots, box, least) => {
  const most = Math.max(least, ...values)
  const step = box.width / Math.max(1, slots - 1)
  const from = slots - values.length
  const points = values.map((value, i) => [box.x + (from + i) * step, box.y + box.height * (1 - value / most)])
  const line = points.map(([x, y], i) => (i === 0 ? "M" : "L") + x.toFixed(1) + " " + y.toFixed(1)).join("")
  const bottom = box.y + box.height
  const area = points.length < 2 ? "" : line + "L" + points.at(-1)[0].toFixed(1) + " " + bottom + "L" + points[0][0].toFixed(1) + " " + bottom + "Z"
  return { line, area, most }
}

let drawn = new Map()
let edgesTo = []
/** Where each node is: in columns on a wide screen, as a tree of rows on a phone. */
const placesOf = (graph) => {
  const places = new Map()
  const { across, down, height } = card
  if (!narrow.matches) {
    for (const node of graph.nodes) {
      places.set(node.id, { x: node.layer * (card.width + across) + 2, y: node.row * (height + down) + 2, width: card.width })
    }
    return { places, width: graph.layers * (card.width + across) - across + 4, height: graph.rows * (height + down) - down + 4 }
  }
  const full = byId("graph").clientWidth - 18
  const indent = Math.min(18, (full - 200) / Math.max(1, graph.layers))
  const next = new Map(graph.nodes.map((node) => [node.id, []]))
  const isBelow = new Set(graph.edges.map((edge) => edge.to))
  for (const edge of graph.edges) next.get(edge.from).push(edge.to)
  let rows = 0
  const visit = (id, depth) => {
    if (places.has(id)) return
    places.set(id, { x: depth * indent + 2, y: rows++ * (height + 12) + 2, width: full - depth * indent - 4 })
    for (const other of next.get(id)) visit(other, depth + 1)
  }
  for (const node of graph.nodes) if (!isBelow.has(node.id)) visit(node.id, 0)
  for (const node of graph.nodes) visit(node.id, 0)
  return { places, width: full, height: rows * (height + 12) }
}
const pathOf = (from, to) => {
  const middle = card.height / 2
  if (!narrow.matches) {
    const [x, y, ex, ey] = [from.x + from.width, from.y + middle, to.x, to.y + middle]
    // Many long bows would cover each other: they share a trunk.
    if (Math.abs(ey - y) > 5 * (card.height + card.down)) return "M" + x + " " + y + "H" + (ex - 24) + "V" + ey + "H" + ex
    const bend = Math.max(24, (ex - x) / 2)
    return "M" + x + " " + y + "C" + (x + bend) + " " + y + " " + (ex - bend) + " " + ey + " " + ex + " " + ey
  }
  const x = from.x + 7
  return "M" + x + " " + (from.y + card.height) + "V" + (to.y + middle) + "H" + to.x
}
const drawGraph = () => {
  const { graph } = state
  const focused = document.activeElement && document.activeElement.getAttribute("data-id")
  const { places, width, height } = placesOf(graph)
  const svg = draw("svg", { width, height, viewBox: "0 0 " + width + " " + height, role: "figure", "aria-label": "graph of sinks" })
  drawn = new Map()
  edgesTo = graph.edges.map((edge) => ({
    to: edge.to,
    element: draw("path", { class: "edge", d: pathOf(places.get(edge.from), places.get(edge.to)) }, svg),
    later: edge.acknowledges ? "" : " later"
  }))
  for (const node of graph.nodes) {
    const { x, y, width } = places.get(node.id)
    const element = draw("g", { class: "node", role: "button", tabindex: "0", "data-id": node.id, transform: "translate(" + x + " " + y + ")" }, svg)
    const title = draw("title", {}, element)
    draw("rect", { class: "box", width, height: card.height, rx: 9 }, element)
    const box = { x: 12, y: 68, width: width - 24, height: 18 }
    const area = draw("path", { class: "area" }, element)
    const spark = draw("path", { class: "spark" }, element)
    draw("path", { class: "mark", d: "M0 9A9 9 0 0 1 9 0H6V" + card.height + "H9A9 9 0 0 1 0 " + (card.height - 9) + "Z" }, element)
    const characters = Math.floor((width - 24) / 8.4)
    draw("text", { class: "kind", x: 12, y: 18 }, element).textContent = clip(node.kind, 20)
    draw("text", { class: "name", x: 12, y: 37 }, element).textContent = clipMiddle(node.name, characters)
    const figures = draw("text", { class: "figures", x: 12, y: 57 }, element)
    const flags = draw("text", { class: "flags", x: width - 12, y: 18, "text-anchor": "end" }, element)
    element.addEventListener("click", () => select(node.id))
    drawn.set(node.id, { element, title, figures, flags, spark, area, box, node, x, y, room: Math.floor((width - 36 - clip(node.kind, 20).length * 6.2) / 6.6) })
  }
  byId("graph").replaceChildren(svg)
  for (const node of graph.nodes) drawNode(node.id)
  drawSparks()
  if (focused && drawn.has(focused)) drawn.get(focused).element.focus()
}
const drawNode = (id) => {
  const view = state.views.get(id)
  const parts = drawn.get(id)
  if (!view || !parts) return
  const level = view.trouble ? view.trouble.level : ""
  const name = "node " + level + (state.selected === id ? " selected" : "") + (isFound(parts.node) ? " found" : "")
  setAttribute(parts.element, "class", name)
  setAttribute(parts.element, "aria-pressed", String(state.selected === id))
  const flags = flagsOf(view).join(" · ")
  setText(parts.figures, figuresOf(view))
  setText(parts.flags, clip(flags, Math.max(8, parts.room)))
  const why = view.trouble ? view.trouble.text : "all is well"
  setText(parts.title, labelOf(parts.node) + ": " + why)
  setAttribute(parts.element, "aria-label", labelOf(parts.node) + ", " + figuresOf(view) + (flags ? ", " + flags : "") + ": " + why)
}
const isFound = (node) => {
  const text = byId("find").value.trim().toLowerCase()
  return text !== "" && labelOf(node).toLowerCase().includes(text)
}
const markFound = () => {
  for (const id of drawn.keys()) drawNode(id)
  return state.graph.nodes.filter(isFound).map(({ id }) => id)
}
const drawEdges = () => {
  for (const { element, later, to } of edgesTo) {
    const view = state.views.get(to)
    setAttribute(element, "class", "edge" + later + (view && view.trouble && view.trouble.level === "bad" ? " bad" : ""))
  }
}
const drawSparks = () => {
  for (const [id, parts] of drawn) {
    const history = state.history.get(id)
    if (!history) continue
    const { area, line } = lineThrough(history.pending, Math.max(8, history.pending.length), parts.box, 5)
    setAttribute(parts.spark, "d", line)
    setAttribute(parts.area, "d", area)
  }
}
/** The arrows go to the nearest node in their direction. */
const step = (id, key) => {
  const from = drawn.get(id)
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key]
  let best
  let least = Infinity
  for (const to of drawn.values()) {
    const along = (to.x - from.x) * dx + (to.y - from.y) * dy
    const aside = Math.abs((to.x - from.x) * dy) + Math.abs((to.y - from.y) * dx)
    if (along <= 1 || along + 3 * aside >= least) continue
    least = along + 3 * aside
    best = to
  }
  if (best) best.element.focus()
}
byId("graph").addEventListener("keydown", (event) => {
  const id = event.target.getAttribute("data-id")
  if (!id) return
  if (event.key === "Enter" || event.key === " ") select(id)
  else if (event.key.startsWith("Arrow")) step(id, event.key)
  else return
  event.preventDefault()
})
`
