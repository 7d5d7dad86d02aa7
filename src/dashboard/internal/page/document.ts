/** The page as one document. Nothing is written into it: what it shows comes from the API, as text. */
import { scriptOfControls } from "./scriptOfControls.ts"
import { scriptOfEvents } from "./scriptOfEvents.ts"
import { scriptOfGraph } from "./scriptOfGraph.ts"
import { scriptOfPage } from "./scriptOfPage.ts"
import { style } from "./style.ts"

export { style }

export const script = `"use strict";\n(() => {\n${scriptOfGraph}${scriptOfControls}${scriptOfEvents}${scriptOfPage}})()\n`

export const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sinks</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
<a class="skip" href="#troubles">Skip to what needs attention</a>
<header>
  <h1 id="title">Sinks</h1>
  <p id="summary" role="status" aria-live="polite"></p>
  <p id="connection">connecting</p>
</header>
<noscript><p class="notice">This page needs JavaScript: it reads an API that is beside it.</p></noscript>
<form id="token" class="notice" hidden>
  <p id="token-why">This dashboard asks for a token.</p>
  <label>Token <input id="token-input" type="password" autocomplete="off" spellcheck="false"></label>
  <button type="submit" class="primary">Open</button>
</form>
<main id="main" hidden>
  <div id="overview">
    <section id="troubles" aria-labelledby="troubles-title" tabindex="-1">
      <h2 id="troubles-title">Needs attention</h2>
      <ul id="trouble-list"></ul>
    </section>
    <section aria-labelledby="graph-title">
      <div class="bar">
      <h2 id="graph-title">Graph</h2>
      <input id="find" type="search" placeholder="Find a sink" aria-label="Find a sink" hidden>
      <p id="legend"><span class="solid">before a write ends</span><span class="dashed">after that</span></p>
      </div>
      <div id="graph" tabindex="-1"></div>
    </section>
  </div>
  <aside id="panel" aria-labelledby="panel-name" hidden></aside>
</main>
<dialog id="confirm" aria-labelledby="confirm-text">
  <form method="dialog">
    <p id="confirm-text"></p>
    <div class="actions">
      <button value="no" type="submit">Cancel</button>
      <button value="yes" type="submit" class="danger" id="confirm-yes"></button>
    </div>
  </form>
</dialog>
<script>${script}</script>
</body>
</html>
`
