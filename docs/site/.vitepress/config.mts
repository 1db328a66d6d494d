// SPDX-License-Identifier: Apache-2.0
//
// The documentation as a site: README.md and docs/*.md as they are, rendered by VitePress. The build fails on
// a link that leads nowhere. See CONTRIBUTING.md.
import { readFileSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitepress'

const repository = 'https://github.com/kernelfold/kernelfold'
const root = posix.join(dirname(fileURLToPath(import.meta.url)), '../../..')

// The side bar has the groups and the order of the list "Documentation" in the README.
function sidebar() {
  const groups: { text: string, items: { text: string, link: string }[] }[] = []
  const list = readFileSync(root + '/README.md', 'utf8').split('\n## Documentation\n')[1]
  for (const line of list.split('\n')) {
    const links = [...line.matchAll(/\[([^\]]+)\]\(([\w/-]+)\.md\)/g)]
    if (line.startsWith('- ')) {
      for (const [, text, link] of links.slice(0, line.startsWith('- [') ? undefined : 0)) {
        groups.at(-1)!.items.push({ text: text[0].toUpperCase() + text.slice(1), link: '/' + link })
      }
    } else if (/^\w[\w ]+$/.test(line)) {
      groups.push({ text: line, items: [] })
    }
  }
  return groups
}

export default defineConfig({
  title: 'Kernelfold',
  description: 'Convolution kernels on manifolds, for Gorgonia',
  base: process.env.BASE ?? '/',
  srcDir: '../..',
  srcExclude: ['**/testdata/**', '**/node_modules/**', '.github/**'],
  rewrites: { 'README.md': 'index.md' },
  outDir: './.vitepress/dist',
  // Lines of 80 characters, such as the tables that programs print, fit into the column of the text.
  head: [['style', {}, ".vp-doc [class*='language-'] code { font-size: 13px }"]],
  // The pages lie outside of this folder, where Vue is installed.
  vite: { resolve: { alias: [{ find: /^vue(?=$|\/)/, replacement: root + '/docs/site/node_modules/vue' }] } },
  themeConfig: {
    sidebar: sidebar(),
    outline: [2, 3],
    search: { provider: 'local' },
    socialLinks: [{ icon: 'github', link: repository }],
    editLink: { pattern: repository + '/edit/main/:path' },
  },
  markdown: {
    // Anchors as on GitHub.
    anchor: { slugify: title => title.trim().toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-') },
    // Blocks that are indented look as those between fences. Links to files that are no pages lead to the repository.
    config(md) {
      md.core.ruler.push('files', state => {
        for (const block of state.tokens) {
          if (block.type === 'code_block') {
            Object.assign(block, { type: 'fence', info: 'text', markup: '```' })
          }
          for (const token of block.children ?? []) {
            const href = token.type === 'link_open' ? token.attrGet('href')! : ''
            if (href && !/^[a-z]+:|^#|\.md(#|$)/.test(href)) {
              const path = posix.normalize(posix.join(posix.dirname(state.env.relativePath), href))
              token.attrSet('href', `${repository}/blob/main/${path}`)
            }
          }
        }
      })
    },
  },
})
