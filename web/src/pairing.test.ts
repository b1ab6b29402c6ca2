// Pairing, the worklist and recordings as a user meets them, over a stubbed gateway.

import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import App from './App.svelte';
import {
  ENTRY,
  HOSTILE,
  LiveStream,
  OVERVIEW,
  AUDITOR,
  TAKEN,
  gateway,
  refusal,
  type Routes,
} from './gateway.fixture';
import { go } from './lib/router.svelte';
import { sessionEnded } from './lib/session.svelte';
import type { Scan, Standing } from './lib/pairing';

let app: Record<string, unknown> | undefined;

async function settle(): Promise<void> {
  for (let turn = 0; turn < 25; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    flushSync();
  }
}
/** Pages are loaded when they are opened, so the first look may take a while. */
async function open(path: string, routes: Routes) {
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
  if (!found) throw new Error(`no button “${name}” in ${text()}`);
  return found;
};
async function press(what: HTMLElement): Promise<void> {
  what.click();
  await settle();
}
async function type(selector: string, value: string): Promise<void> {
  const input = one<HTMLInputElement>(selector);
  input.value = value;
  input.dispatchEvent(new Event('input', { bubbles: true }));
  await settle();
}
async function enter(selector: string): Promise<void> {
  one(selector).dispatchEvent(
    new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }),
  );
  await settle();
}

const MEASURED = { ...ENTRY.measurements[0]!, label: 'Heart rate', value: '72', unit: '/min', absent: null };
const PREVIEW = {
  profile: 'acme/m5',
  measurements: [MEASURED, ENTRY.measurements[0]!],
  findings: [{ code: 'no-zone', place: 'MSH-7', text: 'No zone; the link’s was taken' }],
  fhir: [],
};
const SERIAL = {
  baud: [9600],
  data_bits: 8,
  parity: 'none',
  stop_bits: 1,
  flow: 'none',
  dtr: null,
  rts: null,
  quiet_timeout_s: null,
};
const STANDING: Standing = {
  zone: 'Europe/Zurich',
  broker: false,
  links: [
    { name: 'door', kind: 'mllp', profile: 'by-sender', desk: false },
    { name: 'bed 3/a', kind: 'mllp', profile: 'acme/m5', desk: true },
  ],
  candidates: [
    {
      link: 'door',
      sender: HOSTILE,
      first_seen: TAKEN,
      last_seen: TAKEN,
      frames: 3,
      entry: 7,
      guesses: [
        { profile: 'acme/m5', fits: true, measurements: 2, unknown: 0, held: null },
        { profile: 'generic/hl7', fits: false, measurements: 1, unknown: 1, held: 'it names no patient' },
      ],
    },
  ],
  senders: [{ link: 'door', sender: 'LAB|X', profile: 'generic/hl7' }],
  profiles: [
    {
      id: 'acme/m5',
      manufacturer: 'Acme',
      model: 'M5',
      verified: 'simulator',
      codec: 'mllp',
      transport: { tcp: { listen: true, port: 2575 } },
      caveats: ['Rounds the temperature.'],
    },
    {
      id: 'generic/hl7',
      manufacturer: 'Generic',
      model: 'HL7',
      verified: 'document',
      codec: 'mllp',
      transport: { tcp: { listen: true, port: 2575 } },
      caveats: [],
    },
    {
      id: 'nord/po2',
      manufacturer: 'Nord',
      model: 'PO-2',
      verified: 'bench',
      codec: 'lines',
      transport: { serial: SERIAL },
      caveats: [],
    },
  ],
};

beforeEach(() => {
  vi.stubGlobal('scrollTo', () => undefined);
});
afterEach(async () => {
  if (app) await unmount(app);
  app = undefined;
  sessionEnded();
  localStorage.clear();
  sessionStorage.clear();
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

describe('a candidate', () => {
  const routes = { 'GET /pairing': STANDING, 'POST /pairing/preview': PREVIEW };

  it('shows what it says in the best profile, as text only', async () => {
    await open('/pairing', routes);
    expect(one('article.candidate h3').textContent).toBe(HOSTILE);
    expect(document.querySelector('img')).toBeNull();
    expect(one('article.candidate').textContent).toMatch(/Heart rate/);
    expect(one('article.candidate table').textContent).toContain('Measuring error');
    expect(text()).toContain('No zone; the link’s was taken');
    expect(one<HTMLSelectElement>('article.candidate select').value).toBe('acme/m5');
    expect(one<HTMLAnchorElement>('article.candidate .facts-row a').pathname).toBe('/messages/7');
  });

  it('is previewed and accepted with the profile that was chosen', async () => {
    const said: Record<string, string>[] = [];
    const accept = (body: Record<string, string>) => (said.push(body), { released: 2, still_held: 1 });
    const { routes: now } = await open('/pairing', { ...routes, 'POST /pairing/accept': accept });
    const select = one<HTMLSelectElement>('article.candidate select');
    select.value = 'generic/hl7';
    select.dispatchEvent(new Event('change', { bubbles: true }));
    await settle();
    expect(text()).toContain(
      'Even when accepted with this profile, the latest message stays held: it names no',
    );
    now['GET /pairing'] = { ...STANDING, candidates: [] };
    await press(button('Accept'));
    expect(said).toEqual([{ link: 'door', sender: HOSTILE, profile: 'generic/hl7' }]);
    expect(text()).toContain(
      '2 held messages were let go. 1 message stays held, each with its reason: see why',
    );
    expect(text()).toContain('Nobody unknown knocks');
  });

  it('that no profile reads is not accepted by itself', async () => {
    const [stranger] = STANDING.candidates;
    const unread = { ...STANDING, candidates: [{ ...stranger!, guesses: [] }] };
    const { asked } = await open('/pairing', { ...routes, 'GET /pairing': unread });
    expect(text()).toContain('No firmware profile of this gateway reads it');
    expect(button('Accept').disabled).toBe(true);
    expect(asked).not.toContain('POST /pairing/preview');
  });

  it('is not shown to who may not pair', async () => {
    const { asked } = await open('/pairing', {
      ...routes,
      'GET /session': AUDITOR,
    });
    expect(text()).toContain('is not for your role (auditor)');
    expect(asked).not.toContain('GET /pairing');
    expect(document.querySelector('nav a[href="/pairing"]')).toBeNull();
    expect(document.querySelector('nav a[href="/worklist"]')).toBeNull();
  });
});

describe('the links', () => {
  const routes = { 'GET /pairing': STANDING, 'POST /pairing/preview': PREVIEW };
  const NO_CONTENT = () => new Response(null, { status: 204 });

  it('made at the desk are removed after a yes, the file’s are not offered', async () => {
    const { asked } = await open('/pairing', {
      ...routes,
      'POST /pairing/links/bed%203%2Fa/remove': NO_CONTENT,
    });
    expect(
      [...document.querySelectorAll('button')].filter((b) => /^Remove link/.test(b.textContent)),
    ).toHaveLength(1);
    await press(button('Remove link bed 3/a'));
    expect(asked.some((ask) => ask.includes('/remove'))).toBe(false);
    await press(button('Remove the link', one('dialog[open]')));
    expect(asked).toContain('POST /pairing/links/bed%203%2Fa/remove');
    expect(text()).toContain('Link bed 3/a is removed.');
  });

  it('list their accepted senders, which can be forgotten', async () => {
    const said: object[] = [];
    const forget = (body: object) => (said.push(body), NO_CONTENT());
    await open('/pairing', { ...routes, 'POST /pairing/forget': forget });
    await press(button('Forget LAB|X'));
    await press(button('Forget it', one('dialog[open]')));
    expect(said).toEqual([{ link: 'door', sender: 'LAB|X' }]);
  });
});

describe('the wizard', () => {
  const FOUND: Scan = {
    port: '/dev/x',
    state: 'found',
    detail: 'A profile reads it.',
    percent: 100,
    tried: [{ setting: '9600 8N1', asked: null, bytes: 12, frames: 1, outcome: 'recognised by nord/po2' }],
    text: 'SPO2=97␍␊',
    hex: '53504f323d39370d0a',
    found: [
      {
        guess: { profile: 'nord/po2', fits: true, measurements: 1, unknown: 0, held: null },
        serial: { port: '/dev/x', baud: 9600, parity: 'none', data_bits: 8, stop_bits: 1 },
        measurements: [MEASURED],
        findings: [],
      },
    ],
  };
  const ports = {
    ports: [
      { path: '/dev/x', device: '/dev/ttyUSB0', name: 'FTDI', link: null },
      { path: '/dev/y', device: '/dev/ttyS0', name: null, link: 'scale' },
    ],
  };

  it('makes the serial link that a scan found, and shows its first message', async () => {
    const said: object[] = [];
    const scans: object[] = [];
    const name = 'Room 5, PO-2';
    const link = { ...OVERVIEW.links[0]!, name, kind: 'serial' };
    const stream = new LiveStream();
    const { routes } = await open('/pairing/new', {
      'GET /live': () => stream.response,
      'GET /pairing': STANDING,
      'GET /pairing/ports': ports,
      'GET /pairing/scan': () => new Response(null, { status: 204 }),
      'POST /pairing/scan': (body) => (scans.push(body), new Response('', { status: 202 })),
      'POST /pairing/links': (body) => (said.push(body), { name }),
      [`GET /entries?link=Room+5%2C+PO-2&limit=1`]: { entries: [ENTRY], next: null, counts: OVERVIEW.counts },
      'GET /entries/7': { ...ENTRY, measurements: [MEASURED] },
    });
    await press(button('Serial port'));
    expect(document.activeElement?.id).toBe('step-title');
    expect(one<HTMLInputElement>('input[value="/dev/y"]').disabled).toBe(true);
    expect(text()).toContain('in use by link scale');
    await press(one('input[value="/dev/x"]'));
    routes['GET /pairing/scan'] = FOUND;
    await press(button('Listen'));
    expect(scans).toEqual([{ port: '/dev/x', profiles: [], ask: false }]);
    expect(one('.found').textContent).toMatch(/Heart rate/);
    expect(one('pre.text').textContent).toContain('SPO2=97‹CR›‹LF›');
    await press(button('Use Nord PO-2'));
    await type('#name-place', 'Room 5');
    expect(one<HTMLInputElement>('#name-name').value).toBe(name);
    expect(one<HTMLInputElement>('#name-zone').value).toBe('Europe/Zurich');
    await press(button('Next'));
    expect(one('dl.facts').textContent).toContain('9600 8N1');
    await press(button('Make the link'));
    expect(said).toEqual([
      { name, profile: 'nord/po2', zone: 'Europe/Zurich', serial: FOUND.found[0]!.serial },
    ]);
    expect(text()).toContain('waits for the device’s first message');
    stream.say('overview', { ...OVERVIEW, links: [link] });
    await settle();
    expect(one('section.step table').textContent).toMatch(/Heart rate/);
    expect(text()).toContain('Does the device’s screen show the same values and units?');
  });

  it('says what was tried when nothing fits, and what to do', async () => {
    const nothing: Scan = { ...FOUND, state: 'nothing', detail: 'Nothing.', found: [], text: '', hex: '' };
    await open('/pairing/new?way=serial&step=2', {
      'GET /pairing': STANDING,
      'GET /pairing/ports': ports,
      'GET /pairing/scan': {
        ...nothing,
        tried: [{ setting: '4800 7E2', asked: 'nord/po2', bytes: 0, frames: 0, outcome: 'silence' }],
      },
    });
    await press(one('input[value="/dev/x"]'));
    expect(text()).toContain('Nothing fits: 1 setting tried.');
    expect(text()).toContain('Not a single byte came');
    expect(text()).toMatch(/4800 7E2 ?Nord PO-2 ?0 B, 0 frames ?silence/);
  });

  it('shows the parser’s words with line and caret, and keeps nothing of a patient', async () => {
    await open('/pairing/new?way=network', {
      'GET /pairing': STANDING,
      'POST /pairing/links': () => refusal(409, 'Conflict', 'the link:3:1: in use\n3 | [mllp]\n  | ^'),
    });
    await press(button('Network'));
    await press(one('input[value="acme/m5"]'));
    expect(text()).toContain('Rounds the temperature.');
    expect(one<HTMLInputElement>('#reach-port').value).toBe('2575');
    await press(button('Next'));
    await type('#name-place', 'Room 5');
    await type('#name-patient', 'P-4711');
    await press(button('Next'));
    expect(text()).toContain('Give both the issuer and the number');
    await type('#name-issuer', 'urn:x');
    await press(button('Next'));
    expect(text()).toContain('always P-4711');
    await press(button('Make the link'));
    expect(one('.notice pre').textContent).toBe('the link:3:1: in use\n3 | [mllp]\n  | ^');
    expect(JSON.stringify({ ...sessionStorage }) + location.href).not.toContain('P-4711');
  });

  it('does not go past a name that is taken', async () => {
    sessionStorage.setItem('bedside.pairing', '{"way":"network","profile":"by-sender","port":"2576"}');
    await open('/pairing/new?step=3', { 'GET /pairing': STANDING });
    await type('#name-name', 'door');
    await press(button('Next'));
    expect(text()).toContain('There is a link called “door” already');
    expect(document.activeElement?.id).toBe('name-name');
  });
});

describe('the worklist', () => {
  const order = {
    id: 1,
    specimen: 'S-1',
    tests: ['GLU'],
    priority: 'stat',
    patient: null,
    specimen_kind: null,
    collected: null,
    source: 'desk',
    number: null,
    created: TAKEN,
    by: 'anna',
    state: 'sent',
    asked: [{ at: TAKEN, link: 'lab', outcome: '1 test sent' }],
  };
  const counts = { open: 1, sent: 0, done: 0, cancelled: 0 };

  it('takes an order from a scanner: Enter moves on', async () => {
    const said: object[] = [];
    await open('/worklist', {
      'GET /worklist': { orders: [], counts },
      'POST /worklist': (body) => (said.push(body), { id: 2 }),
    });
    expect(text()).toContain('Scan a tube’s barcode above');
    await type('#order-specimen', 'S-9');
    await enter('#order-specimen');
    expect(document.activeElement?.id).toBe('order-tests');
    await type('#order-tests', 'GLU, CREA');
    await enter('#order-tests');
    await enter('#order-tests');
    expect(document.activeElement?.textContent).toContain('Add the order');
    await press(button('Add the order'));
    expect(said).toEqual([{ specimen: 'S-9', tests: ['GLU', 'CREA'], priority: 'routine' }]);
    expect(text()).toContain('Added: specimen S-9, 2 tests.');
    expect(document.activeElement?.id).toBe('order-specimen');
  });

  it('sends nothing without a test, and no name without a number', async () => {
    const { asked } = await open('/worklist', { 'GET /worklist': { orders: [], counts } });
    await press(button('Add the order'));
    expect(text()).toContain('Scan or type the number on the tube.');
    await type('#order-specimen', 'S-9');
    await press(button('Add the order'));
    expect(text()).toContain('Name at least one test.');
    expect(asked).not.toContain('POST /worklist');
  });

  it('says who asked and what was answered, and cancels after a yes', async () => {
    const { asked } = await open('/worklist', {
      'GET /worklist': { orders: [order], counts },
      'POST /worklist/1/cancel': () => new Response(null, { status: 204 }),
    });
    expect(text()).toContain('1 test sent');
    expect(text()).toContain('Stat');
    await press(button('Cancel order for S-1'));
    expect(asked).not.toContain('POST /worklist/1/cancel');
    await press(button('Cancel the order', one('dialog[open]')));
    expect(asked).toContain('POST /worklist/1/cancel');
  });

  it('keeps what is searched for out of the address', async () => {
    const said: object[] = [];
    const { asked } = await open('/worklist', {
      'GET /worklist': { orders: [], counts },
      'POST /worklist/find': (body) => (said.push(body), { orders: [], counts }),
    });
    await type('#order-search', 'Muster');
    expect(asked.at(-1)).toBe('POST /worklist/find');
    expect(said.at(-1)).toEqual({ state: 'open', text: 'Muster' });
    expect(location.href).not.toContain('Muster');
    expect(text()).toContain('Nothing fits this search');
  });
});

describe('a recording', () => {
  const running = {
    name: 'monitors-1.cap',
    link: 'monitors',
    profile: 'acme/m5',
    started: TAKEN,
    ended: null,
    bytes: 10,
    chunks: 2,
  };

  it('starts masked unless that is switched off, shows that it runs, and is stopped', async () => {
    const said: object[] = [];
    const { routes, asked } = await open('/link?name=monitors', {
      'GET /recordings': { recordings: [] },
      'POST /recordings': (body) => (said.push(body), { name: running.name }),
      'POST /recordings/monitors-1.cap/stop': () => new Response(null, { status: 204 }),
    });
    routes['GET /recordings'] = { recordings: [running] };
    await press(button('Start recording'));
    expect(said).toEqual([{ link: 'monitors', masked: true, minutes: 10 }]);
    expect(text()).toContain('Recording since');
    routes['GET /recordings'] = { recordings: [{ ...running, ended: TAKEN }] };
    await press(button('Stop recording'));
    expect(asked).toContain('POST /recordings/monitors-1.cap/stop');
    expect(one<HTMLAnchorElement>('a[download]').pathname).toBe('/api/v1/recordings/monitors-1.cap');
  });

  it('is not offered by a gateway that cannot record, nor to who may not', async () => {
    await open('/link?name=monitors', {});
    expect(text()).toContain('About this link');
    expect(text()).not.toContain('Start recording');
  });

  it('refuses a nonsense number of minutes before asking', async () => {
    const { asked } = await open('/link?name=monitors', { 'GET /recordings': { recordings: [] } });
    const minutes = one<HTMLInputElement>('form input[inputmode=numeric]');
    minutes.value = '0';
    minutes.dispatchEvent(new Event('input', { bubbles: true }));
    await press(button('Start recording'));
    expect(text()).toContain('A whole number of minutes');
    expect(asked).not.toContain('POST /recordings');
  });
});
