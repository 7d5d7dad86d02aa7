/**
 * The attributes of a lenient decoder: what the rules refuse is mended where its meaning is plain, or left out, so that the
 * event keeps to the rules afterwards. `CloudEvent.Options` has the table. A required attribute that cannot be mended is
 * left for the rules to refuse: two events with one id that was made up would pass for duplicates, and one would be lost.
 */
import * as Json from "../../../internal/encoding/json.ts"
import * as Rules from "./attributes.ts"

type Entry = readonly [name: string, value: unknown]
type Mend = (value: unknown) => unknown

/** The entries of an event by their right names; `data` and `data_base64` among them as they are. */
export const mendAttributes = (entries: ReadonlyArray<Entry>): ReadonlyArray<Entry> =>
  [...ofVersion1(byName(entries))].flatMap(([name, value]): ReadonlyArray<Entry> => {
    if (name === "data" || name === "data_base64" || Rules.isRight(name, value)) return [[name, value]]
    const right = (menders.get(name) ?? extension)(value)
    return required.has(name) || Rules.isRight(name, right) ? [[name, right]] : []
  })

// internals

const required: ReadonlySet<string> = new Set(["specversion", "id", "source", "type"])

const isName = (name: string): boolean => /^(?:[a-z\d]+|data_base64)$/.test(name)

/** Of two entries for one name that which has the name as it is counts, and otherwise the first. */
const byName = (entries: ReadonlyArray<Entry>): Map<string, unknown> => {
  const there = entries.filter(([name, value]) => value !== null || name === "data")
  const event = new Map(there.filter(([name]) => isName(name)))
  for (const [given, value] of there) {
    const name = given.toLowerCase().replaceAll(/[^a-z\d]/g, "")
    if (!isName(given) && name !== "" && !event.has(name)) event.set(name, value)
  }
  if (event.get("data") === null && event.has("data_base64")) event.delete("data")
  return event
}

/** The names that version 0.3 has for the same, in its JSON format. */
const ofVersion1 = (event: Map<string, unknown>): Map<string, unknown> => {
  if (event.get("specversion") !== "0.3") return event
  const rename = (from: string, to: string) => {
    if (event.has(from)) event.set(to, event.get(from))
    event.delete(from)
  }
  rename("schemaurl", "dataschema")
  if (event.has("data") && event.get("datacontentencoding") === "base64") {
    rename("data", "data_base64")
    event.delete("datacontentencoding")
  }
  return event
}

/** Text that attributes may have: characters that they may not have are percent-encoded, so that no two texts become one. */
const text: Mend = (value) => {
  if (typeof value === "object" && !Json.isRaw(value)) return value
  const text = typeof value === "string" ? value : JSON.stringify(value)
  return text.toWellFormed().replaceAll(disallowed, encodeURIComponent)
}
const disallowed = new RegExp(Rules.disallowed, "gu")

/** A number as in binary mode, an object as JSON. */
const extension: Mend = (value) => text(typeof value === "object" ? JSON.stringify(value) : value)

const uri: Mend = (value) => {
  const reference = text(value)
  return typeof reference === "string" ? reference.replaceAll(outsideOfUri, encodeURIComponent) : reference
}
// RFC 3986, section 2.
const outsideOfUri = /%(?![\dA-Fa-f]{2})|[^\w.~!$&'()*+,;=:@/?#[\]%-]/gu

/** What is no URI-reference then, such as an address with a port, becomes the path of one (RFC 3986, section 3.3). */
const source: Mend = (value) => {
  const reference = uri(value)
  return typeof reference !== "string" || Rules.isUriReference(reference)
    ? reference
    : reference.replaceAll(/[:@?#[\]]/g, encodeURIComponent)
}

/** Times as ISO 8601 and Go write them. Without a zone a time is in UTC. */
const time: Mend = (value) => {
  const form = forms.exec(String(value))
  if (form === null) return undefined
  const [, date, time, seconds = ":00", fraction = "", hours, minutes = "00"] = form
  const zone = hours === undefined ? "Z" : `${hours}:${minutes}`
  return `${date}T${time}${seconds}${fraction.replace(",", ".")}${zone}`
}
const forms = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?([.,]\d+)? ?(?:Z|z|UTC|GMT|([+-]\d\d):?(\d\d)?(?: [A-Z]+)?)?$/

const menders: ReadonlyMap<string, Mend> = new Map([
  ["specversion", (value: unknown) => (/^(?:1(?:\.0(?:\.\d+)?)?|0\.3)$/.test(String(value)) ? "1.0" : value)],
  ["id", text],
  ["source", source],
  ["type", text],
  ["subject", text],
  ["time", time],
  ["dataschema", uri],
  ["datacontenttype", text]
])
