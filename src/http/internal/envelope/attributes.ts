/** The context attributes of a CloudEvent, and the rules that sections 3 and 4 of CloudEvents 1.0.2 have for them. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import type { Path } from "../../../internal/encoding/envelopeError.ts"
import { isMediaType } from "./mediaType.ts"
import { rfc3339 } from "./rfc3339.ts"

/** Text that keeps to a rule. Its error has the rule for a value of another type, too. */
const rule = (expected: string, test: (value: string) => boolean) =>
  Schema.String.annotate({ message: `Expected ${expected}` }).check(Schema.makeFilter(test, { expected }))

const optional = (expected: string, test: (value: string) => boolean) =>
  Schema.optional(rule(expected, test)).annotate({ message: `Expected ${expected}` })

const required = { messageMissingKey: "Missing attribute" }

// Section 3.1.1: control characters, noncharacters and lone surrogates are disallowed.
export const disallowed = "[\\p{Cc}\\p{Cs}\\p{Noncharacter_Code_Point}]"
const isDisallowed = new RegExp(disallowed, "u")
const isPlain = (value: string): boolean => !isDisallowed.test(value)

// RFC 3986, appendix A. The address between the brackets of an IP literal is not checked.
const unit = "[\\w.~!$&'()*+,;=-]|%[\\dA-Fa-f]{2}"
const pchar = `(?:${unit}|[:@])`
const authority = `//(?:(?:${unit}|:)*@)?(?:\\[[\\w.~!$&'()*+,;=:-]+\\]|(?:${unit})*)(?::\\d*)?(?:/${pchar}*)*`
const rest = `(?:\\?(?:${pchar}|[/?])*)?(?:#(?:${pchar}|[/?])*)?`
const absolute = `/(?:${pchar}+(?:/${pchar}*)*)?`
const uri = new RegExp(`^[A-Za-z][A-Za-z\\d+.-]*:(?:${authority}|${absolute}|(?:${pchar}+(?:/${pchar}*)*)?)${rest}$`)
const relative = new RegExp(`^(?:${authority}|${absolute}|(?:(?:${unit}|@)+(?:/${pchar}*)*)?)${rest}$`)

/** Whether it is a URI-reference, as RFC 3986 has it, and not empty. */
export const isUriReference = (value: string): boolean => value !== "" && (uri.test(value) || relative.test(value))

const text = ["a non-empty string without control characters", (v: string) => v !== "" && isPlain(v)] as const

/** The value of an extension (section 3.1.1, "Type System"). */
const extension = "a string without control characters, a 32-bit integer or a boolean"
const ExtensionValue = Schema.Union([
  rule(extension, isPlain),
  Schema.Number.check(Schema.makeFilter((value) => (value | 0) === value, { expected: extension })),
  Schema.Boolean
]).annotate({ message: `Expected ${extension}` })

/** The schema of the attributes, the required ones first. */
export const AttributesSchema = Schema.Struct({
  specversion: Schema.Literal("1.0").annotateKey(required),
  /** Unique within its `source`: a redelivery has the same. */
  id: rule(...text).annotateKey(required),
  /** The place of the occurrence: a URI-reference. */
  source: rule("a non-empty URI-reference", isUriReference).annotateKey(required),
  /** The kind of the occurrence, best with a reverse DNS name in front. */
  type: rule(...text).annotateKey(required),
  /** The object of the occurrence, within the source. */
  subject: optional(...text),
  /** The time of the occurrence: a timestamp of RFC 3339, as it came, since a `Date` loses all below a millisecond. */
  time: optional("an RFC 3339 timestamp", (value) => rfc3339.test(value)),
  /** The schema that the data keeps to: an absolute URI. */
  dataschema: optional("an absolute URI", (value) => uri.test(value)),
  /** The media type of the data. An event without one is sent with that of its kind of data. */
  datacontenttype: optional("a media type", isMediaType),
  /** Further attributes. Names are of lower-case letters and digits, and none is an attribute's or `data`. */
  extensions: Schema.Record(Schema.String, ExtensionValue).check(
    Schema.makeFilter((extensions) => {
      const name = Object.keys(extensions).find((name) => !isExtension(name))
      const issue = "Expected the name of an extension, lower-case letters and digits"
      return name === undefined || { path: [name], issue }
    })
  )
})

/**
 * What CloudEvents 1.0.2 calls the context attributes of an event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attributes extends Schema.Schema.Type<typeof AttributesSchema> {}

/**
 * The value of an extension: text, a whole number of 32 bits, or a boolean.
 *
 * @category models
 * @since 0.1.0
 */
export type Extension = typeof ExtensionValue.Type

/** The attributes of an event that keeps to the rules, or a message with the place that `where` makes of a path. */
export const attributesOf = (event: unknown, where: (path: Path) => string): Result.Result<Attributes, string> =>
  Result.mapError(parse(event), (issue) => {
    // The parser stops at the first issue.
    const { message, path = [] } = format(issue).issues[0]!
    return message + where(path.map((step) => (typeof step === "object" ? step.key : step)))
  })

/** Attributes from the wire, where extensions stand among them. */
export const fromEntries = (
  entries: ReadonlyArray<readonly [name: string, value: unknown]>,
  where: (name: string) => string
): Result.Result<Attributes, string> => {
  const event: Record<string, unknown> = {}
  const extensions: Array<readonly [string, unknown]> = []
  for (const [name, value] of entries) {
    if (names.has(name)) event[name] = value
    else extensions.push([name, value])
  }
  // Defines each name, so that `__proto__` is one like any other.
  event["extensions"] = Object.fromEntries(extensions)
  return attributesOf(event, (path) => where(String(path.at(-1))))
}

/** Whether a value keeps to the rule of its attribute, or of extensions when the name is that of one. */
export const isRight = (name: string, value: unknown): boolean => (rules.get(name) ?? isExtensionValue)(value)

/** Attributes as they stand on the wire, without `datacontenttype`. */
export const flat = ({
  datacontenttype: _,
  extensions,
  ...attributes
}: Attributes): Readonly<Record<string, Extension | undefined>> => ({ ...attributes, ...extensions })

// internals

const { extensions: _, ...fields } = AttributesSchema.fields
const names: ReadonlySet<string> = new Set(Object.keys(fields))
const isExtensionValue = SchemaParser.is(ExtensionValue)
const rules = new Map<string, (value: unknown) => boolean>(
  Object.entries(fields).map(([name, field]) => [name, SchemaParser.is<Schema.Constraint>(field)])
)

/** Section 3, "Naming Conventions", and section 4 for what is reserved. */
const isExtension = (name: string): boolean => /^[a-z\d]+$/.test(name) && name !== "data" && !names.has(name)

const parse = SchemaParser.decodeUnknownResult(AttributesSchema)
const format = SchemaIssue.makeFormatterStandardSchemaV1()
