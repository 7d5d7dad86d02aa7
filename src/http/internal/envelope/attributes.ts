/** The context attributes of a CloudEvent, and the rules that sections 3 and 4 of CloudEvents 1.0.2 have for them. */
import * as Result from "effect/Result"
import { isMediaType } from "./mediaType.ts"
import { rfc3339 } from "./timestamp.ts"

/**
 * What CloudEvents 1.0.2 calls the context attributes of an event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attributes {
  readonly specversion: "1.0"
  /** With `source` it tells one event from all others: a repeated event has the same. */
  readonly id: string
  /** Where it happened: a URI-reference. */
  readonly source: string
  /** What happened, best with a reverse DNS name in front. */
  readonly type: string
  /** What it happened to, within the source. */
  readonly subject?: string | undefined
  /** When it happened: a timestamp of RFC 3339, kept as it came, since a `Date` loses what is below a millisecond. */
  readonly time?: string | undefined
  /** The schema that the data keeps to: an absolute URI. */
  readonly dataschema?: string | undefined
  /** The media type of the data. An event without one is sent with that of its kind of data. */
  readonly datacontenttype?: string | undefined
  /** What else is said of it. Names are of lower-case letters and digits, and none is an attribute's or `data`. */
  readonly extensions: Readonly<Record<string, Extension>>
}

/**
 * The value of an extension: text, a whole number of 32 bits, or a truth value.
 *
 * @category models
 * @since 0.1.0
 */
export type Extension = string | number | boolean

/** What an attribute must be, in the words of an error. */
export interface Rule {
  readonly expected: string
  readonly test: (value: unknown) => boolean
}

// Section 3.1.1: control characters, noncharacters and lone surrogates are disallowed.
const disallowed = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u
const isText = (value: unknown): value is string => typeof value === "string" && !disallowed.test(value)

const matches =
  (...expressions: ReadonlyArray<RegExp>) =>
  (value: unknown): boolean =>
    typeof value === "string" && expressions.some((expression) => expression.test(value))

// RFC 3986, appendix A. What stands between the brackets of an IP literal is not looked at.
const unit = "[\\w.~!$&'()*+,;=-]|%[\\dA-Fa-f]{2}"
const pchar = `(?:${unit}|[:@])`
const authority = `//(?:(?:${unit}|:)*@)?(?:\\[[\\w.~!$&'()*+,;=:-]+\\]|(?:${unit})*)(?::\\d*)?(?:/${pchar}*)*`
const rest = `(?:\\?(?:${pchar}|[/?])*)?(?:#(?:${pchar}|[/?])*)?`
const absolute = `/(?:${pchar}+(?:/${pchar}*)*)?`
const uri = new RegExp(`^[A-Za-z][A-Za-z\\d+.-]*:(?:${authority}|${absolute}|(?:${pchar}+(?:/${pchar}*)*)?)${rest}$`)
const relative = new RegExp(`^(?:${authority}|${absolute}|(?:(?:${unit}|@)+(?:/${pchar}*)*)?)${rest}$`)

const text: Rule = { expected: "a non-empty string without control characters", test: (v) => isText(v) && v !== "" }
const isReference = matches(uri, relative)

/** By the names of the attributes, those that must be there first. */
export const rules = {
  specversion: { expected: '"1.0"', test: (value) => value === "1.0" },
  id: text,
  source: { expected: "a non-empty URI-reference", test: (value) => value !== "" && isReference(value) },
  type: text,
  subject: text,
  time: { expected: "an RFC 3339 timestamp", test: matches(rfc3339) },
  dataschema: { expected: "an absolute URI", test: matches(uri) },
  datacontenttype: {
    expected: "a media type",
    test: (value) => typeof value === "string" && isMediaType(value)
  }
} satisfies Record<string, Rule>

export type Name = keyof typeof rules

const required: ReadonlyArray<Name> = ["specversion", "id", "source", "type"]
const names: ReadonlySet<string> = new Set(Object.keys(rules))
const checks: ReadonlyArray<readonly [name: Name, rule: Rule, required: boolean]> = Object.entries(rules).map(
  // The keys of a literal are its names.
  ([name, rule]) => [name as Name, rule, required.includes(name as Name)]
)

/** The rule for the name of an extension (section 3, "Naming Conventions", and section 4 for what is reserved). */
export const extensionName: Rule = {
  expected: "the name of an extension, lower-case letters and digits",
  test: (name) => typeof name === "string" && /^[a-z\d]+$/.test(name) && name !== "data" && !names.has(name)
}

/** The rule for the value of an extension (section 3.1.1, "Type System"). */
export const extensionValue: Rule = {
  expected: "a string without control characters, a 32-bit integer or a boolean",
  test: (value) => typeof value === "boolean" || (typeof value === "number" ? (value | 0) === value : isText(value))
}

/** What is wrong with an attribute. */
export interface Fault {
  readonly name: string
  /** What was expected, or nothing when the attribute is missing. */
  readonly expected: string | undefined
  readonly extension: boolean
}

/** The first fault of an event that a program has made. */
export const faultOf = (event: Attributes): Fault | undefined => {
  for (const [name, rule, required] of checks) {
    const value: unknown = event[name]
    if (value === undefined) {
      if (required) return { name, expected: undefined, extension: false }
    } else if (!rule.test(value)) return { name, expected: rule.expected, extension: false }
  }
  for (const name of Object.keys(event.extensions)) {
    const rule = extensionName.test(name) ? extensionValue : extensionName
    if (rule === extensionName || !rule.test(event.extensions[name])) {
      return { name, expected: rule.expected, extension: true }
    }
  }
  return undefined
}

/** Attributes as they came, by their names. */
export const fromEntries = (
  entries: Iterable<readonly [name: string, value: unknown]>
): Result.Result<Attributes, Fault> => {
  const attributes: Record<string, unknown> = {}
  // Judged before it is written to: no name here is `__proto__`.
  const extensions: Record<string, unknown> = {}
  for (const [name, value] of entries) {
    if (names.has(name)) attributes[name] = value
    else if (extensionName.test(name)) extensions[name] = value
    else return Result.fail({ name, expected: extensionName.expected, extension: true })
  }
  // What the rules are about to judge.
  const event = { ...attributes, extensions } as unknown as Attributes
  const fault = faultOf(event)
  return fault === undefined ? Result.succeed(event) : Result.fail(fault)
}

/** The attributes and extensions that are there, without `datacontenttype`, side by side as they are on the wire. */
export const flat = (event: Attributes): Record<string, Extension> => {
  const flat: Record<string, Extension> = {}
  for (const [name] of checks) {
    const value = event[name]
    if (value !== undefined && name !== "datacontenttype") flat[name] = value
  }
  return Object.assign(flat, event.extensions)
}
