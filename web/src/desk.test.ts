// The pages as a user meets them, over a stubbed gateway.

import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import App from './App.svelte';
import {
  DEVICE,
  ENTRY,
  HOSTILE,
  LiveStream,
  OVERVIEW,
  SETUP,
  gateway,
  refusal,
  type Routes,
} from './gateway.fixture';
import { go } from './lib/router.svelte';
import { sessionEnded } from './lib/session.svelte';

let app: Record<string, unknown> | undefined;

async function settle(): Promise<void> {
  for (let turn = 0; turn < 12; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    flushSync();
  }
}

async function open(path: string, routes: Routes, loggedIn = true) {
  if (loggedIn) localStorage.setItem('bedside.session', '1');
  const asked = gateway(routes);
  go(path);
  app = mount(App, { target: document.body });
  await settle();
  return asked;
}

const text = () => document.body.textContent.replace(/\s+/g, ' ');
const one = <T extends Element = HTMLElement>(selector: string): T => {
  const found = document.querySelector<T>(selector);
  if (!found) throw new Error(`no ${selector} in ${text()}`);
  return found;
};
const button = (name: string, within: ParentNode = document): HTMLButtonElement => {
  const found = [...within.querySelectorAll('button')].find(({ textContent }) =>
    textContent.trim().startsWith(name),
  );
  if (!found) throw new Error(`no button “${name}”`);
  return found;
};
async function press(what: HTMLElement): Promise<void> {
  what.click();
  await settle();
}
function type(selector: string, value: string): void {
  const input = one<HTMLInputElement>(selector);
  input.value = value;
  input.dispatchEvent(new Event('input', { bubbles: true }));
}

beforeEach(() => {
  vi.stubGlobal('scrollTo', () => undefined);
});
afterEach(async () => {
  if (app) await unmount(app);
  app = undefined;
  sessionEnded();
  localStorage.clear();
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

describe('the set-up', () => {
  const needed = { ...SETUP, needed: true };

  it('shows the fingerprint and what to compare it with, and no session is asked for', async () => {
    const { asked } = await open('/', { 'GET /setup': needed }, false);
    expect([...document.querySelectorAll('.print span')].map((byte) => byte.textContent)).toEqual([
      'AA',
      'BB',
      'CC',
    ]);
    expect(text()).toContain('gateway’s console');
    expect(text()).toContain('Simulated data');
    expect(asked).toEqual(['GET /setup']);
  });

  it('sends nothing while a rule is not met, then sets up and opens the desk', async () => {
    const said: Record<string, string>[] = [];
    const finish = (body: Record<string, string>) => (said.push(body), { username: 'anna' });
    const { asked } = await open(
      '/',
      { 'GET /setup': needed, 'POST /setup': finish, 'GET /live': () => new LiveStream().response },
      false,
    );
    type('#code', ' AB-12 ');
    type('#username', 'anna');
    type('[name=password]', 'short');
    await press(button('Create'));
    expect(asked).toEqual(['GET /setup']);
    type('[name=password]', 'correct horse battery');
    await press(button('Create'));
    expect(said).toEqual([{ code: 'AB-12', username: 'anna', password: 'correct horse battery' }]);
    expect(one('h1').textContent).toBe(OVERVIEW.verdict);
  });

  it('gives way to the login when somebody else was faster', async () => {
    await open('/', { 'GET /setup': needed, 'POST /setup': () => refusal(410, 'Already set up') }, false);
    type('#code', 'X');
    type('#username', 'anna');
    type('[name=password]', 'correct horse battery');
    await press(button('Create'));
    expect(one('h1').textContent).toBe('Log in');
  });
});

describe('the login', () => {
  it('tells a refusal with what to do, and does not keep a session', async () => {
    await open('/', { 'POST /login': () => refusal(401, 'User name or password is wrong') }, false);
    type('#username', 'anna');
    type('[name=password]', 'x');
    await press(button('Log in'));
    expect(one('[role=alert]').textContent).toContain('Capital letters count.');
    expect(localStorage.getItem('bedside.session')).toBeNull();
  });

  it('comes back with the reason when a session ended', async () => {
    await open('/', { 'GET /live': () => new LiveStream().response });
    sessionEnded();
    await settle();
    expect(one('h1').textContent).toBe('Log in');
    expect(text()).toContain('Your session ended');
  });

  it('says so when the gateway does not answer at all, and tries again when asked', async () => {
    const { routes } = await open('/', { 'GET /setup': () => refusal(503, 'Starting') }, false);
    expect(one('[role=alert]').textContent).toContain('Starting');
    routes['GET /setup'] = SETUP;
    await press(button('Try again'));
    expect(one('h1').textContent).toBe('Log in');
  });
});

describe('the overview', () => {
  it('tells the verdict, and alarms by severity with the next step first', async () => {
    await open('/', { 'GET /live': () => new LiveStream().response });
    expect(one('h1').textContent).toBe(OVERVIEW.verdict);
    const notices = [...document.querySelectorAll('.notice')].map((notice) => notice.textContent.trim());
    expect(notices[0]).toMatch(/^Send the new key\.\s*Critical: The key is refused/);
    expect(notices[1]).toMatch(/^Make room\.\s*Warning: The disk fills/);
  });

  it('shows each value with unit and age, and an absent one as a word', async () => {
    await open('/', { 'GET /live': () => new LiveStream().response });
    const vitals = [...document.querySelectorAll('.vital')].map((vital) =>
      vital.textContent.replace(/\s+/g, ' '),
    );
    expect(vitals[0]).toMatch(/Heart rate ?72 \/min ?\d+ s ago/);
    expect(vitals[1]).toMatch(/Temperature ?37\.0 °C ?\d+ s ago ?Abnormal/);
    expect(vitals[2]).toMatch(/SpO2 ?Measuring error ?\d+ s ago/);
  });

  it('survives a device that says one metric twice', async () => {
    const twice = { ...DEVICE, values: [...DEVICE.values, ...DEVICE.values] };
    await open('/', { 'GET /live': () => new LiveStream({ ...OVERVIEW, devices: [twice] }).response });
    expect(document.querySelectorAll('.vital').length).toBe(6);
  });

  it('shows a patient’s text only as text', async () => {
    await open('/', { 'GET /live': () => new LiveStream().response });
    expect(text()).toContain(HOSTILE);
    expect(document.querySelector('img')).toBeNull();
    expect('ran' in window).toBe(false);
  });

  it('says in words that the clock is not in sync and that the data is simulated', async () => {
    await open('/', { 'GET /live': () => new LiveStream().response });
    expect(one('.clock').textContent).toContain('Not in sync');
    expect(one('.sham').textContent).toContain('Simulated data');
  });

  it('teaches what to do when no device has spoken', async () => {
    const empty = { ...OVERVIEW, devices: [], links: [], alarms: [], simulated: false };
    await open('/', { 'GET /live': () => new LiveStream(empty).response });
    expect(text()).toContain('No device has spoken yet');
    expect(text()).toContain('No link is configured');
  });

  it('warns since when it is stale as soon as the stream ends', async () => {
    const stream = new LiveStream();
    await open('/', { 'GET /live': () => stream.response });
    expect(text()).toContain('Live, as of');
    stream.close();
    await settle();
    expect(one('[role=alert]').textContent).toMatch(/Live values stopped \d+ s ago/);
    expect(text()).toContain('not live');
  });

  it('says why it shows nothing when the stream cannot be opened', async () => {
    await open('/', { 'GET /live': () => refusal(503, 'Too many desks are open') });
    expect(one('[role=alert]').textContent).toContain('Too many desks are open');
    expect(text()).toContain('tries again by itself');
  });

  it('leads to the login when the stream is refused for want of a session', async () => {
    await open('/', { 'GET /live': () => refusal(401, 'Not logged in') });
    expect(one('h1').textContent).toBe('Log in');
  });
});

describe('the messages', () => {
  const { raw: _, ...row } = ENTRY;
  const page = { entries: [row], next: 7, counts: OVERVIEW.counts };
  const live = { 'GET /live': () => new LiveStream().response };

  it('take their filter from the address and put it back there', async () => {
    const { asked } = await open('/messages?state=held&link=monitors', { ...live, 'GET /entries': page });
    expect(asked).toContain('GET /entries?state=held&link=monitors&limit=50');
    expect(text()).toContain('The unit “furlong” is unknown');
    await press(button('Waiting'));
    expect(location.search).toBe('?state=waiting&link=monitors');
    expect(asked.at(-1)).toBe('GET /entries?state=waiting&link=monitors&limit=50');
  });

  it('page back by number', async () => {
    const { asked } = await open('/messages', { ...live, 'GET /entries': page });
    const older = [...document.querySelectorAll('a')].find(({ textContent }) =>
      textContent.startsWith('Older'),
    );
    await press(older!);
    expect(asked.at(-1)).toMatch(/^GET \/entries\?before=7&from=2026-11-21T14%3A00[^&]*&limit=50$/);
  });

  it('teach what an empty filter means', async () => {
    await open('/messages?state=held', { ...live, 'GET /entries': { ...page, entries: [], next: null } });
    expect(text()).toContain('No entry fits this filter');
  });

  it('show the problem when the list cannot be had', async () => {
    await open('/messages', { ...live, 'GET /entries': () => refusal(500, 'The store is busy', 'Locked.') });
    expect(one('[role=alert]').textContent).toContain('Locked.');
    expect(one('[role=alert]').textContent).toContain('Try again');
  });
});

describe('an entry', () => {
  const live = { 'GET /live': () => new LiveStream().response };

  it('goes from the bytes to the answer, absent values as words', async () => {
    await open('/messages/7', { ...live, 'GET /entries/7': ENTRY });
    expect(one('#raw pre').textContent).toContain('‹VT›MSH‹CR›');
    expect(one('#measurements').textContent).toContain('Measuring error');
    expect(one('#measurements').textContent).toContain('2026-11-22 14:00:00 UTC');
    expect(one('#answer').textContent).toContain('no server has seen it');
    await press(button('Hex'));
    expect(one('#raw pre').textContent).toContain('0b 4d 53 48 0d');
    expect(document.title).not.toContain('72');
  });

  it('shows the digits of a resource as the gateway wrote them', async () => {
    const source = JSON.stringify({ ...ENTRY, fhir: ['here'] }).replace(
      '"here"',
      '{"resourceType":"Observation","valueQuantity":{"value":2.0}}',
    );
    await open('/messages/7', { ...live, 'GET /entries/7': source });
    expect(one('#fhir pre').textContent).toContain('"value": 2.0');
  });

  it('whose bytes changed on the disk says so, and derives nothing', async () => {
    await open('/messages/7', { ...live, 'GET /entries/7': { ...ENTRY, intact: false, measurements: [] } });
    expect(text()).toContain('no longer match their checksum');
  });

  it('that waits is not offered to be sent again', async () => {
    await open('/messages/7', { ...live, 'GET /entries/7': { ...ENTRY, state: 'waiting', reason: null } });
    expect(one('.actions').textContent.trim()).toBe('');
  });

  it('is released only after a yes', async () => {
    const { asked, routes } = await open('/messages/7', {
      ...live,
      'GET /entries/7': ENTRY,
      'POST /entries/7/release': {},
    });
    await press(button('Release'));
    const dialog = one<HTMLDialogElement>('dialog[open]');
    expect(asked).not.toContain('POST /entries/7/release');
    routes['GET /entries/7'] = { ...ENTRY, state: 'accepted', reason: null };
    await press(button('Release', dialog));
    expect(asked).toContain('POST /entries/7/release');
    expect(text()).toContain('Released: it waits to be sent again.');
    expect(document.querySelector('dialog[open]')).toBeNull();
  });

  it('stays open with the reason when a replay is refused', async () => {
    await open('/messages/7', {
      ...live,
      'GET /entries/7': ENTRY,
      'POST /entries/7/replay': () => refusal(409, 'Not possible', 'It has no measurement.'),
    });
    await press(button('Replay'));
    await press(button('Replay', one('dialog[open]')));
    expect(one('dialog[open]').textContent).toContain('It has no measurement.');
  });
});

describe('the upstream page', () => {
  const live = { 'GET /live': () => new LiveStream().response };
  const upstream = {
    ...OVERVIEW.upstream,
    configured: true,
    auth: 'smart',
    client_id: 'box-1',
    scopes: 'system/Observation.cu system/Device.cu',
    kid: 'k1',
    algorithm: 'ES384',
    jwks: { keys: [{ kty: 'EC', kid: 'k1' }] },
    queue: { waiting: 1, sent: 0, held: 0 },
    mode: 'put',
  };

  it('names the step at which a test stops', async () => {
    const steps = [
      { name: 'Find the address', ok: true, detail: '10.0.0.1', ms: 3 },
      { name: 'Get a token', ok: false, detail: 'invalid_client', ms: 40 },
    ];
    await open('/upstream', { ...live, 'GET /upstream': upstream, 'POST /upstream/test': { steps } });
    expect(text()).toContain('The key is unknown there');
    await press(button('Test connection'));
    expect(text()).toContain('It stops at “Get a token”.');
    expect(text()).toContain('invalid_client');
  });

  it('shows the public key set, the client id and each scope', async () => {
    await open('/upstream', { ...live, 'GET /upstream': upstream });
    expect(JSON.parse(one('pre').textContent)).toEqual(upstream.jwks);
    expect([...document.querySelectorAll('.chip')].map((chip) => chip.textContent)).toEqual([
      'system/Observation.cu',
      'system/Device.cu',
    ]);
  });

  it('names the scopes that were not granted', async () => {
    const less = { ...upstream, granted: 'system/Observation.cu' };
    await open('/upstream', { ...live, 'GET /upstream': less });
    expect(text()).toContain('Not granted');
    expect(text()).toContain('system/Device.cu: ask the server’s team');
  });

  it('teaches how to name a server when there is none', async () => {
    await open('/upstream', {
      ...live,
      'GET /upstream': { ...upstream, configured: false, state: 'unconfigured' },
    });
    expect(text()).toContain('bedside config check');
  });
});

describe('the addresses', () => {
  const live = { 'GET /live': () => new LiveStream().response };

  it('carry a device key with dots and slashes in the query', async () => {
    await open('/', live);
    const link = one<HTMLAnchorElement>('article h3 a');
    expect(new URL(link.href).searchParams.get('key')).toBe(DEVICE.key);
    expect(new URL(link.href).pathname).toBe('/device');
  });

  it('that lead nowhere say so', async () => {
    await open('/nowhere', live);
    expect(text()).toContain('This address leads nowhere');
  });

  it('move the focus to the new page’s heading', async () => {
    await open('/', live);
    await press(one('nav a[href="/help"]'));
    expect(location.pathname).toBe('/help');
    expect(document.activeElement?.textContent).toBe('Help');
  });
});
