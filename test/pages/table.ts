/** The generated table of a page, between two comments. */
const generated = /(<!-- generated: npm run pages -->\n)[\s\S]*?(\n<!-- end -->)/

export const withTable = (page: string, table: string): string => {
  if (!generated.test(page)) throw new Error("the page has no place for its table")
  return page.replace(generated, (_, before: string, after: string) => `${before}\n${table}\n${after}`)
}

/** The cells of the rows of the generated table, without its head. */
export const rowsOf = (page: string): ReadonlyArray<ReadonlyArray<string>> => {
  const [table = ""] = generated.exec(page) ?? []
  return cellsOf(table).slice(2)
}

/** The cells of every row of every table. */
export const cellsOf = (page: string): ReadonlyArray<ReadonlyArray<string>> =>
  page
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim())
    )
