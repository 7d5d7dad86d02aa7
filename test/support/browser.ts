/** Debian's Chromium, driven from outside. */
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { chromium, type Page } from "playwright-core"
import { later } from "./relay.ts"

const executablePath = "/usr/bin/chromium"

/** Why there is none, if that is so. */
export const noBrowser = existsSync(executablePath) ? undefined : `${executablePath} is missing`

export interface Opened {
  readonly page: Page
  /** What the page has complained of: refused scripts, errors, requests that failed. */
  readonly complaints: Array<string>
  /** The hosts that it has sent requests to. */
  readonly hosts: ReadonlySet<string>
}

/** Opens an empty page in a browser with an empty profile. */
export const openBrowser = async (): Promise<Opened> => {
  const profile = mkdtempSync(join(tmpdir(), "chromium-"))
  later(() => rmSync(profile, { recursive: true, force: true, maxRetries: 5 }))
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
  })
  later(() => context.close())
  const page = context.pages()[0] ?? (await context.newPage())
  const complaints: Array<string> = []
  const hosts = new Set<string>()
  page.on("pageerror", ({ message }) => complaints.push(message))
  page.on("console", (line) => {
    if (line.type() === "error" || line.type() === "warning") complaints.push(line.text())
  })
  page.on("request", (request) => hosts.add(new URL(request.url()).host))
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  return { page, complaints, hosts }
}
