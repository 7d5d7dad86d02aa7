/** Small changes to a source file, by its syntax tree. Types, comments, templates and texts of errors and logs stay. */
import { parseAst } from "rolldown/parseAst"
import type { ESTree } from "rolldown/utils"

type Node = ESTree.Node

export interface Mutant {
  readonly kind: string
  readonly start: number
  readonly end: number
  readonly replacement: string
  /** Line and column, and the text of the lines that change. */
  readonly at: string
  readonly line: number
  readonly before: string
  readonly after: string
}

type Edit = readonly [kind: string, start: number, end: number, replacement: string]

const pairs = "=== !==,< <=,> >=,+ -,* /,&& ||,++ --,+= -=,0 1,true false,min max"
const swapped = new Map(
  pairs.split(",").flatMap((pair) => {
    const [one, other] = pair.split(" ") as [string, string] // each pair has its space
    return [
      [one, other],
      [other, one]
    ]
  })
)
/** Functions of `Effect` that add to their first argument. */
const twoFold = /^(andThen|catch\w*|ensuring|forkIn|on(Error|Exit|Interrupt)|provide\w*|tap\w*|timeout\w*)$/
const oneFold = /^(un)?interruptible$/

/** `[object, name, arguments]` of a call `object.name(…)`. */
const methodCall = (node: Node) => {
  if (node.type !== "CallExpression" || node.callee.type !== "MemberExpression") return []
  const { object, property } = node.callee
  return object.type === "Identifier" && property.type === "Identifier"
    ? ([object.name, property, node.arguments] as const)
    : []
}

/** `Effect.log…(…)`, `new SomeError(…)` and templates: their texts are not judged. */
const isText = (node: Node): boolean => {
  const [object, method] = methodCall(node)
  if (object === "Effect") return method?.name.startsWith("log") ?? false
  if (node.type === "NewExpression") return node.callee.type === "Identifier" && node.callee.name.endsWith("Error")
  return node.type === "TemplateLiteral" || (node.type === "Literal" && typeof node.value === "string")
}

const isLastOfFunction = (node: Node, [block, holder]: ReadonlyArray<Node>): boolean =>
  block?.type === "BlockStatement" && block.body.at(-1) === node && (holder?.type.includes("Function") ?? false)

/** `parents` from the nearest on. */
const editsOf = (node: Node, parents: ReadonlyArray<Node>, text: string): ReadonlyArray<Edit> => {
  const [parent] = parents as [Node, ...Array<Node>] // only the program has none, and is no node to edit
  const of = ({ end, start }: Node) => text.slice(start, end)
  const put = (kind: string, { end, start }: Node, replacement: string): Edit => [kind, start, end, replacement]
  const token = (kind: string, from: number, old: string, replacement: string): Edit => {
    const start = text.indexOf(old, from)
    return [kind, start, start + old.length, replacement]
  }
  const swap = (from: number, operator: string): ReadonlyArray<Edit> => {
    const other = swapped.get(operator)
    return other === undefined ? [] : [token("operator", from, operator, other)]
  }
  // Its negation is a mutant already.
  const isCondition = "test" in parent && parent.test === node
  switch (node.type) {
    case "IfStatement":
    case "ConditionalExpression":
    case "WhileStatement":
    case "DoWhileStatement":
    case "ForStatement":
      return node.test === null ? [] : [put("condition", node.test, `!(${of(node.test)})`)]
    case "LogicalExpression":
      if (node.operator !== "??") return swap(node.left.end, node.operator)
      return [put("left of ??", node, of(node.left)), put("right of ??", node, of(node.right))]
    case "BinaryExpression":
      if (isCondition && node.operator.endsWith("==")) return []
      return node.operator === "+" && (isText(node.left) || isText(node.right))
        ? []
        : swap(node.left.end, node.operator)
    case "AssignmentExpression":
      return swap(node.left.end, node.operator)
    case "UpdateExpression":
      return swap(node.prefix ? node.start : node.argument.end, node.operator)
    case "UnaryExpression":
      return node.operator === "!" && !isCondition ? [put("condition", node, of(node.argument))] : []
    case "Literal": {
      const other = "key" in parent && parent.key === node ? undefined : swapped.get(of(node))
      return other === undefined ? [] : [put("constant", node, other)]
    }
    case "ExpressionStatement":
      return [put("statement", node, ";")]
    case "ReturnStatement":
      return [
        ...(node.argument === null ? [] : [put("result", node, "return undefined")]),
        ...(isLastOfFunction(node, parents) ? [] : [put("early return", node, ";")])
      ]
    case "ArrowFunctionExpression":
      return node.body.type === "BlockStatement" ? [] : [put("result", node.body, "undefined")]
    case "ChainExpression":
      return node.expression.type === "CallExpression" ? [put("optional", node, "undefined")] : []
    case "MemberExpression":
      return node.optional ? [token("optional", node.object.end, "?.", node.computed ? "" : ".")] : []
    case "CallExpression": {
      if (node.optional) return [token("optional", node.callee.end, "?.", "")]
      const [object, method, [first, second] = []] = methodCall(node)
      if (object === "Math") return swap(method!.start, method!.name)
      if (object !== "Effect" || first === undefined) return []
      if (oneFold.test(method!.name)) return [put("step", node, of(first))]
      if (!twoFold.test(method!.name)) return []
      if (second === undefined) return [put("step", node, "((self) => self)")]
      const isSequence = method!.name === "andThen" && !second.type.includes("Function")
      return [put("step", node, of(first)), ...(isSequence ? [put("step", node, of(second))] : [])]
    }
    default:
      return []
  }
}

const typeKeys = new Set(
  "implements returnType superTypeArguments typeAnnotation typeArguments typeParameters".split(" ")
)
const isType = ({ type }: Node) => type.startsWith("TS") && !/^TS(As|NonNull|Satisfies)Expression$/.test(type)

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && "type" in value && "start" in value

const oneLine = (text: string): string => {
  const line = text.trim().replaceAll(/\s+/g, " ")
  return line.length > 160 ? `${line.slice(0, 159)}…` : line
}

/** In the order of the text. */
export const mutantsOf = (text: string, path: string): ReadonlyArray<Mutant> => {
  const edits: Array<Edit> = []
  const visit = (node: Node, parents: ReadonlyArray<Node>): void => {
    if (isType(node) || node.type === "ImportDeclaration") return
    edits.push(...editsOf(node, parents, text))
    if (isText(node)) return
    for (const [key, value] of Object.entries(node)) {
      if (typeKeys.has(key)) continue
      for (const child of [value].flat()) if (isNode(child)) visit(child, [node, ...parents])
    }
  }
  const program = parseAst(text, { lang: "ts" }, path)
  for (const statement of program.body) visit(statement, [program])

  const distinct = new Map<string, Mutant>()
  for (const [kind, start, end, replacement] of edits) {
    const outcome = text.slice(0, start) + replacement + text.slice(end)
    if (outcome === text || distinct.has(outcome)) continue
    const from = text.lastIndexOf("\n", start - 1) + 1
    const to = text.indexOf("\n", end)
    const line = text.slice(0, start).split("\n").length
    const after = text.slice(from, start) + replacement + text.slice(end, to)
    const lines = { before: oneLine(text.slice(from, to)), after: oneLine(after) }
    distinct.set(outcome, { kind, start, end, replacement, line, at: `${line}:${start - from + 1}`, ...lines })
  }
  return [...distinct.values()].toSorted((a, b) => a.start - b.start || a.end - b.end)
}
