// The gateway's HTTP contract, typed, in one place. Times are RFC 3339 UTC strings.

import { Problem, problemFrom } from './problem';
import { parseExact, type ExactJson } from './json';

export type Severity = 'warning' | 'critical';
export type EntryState = 'waiting' | 'sent' | 'accepted' | 'held';
export type LinkState = 'starting' | 'up' | 'retrying' | 'quiet' | 'stopped';
export type UpstreamState = 'up' | 'down' | 'unconfigured' | 'refusing';
export type EntryId = number | string;
export type Counts = Record<EntryState, number>;

/** What anybody may know before they log in. */
export interface Setup {
  needed: boolean;
  simulated: boolean;
  site: string;
  /** SHA-256 of the gateway's certificate, `AA:BB:…`. */
  fingerprint: string;
  version: string;
  /** Another system that logs people in. */
  oidc?: { name: string } | null;
  directory?: boolean;
}

export interface Session {
  username: string;
  role: string;
  source: 'local' | 'ldap' | 'oidc';
  /** How far the log-in has come; only "in" opens the desk. */
  stage: 'in' | 'factor' | 'password' | 'enrol';
  factors: ('totp' | 'passkey' | 'recovery')[];
  permissions: string[];
  /** Only devices in these places are shown; null: all. */
  places: string[] | null;
  devices: string[] | null;
  break_glass: { until: string; reason: string } | null;
  site: string;
  simulated: boolean;
  version: string;
}

/** The last measurement of one metric: `value` or, when there is none, why (`absent`). */
export interface LastValue {
  code: string;
  label: string;
  value: string | null;
  /** UCUM. */
  unit: string | null;
  absent: string | null;
  taken: string;
  abnormal: boolean;
}

export interface Device {
  key: string;
  label: string;
  manufacturer: string | null;
  model: string | null;
  link: string;
  /** Who has checked this device's page: simulator, bench or clinic. */
  verified: string;
  last_seen: string | null;
  patient: string | null;
  values: LastValue[];
}

export interface Metric {
  code: string;
  label: string;
  unit: string | null;
}

/** How the device's clock stands against the box's; seconds ahead, negative behind. */
export interface DeviceClock {
  offset_s: number;
  drift_s_per_day: number | null;
  samples: number;
  since: string;
  verdict: string;
  wrong: boolean;
}

export interface DeviceDetail extends Device {
  caveats: string[];
  metrics: Metric[];
  identifiers: string[];
  clock: DeviceClock | null;
}

export interface Link {
  name: string;
  kind: string;
  profile: string | null;
  state: LinkState;
  since: string;
  detail: string | null;
  connections: number;
  frames: number;
  refused: number;
  notes: number;
  /** The newest note: something odd that was still taken. */
  last_note?: string | null;
}

export interface UpstreamSummary {
  name: string | null;
  base: string | null;
  state: UpstreamState;
  since: string | null;
  last_success: string | null;
  detail: string | null;
}

export interface Alarm {
  code: string;
  severity: Severity;
  title: string;
  next_step: string;
  since: string;
}

/** Where everything went that came: received = acknowledged + refused + noise. */
export interface Ledger {
  received: number;
  acknowledged: number;
  refused: number;
  noise: number;
  delivered: number;
  queued: number;
  held: number;
  repeated: number;
  lost: number;
}

/** The verification of what is kept. */
export interface Scrub {
  passed: string | null;
  through: number;
  changed: number;
}

export interface Overview {
  simulated: boolean;
  site: string;
  now: string;
  clock_synchronised: boolean;
  verdict: string;
  counts: Counts;
  ledger: Ledger;
  scrub: Scrub;
  oldest_waiting: string | null;
  bytes: number;
  quota_bytes: number;
  upstream: UpstreamSummary;
  links: Link[];
  devices: Device[];
  alarms: Alarm[];
}

/** One fresh point of a trend, as the live stream tells it. */
export interface LivePoint {
  device: string;
  code: string;
  taken: string;
  value: number;
}

export interface Trend {
  label: string;
  unit: string | null;
  /** Epoch milliseconds and the value; null is a gap. */
  points: [number, number | null][];
}

export interface Entry {
  id: EntryId;
  received: string;
  link: string;
  peer: string | null;
  device: string | null;
  state: EntryState;
  reason: string | null;
  bytes: number;
  summary: string | null;
  attempts: number;
  repeats: number;
}

export interface EntryPage {
  entries: Entry[];
  next: EntryId | null;
  counts: Counts;
}

export interface EntryFilter {
  state?: string;
  link?: string;
  device?: string;
  before?: string;
}

export interface EntryMeasurement {
  label: string;
  codes: { system: string; code: string; display?: string | null }[];
  value: string | null;
  unit: string | null;
  absent: string | null;
  taken: string | null;
  status: string[];
  place: string | null;
}

export interface EntryDetail extends Entry {
  /** Text and hex of the first 64 KiB; `bytes` is the size of all. */
  raw: { text: string; hex: string; sha256: string; bytes: number };
  /** False when the stored bytes no longer match their SHA-256: nothing is derived from them then. */
  intact?: boolean;
  warnings: string[];
  profile: string | null;
  measurements: EntryMeasurement[];
  findings: { code: string; place: string | null; text: string }[];
  /** `status` is null when no HTTP answer came. */
  answer: { at: string; status: number | null; body: ExactJson } | null;
  timeline: { at: string; what: string }[];
  /** Numbers as the gateway wrote them: 2.0 stays 2.0. */
  fhir: ExactJson[];
}

/** An HL7 v2 message taken apart; empty fields are left out. */
export interface Hl7Message {
  segments: {
    segment: string;
    /** Which segment of that name, from 1. */
    occurrence: number;
    title: string | null;
    fields: {
      /** The place, e.g. `OBX[3]-5`. */
      path: string;
      title: string | null;
      /** HL7's null: the sender says that there is no value. */
      null: boolean;
      /** Repetitions, components, subcomponents. */
      parts: string[][][];
    }[];
  }[];
  /** False when only its beginning was taken apart. */
  whole: boolean;
}

/** Whether the first lines of a frame, as text, begin an HL7 v2 message, batch or file. */
export function looksLikeHl7(text: string): boolean {
  return /(^|[^A-Za-z0-9])(MSH|FHS|BHS)[^A-Za-z0-9\s]/.test(text.slice(0, 2000));
}

export interface Upstream {
  configured: boolean;
  name: string | null;
  base: string | null;
  state: UpstreamState;
  since: string | null;
  detail: string | null;
  auth: 'smart' | 'none';
  client_id: string | null;
  scopes: string | string[] | null;
  /** What the token server gave, which may be less. */
  granted?: string | string[] | null;
  kid: string | null;
  algorithm: string | null;
  jwks: { keys: Record<string, unknown>[] } | null;
  queue: { waiting: number; sent: number; held: number };
  mode: 'put' | 'conditional' | null;
}

export interface TestStep {
  name: string;
  ok: boolean;
  detail: string;
  ms: number;
}

const ROOT = '/api/v1';
const PATIENCE_MS = 15_000;
/** A connection test waits for a far server's DNS, TLS, token and search in turn. */
const TEST_PATIENCE_MS = 120_000;

/** Asks for a fresh proof of who it is; true: the call may be made again. */
export const again: { ask: ((why: Problem) => Promise<boolean>) | null } = { ask: null };

export async function call(path: string, init: RequestInit, patience_ms = PATIENCE_MS): Promise<Response> {
  try {
    return await once(path, init, patience_ms);
  } catch (thrown) {
    const asked = thrown instanceof Problem && thrown.code === 'step-up-required' && again.ask;
    if (asked && (await asked(thrown))) return once(path, init, patience_ms);
    throw thrown;
  }
}

async function once(path: string, init: RequestInit, patience_ms: number): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(ROOT + path, {
      ...init,
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
      signal: init.signal ?? AbortSignal.timeout(patience_ms),
    });
  } catch (cause) {
    throw Problem.unreachable(cause);
  }
  if (!response.ok) throw await problemFrom(response);
  return response;
}

export async function load<T>(path: string): Promise<T> {
  const response = await call(path, { headers: { Accept: 'application/json' } });
  return (await response.json()) as T;
}

/** A call that changes something: same origin, with the header no foreign page can set. */
export async function change(path: string, body?: object, patience_ms?: number): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json', 'X-Bedside-Csrf': '1' };
  if (body) headers['Content-Type'] = 'application/json';
  return call(path, { method: 'POST', headers, body: body ? JSON.stringify(body) : null }, patience_ms);
}

/** `?a=1&b=2` of what is set, or nothing. */
export function query(terms: Record<string, string | number | undefined | null>): string {
  const set = Object.entries(terms).filter(
    ([, value]) => value !== undefined && value !== null && value !== '',
  );
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : '';
}

export const seg = encodeURIComponent;

export const api = {
  setup: () => load<Setup>('/setup'),
  async finishSetup(code: string, username: string, password: string) {
    await change('/setup', { code, username, password });
  },
  async login(username: string, password: string) {
    await change('/login', { username, password });
  },
  async logout() {
    await change('/logout');
  },
  session: () => load<Session>('/session'),
  overview: () => load<Overview>('/overview'),
  live: (signal: AbortSignal) => call('/live', { headers: { Accept: 'text/event-stream' }, signal }),
  device: (key: string) => load<DeviceDetail>(`/devices/${seg(key)}`),
  trend: (key: string, code: string, minutes: number) =>
    load<Trend>(`/devices/${seg(key)}/trend${query({ code, minutes })}`),
  entries: (filter: EntryFilter, limit = 50) => load<EntryPage>(`/entries${query({ ...filter, limit })}`),
  async entry(id: EntryId): Promise<EntryDetail> {
    const response = await call(`/entries/${seg(String(id))}`, { headers: { Accept: 'application/json' } });
    const text = await response.text();
    const detail = JSON.parse(text) as EntryDetail;
    const exact = parseExact(text) as unknown as Pick<EntryDetail, 'fhir' | 'answer'>;
    const answer = detail.answer && { ...detail.answer, body: exact.answer?.body ?? null };
    return { ...detail, fhir: exact.fhir ?? [], answer };
  },
  hl7: (id: EntryId) => load<Hl7Message>(`/entries/${seg(String(id))}/hl7`),
  async release(id: EntryId) {
    await change(`/entries/${seg(String(id))}/release`);
  },
  async replay(id: EntryId) {
    await change(`/entries/${seg(String(id))}/replay`);
  },
  upstream: () => load<Upstream>('/upstream'),
  async testUpstream(): Promise<TestStep[]> {
    const response = await change('/upstream/test', undefined, TEST_PATIENCE_MS);
    return ((await response.json()) as { steps: TestStep[] }).steps;
  },
};
