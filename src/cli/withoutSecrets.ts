/** The passwords in the arguments and in the environment, which no output has. */

const hidden = "***"

/** Texts with every part of a URL of Postgres that is, or may be, its password replaced. */
export interface Scrubber {
  /** For what the program itself or a server says: it quotes no argument. */
  readonly passwords: (text: string) => string
  /** For what quotes arguments: a shell may have cut a URL at a blank of its password. */
  readonly args: (text: string) => string
}

export const withoutSecrets = (args: ReadonlyArray<string>, environment: string | undefined): Scrubber => {
  const given = [...args, ...(environment === undefined ? [] : [environment])]
  const passwords = given.flatMap(passwordsOf)
  const cut = args.findIndex((arg) => /postgres(ql)?:/i.test(arg) && !arg.includes("@"))
  const quoted = args.filter((arg, at) => /@|postgres(ql)?:/i.test(arg) || (cut >= 0 && at > cut))
  return { passwords: replacing(passwords), args: replacing(quoted.flatMap(partsOf)) }
}

// internals

/** The longest first: one may be within another. */
const replacing = (secrets: ReadonlyArray<string>) => {
  const all = [...new Set(secrets)]
    .filter((secret) => secret !== "")
    .toSorted((one, other) => other.length - one.length)
  return (text: string): string => all.reduce((rest, secret) => rest.replaceAll(secret, hidden), text)
}

/** An argument as a whole, and without the name of its flag. */
const partsOf = (arg: string): ReadonlyArray<string> => {
  const value = arg.replace(/^--?[\w-]+=/, "")
  return [arg, value, JSON.stringify(value).slice(1, -1)]
}

/** As it is written and as it is meant: before the last `@`, and in parameters such as `password` and `sslpassword`. */
const passwordsOf = (text: string): ReadonlyArray<string> => {
  if (!/postgres(ql)?:/i.test(text)) return []
  const [, user] = /:\/\/[^:@/]*:(.*)@/s.exec(text) ?? []
  const parameters = [...text.matchAll(/[?&][^=&]*pass[^=&]*=([^&]*)/gi)].map(([, value]) => value)
  return [user, ...parameters].flatMap((value) => (value === undefined ? [] : [value, decoded(value)]))
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
