import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll, describe, expect, it } from "vitest"
import { folder, makeReference, type Reference } from "../reference/pages.ts"
import { root } from "../support/fences.ts"

describe("the reference", () => {
  let reference: Reference
  beforeAll(async () => {
    reference = await makeReference()
  }, 240_000)

  it("is that of these declarations: npm run reference writes it", () => {
    const committed = globSync("**/*", { cwd: join(root, folder) }).toSorted()
    expect(committed).toEqual([...reference.pages.keys()].toSorted())
    const stale = committed.filter(
      (name) => readFileSync(join(root, folder, name), "utf8") !== reference.pages.get(name)
    )
    expect(stale).toEqual([])
  })

  it("has a sentence for every public item", () => {
    expect(reference.undocumented).toEqual([])
  })

  it("links to headings that there are, once each", () => {
    const anchorsOf = (page: string): ReadonlyArray<string> =>
      [...(reference.pages.get(page) ?? "").matchAll(/^## (.*)$/gm)].map(([, heading = ""]) =>
        heading.toLowerCase().replaceAll(/[()]/g, "").replaceAll(" ", "-")
      )
    const wrong = [...reference.pages].flatMap(([page, text]) => {
      const anchors = anchorsOf(page)
      const links = [...text.matchAll(/^\| \[\w+\]\((.*?)#(.*?)\) /gm)]
      return [
        ...anchors.filter((anchor, at) => anchors.indexOf(anchor) !== at).map((anchor) => `${page}: two of ${anchor}`),
        ...links
          .filter(
            ([, file, anchor = ""]) => !anchorsOf(file === undefined || file === "" ? page : file).includes(anchor)
          )
          .map(([link]) => `${page}: ${link}`)
      ]
    })
    expect(wrong).toEqual([])
  })
})
