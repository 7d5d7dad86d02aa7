/** Which store a URL means. */
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { type CliFailure, misuse } from "./cliFailure.ts"

export type StoreUrl =
  | { readonly _tag: "Sqlite"; readonly filename: string }
  | { readonly _tag: "Postgres"; readonly url: Redacted.Redacted }

/** Says nothing of the URL itself, which may have a password. */
export const storeUrlOf = (text: string): Result.Result<StoreUrl, CliFailure> => {
  if (/^sqlite:/i.test(text)) {
    const filename = text.slice("sqlite:".length).replace(/^\/\//, "")
    return filename === "" || filename === ":memory:"
      ? Result.fail(misuse("the store has no file: write sqlite:FILE"))
      : Result.succeed({ _tag: "Sqlite", filename })
  }
  if (!/^postgres(ql)?:/i.test(text)) return Result.fail(misuse("the store is neither sqlite:FILE nor postgres:URL"))
  return postgresOf(text.replace(/^postgres(ql)?:(?=postgres(ql)?:)/i, ""))
}

// internals

const postgresOf = (text: string): Result.Result<StoreUrl, CliFailure> => {
  if (!URL.canParse(text) || !text.includes("://")) return Result.fail(misuse(notAUrl))
  const { hash, pathname, search } = new URL(text)
  // The rest of a password that has a `/`, a `?` or a `#`: its beginning would be the name of a host, which errors quote.
  if (hash !== "" || /@/.test(pathname + search)) return Result.fail(misuse(notAUrl))
  return Result.succeed({ _tag: "Postgres", url: Redacted.make(text) })
}

const notAUrl =
  "the store is no URL of Postgres: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, and in the password %40 for @, %2F for /, %3F for ? and %23 for #"
