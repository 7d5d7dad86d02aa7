/**
 * The patterns that match a topic: `*`, `a/*` of one that begins with `a/`, and its own name. They are looked up, so that the
 * cost of a topic is that of its parts and its matches, however many other patterns there are.
 */
export const patternsOf = (topic: string): ReadonlyArray<string> => {
  const patterns = new Set(["*"])
  for (let at = topic.indexOf("/"); at >= 0; at = topic.indexOf("/", at + 1)) patterns.add(`${topic.slice(0, at)}/*`)
  if (topic !== "") patterns.add(topic)
  return [...patterns]
}
