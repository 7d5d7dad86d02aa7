/** The part of the page's script for the panel of a node: its figures, its history, its controls and its dead letters. */
export const scriptOfControls = String.raw`
let panel
const nodeOf = (id) => state.graph && state.graph.nodes.find((node) => node.id === id)
const messageOf = (error) => error && error.message ? error.message : String(error)

/** A button that says what became of what it does. */
const action = (text, run, className) => {
  const button = make("button", { type: "button", class: className }, text)
  button.addEventListener("click", async () => {
    button.disabled = true
    panel.said.className = "quiet"
    setText(panel.said, "")
    try {
      await run()
    } catch (error) {
      panel.said.className = "failed"
      setText(panel.said, messageOf(error))
    }
    button.disabled = false
    // A button that is disabled loses the focus.
    if (document.activeElement === document.body) button.focus()
  })
  return button
}
const confirmed = (question, yes) => new Promise((resolve) => {
  const dialog = byId("confirm")
  setText(byId("confirm-text"), question)
  setText(byId("confirm-yes"), yes)
  dialog.returnValue = ""
  dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true })
  dialog.showModal()
})

const figureNames = [
  ["pending", "waiting"], ["age", "oldest"], ["rate", "delivered"], ["inFlight", "in flight"], ["breaker", "breaker"], ["lease", "lease"],
  ["accepted", "accepted"], ["delivered", "delivered in all"], ["filtered", "filtered"], ["dropped", "dropped"],
  ["deadLetters", "dead letters"], ["deadLettered", "dead-lettered"], ["undelivered", "undelivered"]
]
const figureOf = (view, key) => {
  if (key === "age") return view.age === null ? "–" : spell(view.age)
  if (key === "rate") return rate(view.rate)
  // A pause releases the lease.
  if (key === "lease" && view.lease === "standby" && view.control && view.control.state !== "active") return "released"
  if (key === "breaker" || key === "lease") return view[key]
  if (key === "deadLetters") return view.deadLetters === null ? null : count(view.deadLetters)
  // Where they cannot be listed.
  if (key === "deadLettered" && (view.deadLetters !== null || view.counts.deadLettered === 0)) return null
  return count(key in view ? view[key] : view.counts[key])
}

const closePanel = () => {
  const id = state.selected
  panel?.stopTap?.()
  state.selected = undefined
  panel = undefined
  byId("panel").hidden = true
  byId("main").classList.remove("open")
  document.body.classList.remove("open")
  if (!narrow.matches) drawGraph()
  if (id && drawn.has(id)) {
    drawNode(id)
    drawn.get(id).element.focus()
  }
}
const select = (id) => {
  if (!nodeOf(id)) return
  const before = state.selected
  const wasOpen = !byId("panel").hidden
  state.selected = id
  byId("main").classList.add("open")
  document.body.classList.add("open")
  openPanel(id)
  if (!wasOpen && !narrow.matches) drawGraph()
  if (before && before !== id) drawNode(before)
  drawNode(id)
  panel.close.focus()
  drawn.get(id)?.element.scrollIntoView({ block: "nearest", inline: "nearest" })
}

const openPanel = (id) => {
  panel?.stopTap?.()
  const node = nodeOf(id)
  const offers = (offer) => node.offers.includes(offer)
  const changes = state.graph.changes
  const post = (path, body) => ask("/api/nodes/" + encodeURIComponent(id) + path, { body: body ?? {} })
  const close = make("button", { type: "button", "aria-label": "Close", on: { click: closePanel } }, "Close")
  const figures = new Map(figureNames.map(([key, name]) => [key, { box: make("div", {}, make("dt", {}, name), make("dd")), key }]))
  const chart = (name) => {
    const svg = draw("svg", { viewBox: "0 0 400 64", preserveAspectRatio: "none", "aria-hidden": "true" })
    const label = make("span", {}, name)
    const parts = { name, label, area: draw("path", { class: "area" }, svg), line: draw("path", { class: "spark", "vector-effect": "non-scaling-stroke" }, svg), most: make("span") }
    return { ...parts, box: make("div", { class: "chart" }, make("p", {}, label, parts.most), svg) }
  }
  panel = {
    id, node, close,
    why: make("p", { class: "why" }),
    figures,
    said: make("p", { class: "quiet", role: "status" }),
    error: make("p", { class: "error-text" }),
    depth: chart("waiting"), speed: chart("delivered"),
    jobs: make("div", { class: "jobs", "aria-live": "polite" }),
    jobRows: new Map()
  }
  const controls = make("div", { class: "actions" })
  if (changes && offers("pause")) {
    const reason = make("input", { maxlength: "200", placeholder: "why, for the others", "aria-label": "Reason of the pause" })
    panel.pause = make("div", { class: "actions" }, reason, action("Pause delivery", async () => {
      await post("/pause", reason.value === "" ? {} : { reason: reason.value })
      await poll()
      setText(panel.said, "Paused.")
    }))
    reason.addEventListener("keydown", (event) => { if (event.key === "Enter") panel.pause.querySelector("button").click() })
  }
  if (changes && offers("resume")) {
    panel.resume = action("Resume delivery", async () => { await post("/resume"); await poll(); setText(panel.said, "Resumed.") }, "primary")
    controls.append(panel.resume)
  }
  if (changes && offers("disable")) {
    panel.disable = action("Disable", async () => {
      if (!(await confirmed("Disable " + node.name + "? What waits and what comes goes to where the application has it go then.", "Disable"))) return
      await post("/disable")
      await poll()
      setText(panel.said, "Disabled.")
    }, "danger")
    controls.append(panel.disable)
  }
  if (changes && offers("enable")) {
    panel.enable = action("Enable", async () => { await post("/enable"); await poll(); setText(panel.said, "Enabled.") }, "primary")
    controls.append(panel.enable)
  }
  const parts = [
    make("div", { class: "top" }, make("div", {}, make("h2", { id: "panel-name" }, node.name), make("p", { class: "kind" }, node.kind)), close),
    panel.why, panel.pause, controls, panel.said,
    make("dl", { class: "figures-list" }, ...Array.from(figures.values(), ({ box }) => box)),
    panel.depth.box, panel.speed.box,
    panel.error
  ]
  if (offers("attempts")) parts.push(attemptsOf(id))
  if (node.taps.length > 0) parts.push(tapOf(id, node))
  if (offers("deadLetters")) parts.push(deadLettersOf(id, node, post, changes))
  byId("panel").replaceChildren(...parts.filter((part) => part !== undefined))
  byId("panel").hidden = false
  byId("panel").scrollTop = 0
  showPanel()
  showHistory()
}

const showPanel = () => {
  const view = panel && state.views.get(panel.id)
  if (!view) return
  const level = view.trouble ? view.trouble.level : "good"
  setAttribute(panel.why, "class", "why " + level)
  setText(panel.why, view.trouble ? view.trouble.text : "All is well.")
  for (const { box, key } of panel.figures.values()) {
    const text = figureOf(view, key)
    box.hidden = text === null
    if (text !== null) setText(box.lastChild, text)
  }
  const control = view.control ? view.control.state : "active"
  if (panel.pause) panel.pause.hidden = control !== "active"
  if (panel.resume) panel.resume.hidden = control === "active"
  if (panel.disable) panel.disable.hidden = control === "disabled"
  if (panel.enable) panel.enable.hidden = control !== "disabled"
  const ago = view.errorAt === null ? "" : ", " + spell(state.at - view.errorAt) + " ago"
  setText(panel.error, view.error === null ? "" : "Last error" + ago + ": " + view.error)
  showJobs(view)
}
const showHistory = async () => {
  const shown = panel
  if (!shown) return
  const { nodes: [found] } = await ask("/api/history?seconds=5&id=" + encodeURIComponent(shown.id))
  if (shown !== panel || !found) return
  for (const [{ area, label, line, most, name }, values, text] of [[shown.depth, found.pending, count], [shown.speed, found.rate, rate]]) {
    const path = lineThrough(values, Math.max(24, values.length), { x: 0, y: 3, width: 400, height: 58 }, 1)
    setAttribute(line, "d", path.line)
    setAttribute(area, "d", path.area)
    setText(label, name + ", last " + spell(Math.max(24, values.length) * 5000))
    setText(most, "at most " + text(Math.max(0, ...values)))
  }
}
const jobRow = (job) => {
  const isReplay = job.action === "replay"
  if (job.state !== "running") return { element: make("p", { class: job.state === "failed" ? "job failed" : "job", tabindex: "-1" }) }
  const text = make("p")
  const bar = make("progress", { max: "1", "aria-label": isReplay ? "Replaying" : "Purging" })
  const cancel = action(isReplay ? "Cancel the replay" : "Cancel the purge", async () => {
    const now = await ask("/api/jobs/" + encodeURIComponent(job.id) + "/cancel", { body: {} })
    state.jobs = state.jobs.map((one) => one.id === now.id ? now : one)
    await poll()
    panel?.jobRows.get(job.id)?.element.focus()
  })
  return { element: make("div", { class: "job running" }, text, bar, state.graph.changes ? cancel : undefined), text, bar }
}
const textOfJob = (job) => {
  const [doing, done] = job.action === "replay" ? ["Replaying", "Replayed"] : ["Purging", "Purged"]
  const of = job.selected === null ? "" : " of " + whole.format(job.selected)
  const more = job.error === null ? "" : ": " + job.error
  if (job.state === "failed") return doing + " failed after " + whole.format(job.done) + of + more
  if (job.state === "cancelled") return "Cancelled. " + done + " " + whole.format(job.done) + of + (more || ".")
  if (job.state === "done") return done + " " + whole.format(job.done) + "."
  return doing + " " + whole.format(job.done) + of
}
const showJobs = (view) => {
  const jobs = state.jobs.filter((job) => job.node === panel.id)
  const rows = new Map()
  for (const job of jobs.slice(-3)) {
    let row = panel.jobRows.get(job.id)
    if (!row || row.state !== job.state) {
      const fresh = jobRow(job)
      if (row) row.element.replaceWith(fresh.element)
      else panel.jobs.append(fresh.element)
      row = { ...fresh, state: job.state }
    }
    setText(row.text ?? row.element, textOfJob(job))
    if (row.bar && job.selected) {
      setAttribute(row.bar, "max", String(job.selected))
      setAttribute(row.bar, "value", String(job.done))
    }
    rows.set(job.id, row)
  }
  for (const [id, { element }] of panel.jobRows) if (!rows.has(id)) element.remove()
  panel.jobRows = rows
  const over = jobs.filter((job) => job.state !== "running").length
  if (panel.reload && (over !== panel.over || view.deadLetters !== panel.seen)) {
    panel.over = over
    panel.seen = view.deadLetters
    panel.reload()
  }
}

const deadLettersOf = (id, node, post, changes) => {
  const reasons = ["", "Failed", "Died", "Undecodable", "Exhausted", "Expired", "Disabled"]
  const reason = make("select", {}, ...reasons.map((value) => make("option", { value }, value === "" ? "any" : value)))
  const cause = make("input", { type: "search", placeholder: "503" })
  const topic = make("input", { type: "search", placeholder: "order/*" })
  const matching = make("p", { class: "quiet", role: "status" })
  const list = make("ul", { class: "entries" })
  const more = action("Show more", () => load(true))
  const filterOf = () => Object.fromEntries(
    [["reason", reason.value], ["cause", cause.value], ["topic", topic.value]].filter(([, value]) => value !== "")
  )
  let last
  let matched = 0
  let turn = 0
  const load = async (isMore) => {
    const mine = ++turn
    const query = new URLSearchParams(filterOf())
    if (isMore && last) {
      query.set("afterPosition", last.position)
      query.set("afterTime", last.deadLetteredAt)
    }
    query.set("limit", "20")
    const page = await ask("/api/nodes/" + encodeURIComponent(id) + "/dead-letters?" + query)
    if (mine !== turn) return
    matched = page.matching
    last = page.deadLetters.at(-1) ?? last
    const rows = page.deadLetters.map(rowOf)
    if (isMore) list.append(...rows)
    else list.replaceChildren(...rows)
    more.hidden = list.childElementCount >= matched || rows.length === 0
    setText(matching, matched === 0 ? "None." : whole.format(matched) + (matched === 1 ? " matches." : " match."))
    for (const [button, verb] of all) {
      setText(button, matched === 0 ? verb : verb + " " + whole.format(matched))
      button.disabled = matched === 0
    }
  }
  const reload = () => load(false).catch((error) => setText(matching, messageOf(error)))
  const run = async (path, selection) => {
    const job = await post("/dead-letters/" + path, selection)
    state.jobs = [...state.jobs.filter((one) => one.id !== job.id), job]
    await poll()
  }
  const rowOf = (letter) => {
    const text = make("pre", { hidden: true })
    const buttons = make("div", { class: "actions" })
    if (state.graph.content) {
      const show = make("button", { type: "button", class: "link", "aria-expanded": "false" }, "Show payload")
      show.addEventListener("click", async () => {
        text.hidden = !text.hidden
        show.setAttribute("aria-expanded", String(!text.hidden))
        setText(show, text.hidden ? "Show payload" : "Hide payload")
        if (text.hidden || text.textContent !== "") return
        try {
          const found = await ask("/api/nodes/" + encodeURIComponent(id) + "/dead-letters/" + letter.position)
          setText(text, found.text ?? "")
        } catch (error) {
          setText(text, messageOf(error))
        }
      })
      buttons.append(show)
    }
    if (changes) buttons.append(action("Replay", () => run("replay", { positions: [letter.position] }), "link"))
    return make("li", {},
      make("div", { class: "head" }, make("span", { class: "reason" }, letter.reason), make("span", {}, new Date(letter.deadLetteredAt).toLocaleString())),
      make("div", { class: "quiet" }, [letter.topic, letter.attempts === 1 ? "1 attempt" : letter.attempts + " attempts", whole.format(letter.bytes) + " bytes"].filter((part) => part !== "").join(" · ")),
      make("div", { class: "cause" }, letter.cause),
      buttons, text)
  }
  const replay = action("Replay all", () => run("replay", { filter: filterOf() }), "primary")
  const purge = action("Purge all", async () => {
    const which = whole.format(matched) + (matched === 1 ? " dead letter" : " dead letters")
    if (await confirmed("Delete " + which + " of " + node.name + " for good?", "Delete " + whole.format(matched))) await run("purge", { filter: filterOf() })
  }, "danger")
  const all = [[replay, "Replay"], [purge, "Purge"]]
  let waiting
  for (const field of [reason, cause, topic]) {
    field.addEventListener("input", () => {
      clearTimeout(waiting)
      waiting = setTimeout(reload, 250)
    })
  }
  panel.reload = reload
  return make("section", { "aria-label": "Dead letters" },
    make("h3", {}, "Dead letters"),
    make("div", { class: "filter" },
      make("label", {}, "Reason", reason), make("label", {}, "Topic", topic), make("label", { class: "wide" }, "Cause contains", cause)),
    changes ? make("div", { class: "actions" }, replay, purge) : undefined,
    panel.jobs, matching, list, make("div", { class: "actions" }, more))
}
`
