/** The patterns that match a topic. */
export const patternsOf = (topic: string): ReadonlyArray<string> =>
  topic === "" ? ["*"] : ["*", topic, ...[...topic.matchAll(/\//g)].map(({ index }) => `${topic.slice(0, index)}/*`)]
