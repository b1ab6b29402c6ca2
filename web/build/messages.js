// The words in the sources against the catalogues: what is missing, what is left over, and bare English in the markup.
// `npm run messages` prints it; `npm run messages -- --write` sorts the catalogues and drops what no page needs.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse } from 'svelte/compiler';

const SOURCES = new URL('../src/', import.meta.url);
const CATALOGUES = new URL('../src/lib/i18n/', import.meta.url);
export const LANGUAGES = ['de', 'fr', 'es'];

const TEXT = /\p{L}{2,}/u;
/** Names and units: the same in every language. */
const SAME = /^(· Bedside|Bedside|SHA-256|HTTP|API|JWKS|FHIR|HL7|QR|TOML|ms|kB|B|UTC)$/;
const SAID_BY = new Set([
  'aria-label',
  'aria-description',
  'title',
  'placeholder',
  'alt',
  'label',
  'does',
  'what',
  'note',
  'help',
  'roles',
]);

/** Every source a person may read from: paths below src. */
export const sources = () =>
  readdirSync(SOURCES, { recursive: true })
    .map((name) => name.replaceAll('\\', '/'))
    .filter(
      (name) =>
        /\.(svelte|ts)$/.test(name) && !/\.(test|fixture)\.ts$/.test(name) && !name.startsWith('lib/i18n/'),
    )
    .sort();

export const read = (name) => readFileSync(new URL(name, SOURCES), 'utf8');

function tree(name, source) {
  return parse(name.endsWith('.ts') ? `<script lang="ts">${source}</script>` : source, { modern: true });
}

function each(node, see, up = []) {
  if (Array.isArray(node)) return node.forEach((one) => each(one, see, up));
  if (!node || typeof node !== 'object') return;
  if (typeof node.type === 'string') see(node, up);
  const inner = typeof node.type === 'string' ? [...up, node] : up;
  for (const [key, value] of Object.entries(node)) if (key !== 'loc') each(value, see, inner);
}

const literal = (node) =>
  node?.type === 'Literal' && typeof node.value === 'string' ? node.value : undefined;

/** The texts one source asks the catalogues for; of a plural its second form, which is the key, with both. */
export function messagesIn(name, source) {
  const found = new Map();
  const { instance, module, fragment } = tree(name, source);
  each([instance, module, fragment], (node) => {
    if (node.type !== 'CallExpression' || node.callee.type !== 'Identifier') return;
    const { name: called } = node.callee;
    if (called !== 't' && called !== 'm' && called !== 'plural') return;
    const at = called === 'plural' ? 2 : 0;
    const text = literal(node.arguments[at]);
    if (text !== undefined)
      found.set(text, called === 'plural' ? [literal(node.arguments[1]), text] : [text]);
  });
  return found;
}

/** English that stands in the markup of a page instead of in the catalogue. */
export function bareIn(name, source) {
  if (!name.endsWith('.svelte')) return [];
  const found = [];
  const bare = (text) => TEXT.test(text) && !SAME.test(text.trim());
  each(tree(name, source).fragment, (node, up) => {
    const attribute = up.findLast(({ type }) => type === 'Attribute');
    if (node.type === 'Text' && bare(node.data)) {
      const inStyle = up.some((one) => one.type === 'StyleSheet');
      const exempt = up.some(
        (one) =>
          one.type === 'RegularElement' &&
          (one.name === 'code' || one.attributes.some((a) => a.name === 'translate')),
      );
      if (inStyle || (attribute ? !SAID_BY.has(attribute.name) : exempt)) return;
      if (attribute?.name === 'placeholder' && !/^(?!https?:|\/).*([a-z]{2,}[ .…]|^[a-z]+$)/i.test(node.data))
        return;
      found.push(node.data.trim());
    }
    if (
      node.type === 'Literal' &&
      typeof node.value === 'string' &&
      up.some(({ type }) => type === 'ExpressionTag')
    ) {
      const call = up.findLast(({ type }) => type === 'CallExpression');
      if (call && call.arguments.includes(node)) return;
      if (attribute && !SAID_BY.has(attribute.name)) return;
      if (/[a-z]{2,}/.test(node.value) && /\s/.test(node.value.trim()) && bare(node.value))
        found.push(node.value);
    }
  });
  return found;
}

export const catalogue = (language) =>
  JSON.parse(readFileSync(new URL(`${language}.json`, CATALOGUES), 'utf8'));

export function wanted() {
  const all = new Map();
  for (const name of sources())
    for (const [text, forms] of messagesIn(name, read(name))) all.set(text, forms);
  return all;
}

/** What one language lacks and what it has too much. */
export function compared(language, texts = wanted()) {
  const said = catalogue(language);
  return {
    missing: [...texts.keys()].filter((text) => !(text in said)),
    unused: Object.keys(said).filter((text) => !texts.has(text)),
  };
}

function write(language, texts) {
  const kept = Object.entries(catalogue(language)).filter(([text]) => texts.has(text));
  const sorted = Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(new URL(`${language}.json`, CATALOGUES), `${JSON.stringify(sorted, null, 2)}\n`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const texts = wanted();
  if (process.argv.includes('--write')) for (const language of LANGUAGES) write(language, texts);
  let faults = 0;
  for (const language of LANGUAGES) {
    const { missing, unused } = compared(language, texts);
    faults += missing.length + unused.length;
    for (const text of missing) console.log(`${language} lacks: ${JSON.stringify(text)}`);
    for (const text of unused) console.log(`${language} no longer needs: ${JSON.stringify(text)}`);
  }
  for (const name of sources())
    for (const text of bareIn(name, read(name)))
      ((faults += 1), console.log(`${name}: not in the catalogue: ${JSON.stringify(text)}`));
  console.log(`${texts.size} texts in ${fileURLToPath(SOURCES)}, ${faults} faults`);
  process.exitCode = faults > 0 ? 1 : 0;
}
