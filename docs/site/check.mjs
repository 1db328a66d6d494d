// SPDX-License-Identifier: Apache-2.0
//
// Checks the built site: every link within it leads to a page, and to a heading of it, every picture is there, and the
// index of the search has every page.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const site = join(import.meta.dirname, '.vitepress/dist')
const pages = readdirSync(site, { recursive: true }).filter(f => f.endsWith('.html') && f !== '404.html')
const text = new Map(pages.map(p => [p, readFileSync(join(site, p), 'utf8')]))
const faults = []
let links = 0
for (const [page, html] of text) {
  for (const [, kind, target] of html.matchAll(/\s(href|src)="([^"]*)"/g)) {
    const url = new URL(target, 'http://site/' + page)
    if (url.host !== 'site') continue
    links++
    const path = decodeURI(url.pathname).replace(/\/$/, '/index.html').slice(1)
    if (!existsSync(join(site, path))) {
      faults.push(`${page}: ${kind} ${target}: no such file`)
    } else if (url.hash && !text.get(path)?.includes(`id="${decodeURIComponent(url.hash.slice(1))}"`)) {
      faults.push(`${page}: ${kind} ${target}: no such heading`)
    }
  }
}
const chunks = join(site, 'assets/chunks')
const index = readdirSync(chunks).filter(f => f.startsWith('@localSearchIndex')).map(f => readFileSync(join(chunks, f), 'utf8')).join()
for (const page of pages) {
  if (!index.includes('/' + page.replace(/index\.html$/, ''))) faults.push(`${page}: the search does not know it`)
}
if (pages.length < 20 || links < 1000) faults.push(`want a whole site, got ${pages.length} pages and ${links} links`)
for (const fault of faults) console.error(fault)
console.log(`${pages.length} pages, ${links} links, ${faults.length} faults`)
process.exit(faults.length ? 1 : 0)
