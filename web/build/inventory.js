// Writes dist/ui.json, so that a running gateway can prove which pages it carries.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

const NAME = 'ui.json';

/** `{version, sha256: {path: hex}}` of every file below `folder`, paths sorted and with `/`. */
export function takeInventory(folder, version) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => [relative(folder, file).split(sep).join('/'), file])
    .filter(([path]) => path !== NAME)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const sha256 = files.map(([path, file]) => [
    path,
    createHash('sha256').update(readFileSync(file)).digest('hex'),
  ]);
  return { version, sha256: Object.fromEntries(sha256) };
}

export function inventory(version) {
  let folder;
  return {
    name: 'bedside-inventory',
    apply: 'build',
    configResolved(config) {
      folder = join(config.root, config.build.outDir);
    },
    // After every file, the ones copied from public/ too, is on the disk.
    closeBundle: {
      order: 'post',
      handler() {
        writeFileSync(join(folder, NAME), JSON.stringify(takeInventory(folder, version), null, 2) + '\n');
      },
    },
  };
}
