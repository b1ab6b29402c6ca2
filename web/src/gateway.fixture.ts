// A gateway for tests: answers fetch from a table of routes, and keeps what it was asked.

import { vi } from 'vitest';
import type { Device, EntryDetail, Overview } from './lib/api';

export const SETUP = {
  needed: false,
  simulated: true,
  site: 'Clinique du Lac',
  fingerprint: 'AA:BB:CC',
  version: '1.2.3',
};
const CLINICIAN = [
  'session.use',
  'devices.see',
  'messages.read',
  'worklist.use',
  'associations.change',
  'break-glass.use',
];
const ADMIN = [
  ...CLINICIAN,
  'messages.resend',
  'upstream.test',
  'devices.pair',
  'users.change',
  'audit.read',
  'profiles.change',
  'upstreams.change',
  'backup.make',
  'settings.change',
  'site.change',
];

export const SESSION = {
  username: 'anna',
  role: 'admin',
  source: 'local',
  stage: 'in',
  factors: ['totp'],
  permissions: ADMIN,
  remember_days: 0,
  places: null,
  devices: null,
  own_role: null,
  break_glass: null,
  setup: null as { open: number; untouched: boolean } | null,
  site: SETUP.site,
  simulated: true,
  version: '1.2.3',
};

export const AUDITOR = { ...SESSION, role: 'auditor', permissions: ['session.use', 'audit.read'] };
export const NURSE = { ...SESSION, role: 'clinician', permissions: CLINICIAN };
export const TAKEN = '2026-11-22T14:00:00.000Z';
/** A patient’s name that would run if it were ever taken as markup. */
export const HOSTILE = '<img src=x onerror="window.ran = true">';

export const DEVICE: Device = {
  key: 'Acme/M.5/1',
  label: 'Bed 3 monitor',
  manufacturer: 'Acme',
  model: 'M5',
  link: 'monitors',
  verified: 'simulator',
  last_seen: TAKEN,
  patient: HOSTILE,
  values: [
    {
      code: '1',
      label: 'Heart rate',
      value: '72',
      unit: '/min',
      absent: null,
      taken: TAKEN,
      abnormal: false,
    },
    {
      code: '2',
      label: 'Temperature',
      value: '37.0',
      unit: 'Cel',
      absent: null,
      taken: TAKEN,
      abnormal: true,
    },
    { code: '3', label: 'SpO2', value: null, unit: '%', absent: 'error', taken: TAKEN, abnormal: false },
  ],
};

export const OVERVIEW: Overview = {
  simulated: true,
  site: SETUP.site,
  now: '2026-11-22T14:00:05.000Z',
  clock_synchronised: false,
  verdict: 'One device sends, one entry is held.',
  counts: { waiting: 2, sent: 0, accepted: 1234, held: 1 },
  ledger: {
    received: 1250,
    acknowledged: 1240,
    refused: 9,
    noise: 1,
    delivered: 1234,
    queued: 2,
    held: 1,
    repeated: 3,
    lost: 0,
  },
  scrub: { passed: null, through: 0, changed: 0 },
  oldest_waiting: TAKEN,
  bytes: 1000,
  quota_bytes: 8_000_000_000,
  upstream: {
    name: 'EHR',
    base: 'https://ehr.example/r4',
    state: 'refusing',
    since: TAKEN,
    last_success: null,
    detail: 'The key is unknown there',
  },
  links: [
    {
      name: 'monitors',
      kind: 'mllp',
      profile: 'acme/m5',
      state: 'quiet',
      since: TAKEN,
      detail: '',
      connections: 1,
      frames: 12,
      refused: 0,
      notes: 0,
      last_note: null,
      recording: false,
    },
  ],
  devices: [DEVICE],
  alarms: [
    { code: 'disk', severity: 'warning', title: 'The disk fills', next_step: 'Make room.', since: TAKEN },
    {
      code: 'key',
      severity: 'critical',
      title: 'The key is refused',
      next_step: 'Send the new key.',
      since: TAKEN,
    },
  ],
};

export const ENTRY: EntryDetail = {
  id: 7,
  received: TAKEN,
  link: 'monitors',
  peer: '10.0.0.4:5100',
  device: DEVICE.key,
  kind: 'ORU^R01',
  message: null,
  state: 'held',
  reason: 'The unit “furlong” is unknown',
  bytes: 5,
  summary: 'Heart rate 72 /min',
  attempts: 0,
  repeats: 2,
  raw: { text: '␋MSH␍', hex: '0b4d53480d', sha256: 'abc', bytes: 5 },
  intact: true,
  warnings: ['no CR before FS'],
  profile: 'acme/m5',
  measurements: [
    {
      label: 'SpO2',
      codes: [{ system: 'http://loinc.org', code: '59408-5' }],
      value: null,
      unit: '%',
      absent: 'error',
      taken: TAKEN,
      status: ['calibrating'],
      place: 'OBX[1]-5',
    },
  ],
  findings: [],
  fhir: [],
  answer: null,
  timeline: [{ at: TAKEN, what: 'Received' }],
};

type Answer = object | string | Response | ((body: Record<string, string>) => object | Response);
export type Routes = Record<string, Answer>;

export const refusal = (status: number, title: string, detail = '', code = '') =>
  new Response(JSON.stringify({ title, detail, status, code }), { status });

/** A live stream that says one overview and stays open until `close` is called. */
export class LiveStream {
  private controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly response: Response;

  constructor(overview: Overview = OVERVIEW) {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => void (this.controller = controller),
    });
    this.response = new Response(body);
    this.say('overview', overview);
  }

  say(name: string, what: object): void {
    this.controller.enqueue(new TextEncoder().encode(`event: ${name}\ndata: ${JSON.stringify(what)}\n\n`));
  }

  close(): void {
    this.controller.close();
  }
}

/** Stubs fetch. Routes are `GET /path?query` or `GET /path`; what is not named answers 404. */
export function gateway(routes: Routes): { asked: string[]; routes: Routes } {
  const asked: string[] = [];
  const all: Routes = { 'GET /setup': SETUP, 'GET /session': SESSION, ...routes };
  vi.stubGlobal('fetch', async (input: string, init: RequestInit = {}) => {
    const address = input.replace('/api/v1', '');
    const asks = `${init.method ?? 'GET'} ${address}`;
    asked.push(asks);
    const answer = all[asks] ?? all[asks.replace(/\?.*/, '')];
    if (answer === undefined) return refusal(404, 'No such address', asks);
    const given = typeof answer === 'function' ? answer(JSON.parse(String(init.body || '{}'))) : answer;
    if (given instanceof Response) return given.bodyUsed || given.body?.locked ? new Response('{}') : given;
    return new Response(typeof given === 'string' ? given : JSON.stringify(given));
  });
  return { asked, routes: all };
}
