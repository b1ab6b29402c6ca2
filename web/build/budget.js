// How much a browser loads before the first page works, and that it stays small enough: the largest language counts.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** kB (1000 bytes), gzipped. */
export const FIRST_LOAD_MAX_KB = 200;

const kB = (bytes) => Math.round(gzipSync(bytes, { level: 9 }).length / 100) / 10;

/** Page, script and style sheet that `index.html` names, and each language beside them, in kB gzipped. */
export function firstLoad(folder) {
  const page = readFileSync(join(folder, 'index.html'), 'utf8');
  const named = [...page.matchAll(/(?:src|href)="\/?(assets\/[^"]+)"/g)].map(([, path]) => path);
  const base = ['index.html', ...named].reduce((sum, path) => sum + kB(readFileSync(join(folder, path))), 0);
  const languages = readdirSync(join(folder, 'assets')).flatMap((name) => {
    const tag = /^([a-z]{2})-[\w-]+\.js$/.exec(name)?.[1];
    return tag ? [[tag, kB(readFileSync(join(folder, 'assets', name)))]] : [];
  });
  return { base: Math.round(base * 10) / 10, languages: Object.fromEntries(languages) };
}

export const largest = ({ base, languages }) =>
  Math.round((base + Math.max(0, ...Object.values(languages))) * 10) / 10;

/** Stops the build that has grown too large. */
export const budget = () => ({
  name: 'bedside-budget',
  apply: 'build',
  writeBundle({ dir }) {
    const load = firstLoad(dir);
    const words = Object.entries(load.languages).map(([tag, size]) => `${tag} ${size}`);
    this.info(
      `first load ${load.base} kB gzipped, and one of ${words.join(', ')} kB: ${largest(load)} of ${FIRST_LOAD_MAX_KB} kB`,
    );
    if (largest(load) > FIRST_LOAD_MAX_KB)
      this.error(`The first load is ${largest(load)} kB, more than ${FIRST_LOAD_MAX_KB} kB.`);
  },
});
