// @vitest-environment node
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { firstLoad, largest } from './budget.js';
import { takeInventory } from './inventory.js';
import { noticeOf, packageFolder } from './licences.js';

let folder;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'desk-'))));
afterEach(() => rmSync(folder, { recursive: true }));

describe('the inventory', () => {
  it('names every file below the folder but itself, in order', () => {
    mkdirSync(join(folder, 'assets'));
    writeFileSync(join(folder, 'index.html'), 'page');
    writeFileSync(join(folder, 'assets', 'a.js'), 'code');
    writeFileSync(join(folder, 'ui.json'), 'old');
    const { version, sha256 } = takeInventory(folder, '1.2.3');
    expect(version).toBe('1.2.3');
    expect(Object.keys(sha256)).toEqual(['assets/a.js', 'index.html']);
    expect(sha256['index.html']).toBe(createHash('sha256').update('page').digest('hex'));
  });
});

describe('the budget', () => {
  it('counts what the page names and the largest language, and nothing that is loaded later', () => {
    mkdirSync(join(folder, 'assets'));
    const noise = (n) =>
      Array.from({ length: n }, (_, i) => createHash('sha256').update(String(i)).digest('hex')).join('');
    const html = '<script src="/assets/index-x.js"></script><link href="/assets/index-x.css">';
    const files = {
      'index-x.js': 200,
      'index-x.css': 0,
      'de-x_y.js': 50,
      'fr-x.js': 100,
      'Device-x.js': 900,
    };
    writeFileSync(join(folder, 'index.html'), html);
    for (const [name, n] of Object.entries(files)) writeFileSync(join(folder, 'assets', name), noise(n));
    const load = firstLoad(folder);
    expect(Object.keys(load.languages).sort()).toEqual(['de', 'fr']);
    expect(load.base).toBeGreaterThan(6);
    expect(load.base).toBeLessThan(10);
    expect(largest(load)).toBeCloseTo(load.base + load.languages.fr, 1);
  });
});

describe('the licences', () => {
  it('find the package of a module', () => {
    expect(packageFolder('/x/node_modules/@scope/a/dist/i.js')).toBe('/x/node_modules/@scope/a');
    expect(packageFolder('\0/x/node_modules/a/node_modules/b/i.js')).toBe('/x/node_modules/a/node_modules/b');
    expect(packageFolder('/x/src/main.ts')).toBeUndefined();
  });

  it('carry name, version, licence and the notice itself', () => {
    writeFileSync(join(folder, 'package.json'), '{"name":"a","version":"1.0.0","license":"MIT"}');
    writeFileSync(join(folder, 'LICENSE.md'), 'Permission is granted');
    expect(noticeOf(folder)).toBe('a 1.0.0 (MIT)\n\nPermission is granted\n');
  });

  it('stop the build at a package without a notice', () => {
    writeFileSync(join(folder, 'package.json'), '{"name":"a","version":"1.0.0"}');
    expect(() => noticeOf(folder)).toThrow('a has no licence file');
  });
});
