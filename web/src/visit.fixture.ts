// A visit to the desk in a test: opens a page over a stubbed gateway, and does what a user does.

import { flushSync, mount, unmount } from 'svelte';
import { vi } from 'vitest';
import App from './App.svelte';
import { LiveStream, gateway, type Routes } from './gateway.fixture';
import { go } from './lib/router.svelte';
import { sessionEnded } from './lib/session.svelte';

let app: Record<string, unknown> | undefined;

export async function settle(): Promise<void> {
  for (let turn = 0; turn < 25; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    flushSync();
  }
}

/** Pages are loaded when they are opened, so the first look may take a while. */
export async function open(path: string, routes: Routes) {
  vi.stubGlobal('scrollTo', () => undefined);
  localStorage.setItem('bedside.session', '1');
  const asked = gateway({ 'GET /live': () => new LiveStream().response, ...routes });
  go(path);
  app = mount(App, { target: document.body });
  await vi.waitFor(
    async () => {
      await settle();
      if (!document.querySelector('h1')) throw new Error('still loading');
    },
    { timeout: 15_000 },
  );
  await settle();
  return asked;
}

export async function leave(): Promise<void> {
  if (app) await unmount(app);
  app = undefined;
  sessionEnded();
  localStorage.clear();
  sessionStorage.clear();
  document.body.replaceChildren();
  vi.unstubAllGlobals();
}

export const text = (within: Element = document.body) => within.textContent.replace(/\s+/g, ' ');

export const one = <T extends Element = HTMLElement>(selector: string): T => {
  const found = document.querySelector<T>(selector);
  if (!found) throw new Error(`no ${selector} in ${text()}`);
  return found;
};

export const button = (name: string, within: ParentNode = document): HTMLButtonElement => {
  const found = [...within.querySelectorAll('button')].find(({ textContent }) =>
    textContent.trim().startsWith(name),
  );
  if (!found) throw new Error(`no button “${name}” in ${text()}`);
  return found;
};

export async function press(what: HTMLElement): Promise<void> {
  what.click();
  await settle();
}

export async function type(selector: string, value: string): Promise<void> {
  const input = one<HTMLInputElement>(selector);
  input.value = value;
  input.dispatchEvent(new Event('input', { bubbles: true }));
  await settle();
}

/** Keys as a scanner sends them: at once, with Enter at their end. A field takes them, if there is one. */
export async function scan(code: string, into?: string): Promise<void> {
  const target = into ? one<HTMLInputElement>(into) : document.body;
  const strike = (key: string) =>
    target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  for (const key of code) {
    strike(key);
    if (target instanceof HTMLInputElement) {
      target.value += key;
      target.dispatchEvent(new Event('input', { bubbles: true }));
    }
  }
  strike('Enter');
  await settle();
}
