// Writes dist/licences.txt: the notice of every npm package whose code is in the pages.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const NOTICE = /^(licen[cs]e|copying|notice)/i;

/** The folder of the npm package a module belongs to, or undefined for our own modules. */
export function packageFolder(moduleId) {
  return /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(
    moduleId.replace(/^\0/, '').replaceAll('\\', '/'),
  )?.[1];
}

/** One package's name, version, licence and notice texts. A package without a notice stops the build. */
export function noticeOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const texts = readdirSync(folder).filter((file) => NOTICE.test(file));
  if (texts.length === 0) throw new Error(`${name} has no licence file: it cannot be shipped`);
  const body = texts.map((file) => readFileSync(join(folder, file), 'utf8').trim()).join('\n\n');
  return `${name} ${version} (${license})\n\n${body}\n`;
}

export function licences() {
  return {
    name: 'bedside-licences',
    apply: 'build',
    generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
      const folders = new Set(modules.map(packageFolder).filter((folder) => folder && existsSync(folder)));
      const notices = [...folders].sort().map(noticeOf);
      const head = 'The pages of this desk contain code of these packages.\n';
      this.emitFile({
        type: 'asset',
        fileName: 'licences.txt',
        source: [head, ...notices].join(`\n${'-'.repeat(80)}\n\n`),
      });
    },
  };
}
