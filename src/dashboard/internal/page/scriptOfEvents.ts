/** The part of the page's script for what passes a node: the last attempts of an endpoint, and the tap of its next events. */
export const scriptOfEvents = String.raw`
const clockFormat = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 })
const clockTime = (at) => clockFormat.format(new Date(at))
const took = (millis) => millis < 1000 ? millis + " ms" : spell(millis)
const batchOf = (n) => n === 1 ? "" : " · " + whole.format(n) + " events"

const attemptsOf = (id) => {
  const list = make("ul", { class: "log", tabindex: "0", "aria-label": "Last attempts" })
  const said = make("p", { class: "quiet", role: "status" }, "None yet.")
  const title = make("h3", {}, "Last attempts")
  let newest
  panel.loadAttempts = async () => {
    try {
      const { attempts } = await ask("/api/nodes/" + encodeURIComponent(id) + "/attempts")
      const key = JSON.stringify(attempts[0])
      if (key === newest && said.textContent === "") return
      newest = key
      setText(said, attempts.length === 0 ? "None yet." : "")
      setText(title, attempts.length < 2 ? "Last attempts" : "Last " + attempts.length + " attempts")
      list.replaceChildren(...attempts.map((one) => make("li", { class: one.error === null ? "good" : "bad" },
        make("span", { class: "what" }, (one.error === null ? "✓ " : "✕ ") + one.outcome),
        make("span", {}, took(one.duration) + batchOf(one.events)),
        make("time", {}, clockTime(one.at)),
        one.error === null || one.error === "status " + one.outcome ? undefined : make("span", { class: "wide" }, one.error))))
      list.hidden = attempts.length === 0
    } catch (error) {
      setText(said, messageOf(error))
    }
  }
  list.hidden = true
  panel.loadAttempts()
  return make("section", { "aria-label": "Attempts" }, title, said, list)
}

const kindNames = { accepted: "accepted", delivered: "delivered", dropped: "dropped", deadLettered: "dead-lettered" }
const kindMarks = { accepted: "+ ", delivered: "✓ ", dropped: "✕ ", deadLettered: "✕ " }
const listed = new Intl.ListFormat("en", { type: "disjunction" })
const tapOf = (id, node) => {
  const many = make("select", { "aria-label": "How many events" }, ...["20", "100", "500"].map((n) => make("option", { value: n }, n)))
  const list = make("ul", { class: "log tapped", tabindex: "0", hidden: true, "aria-label": "Events that passed, the newest first" })
  const said = make("p", { class: "quiet", role: "status" }, "What is " + listed.format(node.taps.map((kind) => kindNames[kind])) + " from now on.")
  const button = make("button", { type: "button" }, "Show the next events")
  let tap
  const rowOf = (one) => {
    const what = make("span", { class: "what" }, kindMarks[one.what] + kindNames[one.what])
    return { one, what, n: 1, element: make("li", { class: one.what === "dropped" || one.what === "deadLettered" ? "bad" : "good" },
      what, make("span", {}, one.reason ?? ""), make("time", {}, clockTime(one.at)),
      one.text === undefined ? undefined : make("pre", {}, one.text)) }
  }
  const stop = () => {
    tap?.abort()
    tap = undefined
    setText(button, "Show the next events")
    many.disabled = false
  }
  const start = async () => {
    const mine = tap = new AbortController()
    const wanted = Number(many.value)
    const counts = new Map(node.taps.map((kind) => [kind, 0]))
    let seen = 0
    let last
    const tell = (state) => {
      const found = Array.from(counts).filter(([, n]) => n > 0).map(([kind, n]) => n + " " + kindNames[kind]).join(", ")
      setText(said, seen + " of " + wanted + (found === "" ? "" : ": " + found) + (state ? ". " + state : ""))
    }
    list.replaceChildren()
    list.hidden = true
    many.disabled = true
    setText(button, "Stop")
    said.className = "quiet"
    setText(said, "Opening.")
    try {
      await follow("/api/nodes/" + encodeURIComponent(id) + "/tap?events=" + wanted, mine.signal, (values) => {
        for (const one of values) {
          if (one.what === "waiting") continue
          seen++
          counts.set(one.what, counts.get(one.what) + 1)
          // What differs in nothing that is shown is one row.
          if (last && one.text === undefined && last.one.what === one.what && last.one.reason === one.reason && last.one.at === one.at) {
            setText(last.what, kindMarks[one.what] + kindNames[one.what] + " × " + whole.format(++last.n))
            continue
          }
          last = rowOf(one)
          list.prepend(last.element)
        }
        if (list.hidden && seen > 0) {
          list.hidden = false
          list.scrollIntoView({ block: "nearest" })
        }
        tell(seen < wanted ? "Waiting." : "")
      })
      tell(seen < wanted ? "It has ended after 10 minutes." : "That is all.")
    } catch (error) {
      if (mine.signal.aborted) tell("Stopped.")
      else {
        said.className = "failed"
        setText(said, messageOf(error))
      }
    }
    if (mine === tap) stop()
  }
  button.addEventListener("click", () => { if (tap) stop(); else start() })
  panel.stopTap = stop
  return make("section", { "aria-label": "Tap" }, make("h3", {}, "Next events"),
    make("div", { class: "actions tap" }, many, button), said, list)
}
`
