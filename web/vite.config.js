import { readFileSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { budget } from './build/budget.js';
import { inventory } from './build/inventory.js';
import { licences } from './build/licences.js';

const { version } = JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8'));

export default defineConfig({
  plugins: [svelte(), licences(), inventory(version), budget()],
  // Inlining would need `data:` in the content security policy for more than images.
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  // For work on the pages: `npm run mock` beside `npm run dev`.
  server: { proxy: { '/api': 'http://localhost:4180' } },
  // Without this, vitest would take Svelte's server build.
  resolve: process.env.VITEST ? { conditions: ['browser'] } : {},
  test: { environment: 'happy-dom', include: ['src/**/*.test.ts', 'build/**/*.test.js'], restoreMocks: true },
});
