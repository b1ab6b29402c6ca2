// The gateway's HTTP contract, typed by the gateway's own description of it (`openapi.json`, of which `npm run gen` makes
// `described.ts`). Times are RFC 3339 UTC strings.

import type { components, paths } from './described';
import { Problem, problemFrom } from './problem';
import { parseExact, type ExactJson } from './json';

/** The types of the contract, by the names the gateway gives them. */
export type Told = components['schemas'];

export type Setup = Told['SetupState'];
export type Session = Told['Session'];
export type Severity = Told['Severity'];
export type Counts = Told['EntryCounts'];
export type Ledger = Told['Ledger'];
export type LastValue = Told['LastValue'];
export type Device = Told['Device'];
export type DeviceDetail = Told['DeviceDetail'];
export type DeviceClock = Told['DeviceClock'];
export type Metric = Told['Metric'];
export type Link = Told['Link'];
export type LinkState = Link['state'];
export type UpstreamState = Told['UpstreamState'];
export type UpstreamSummary = Told['UpstreamSummary'];
export type Alarm = Told['Alarm'];
export type Overview = Told['Overview'];
export type LivePoint = Told['LivePoint'];
export type Trend = Told['Trend'];
export type Wave = Told['Wave'];
export type DeviceWaves = Told['DeviceWaves'];
export type EntryState = Told['EntryState'];
export type Entry = Told['Entry'];
export type EntryPage = Told['EntryPage'];
export type EntryMeasurement = Told['Measurement'];
export type Hl7Message = Told['Hl7Message'];
export type Upstream = Told['Upstream'];
export type TestStep = Told['TestStep'];
/** A number of the gateway, or the same as it stands in an address. */
export type EntryId = number | string;

/** With numbers as the gateway wrote them: 2.0 stays 2.0. */
export type EntryDetail = Omit<Told['EntryDetail'], 'fhir' | 'answer'> & {
  fhir: ExactJson[];
  answer: (Omit<Told['UpstreamAnswer'], 'body'> & { body: ExactJson }) | null;
};

export interface EntryFilter {
  state?: string;
  link?: string;
  device?: string;
  before?: string;
}

type Method = 'get' | 'post';
/** Addresses that take this method. */
type Address<M extends Method> = {
  [A in keyof paths]: paths[A] extends Record<M, { responses: unknown }> ? A : never;
}[keyof paths];
type Json<R> = R extends { content: { 'application/json': infer T } } ? T : undefined;
type Good<R> = Json<R[keyof R & (200 | 201 | 202 | 204)]>;
/** What an operation answers in JSON when it does as it was asked. */
type Answer<A extends Address<M>, M extends Method> = paths[A][M] extends { responses: infer R }
  ? Good<R>
  : never;
/** In an address or a query a number may stand as it came from this page's own address. */
type Loose<T> = { [K in keyof T]: T[K] extends number | undefined ? T[K] | string : T[K] };
type InPath<O> = O extends { parameters: { path: infer P } } ? { path: Loose<P> } : { path?: undefined };
type InQuery<O> = O extends { parameters: { query: infer Q } }
  ? { query: Loose<Q> }
  : O extends { parameters: { query?: infer Q } }
    ? { query?: Loose<NonNullable<Q>> }
    : { query?: undefined };
type InBody<O> = O extends { requestBody: { content: { 'application/json': infer B } } }
  ? { body: B }
  : O extends { requestBody?: { content: { 'application/json': infer B } } }
    ? { body?: B }
    : { body?: undefined };
type Asked<A extends Address<M>, M extends Method> = InPath<paths[A][M]> &
  InQuery<paths[A][M]> &
  InBody<paths[A][M]>;
/** Nothing has to be said where nothing is needed. */
type Given<T> = Partial<Record<keyof T, undefined>> extends T ? [asked?: T] : [asked: T];

/** Whether the first lines of a frame, as text, begin an HL7 v2 message, batch or file. */
export function looksLikeHl7(text: string): boolean {
  return /(^|[^A-Za-z0-9])(MSH|FHS|BHS)[^A-Za-z0-9\s]/.test(text.slice(0, 2000));
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

/** A call that changes something: same origin, with the header no foreign page can set. */
async function change(path: string, body?: object, patience_ms?: number): Promise<Response> {
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

type Terms = Record<string, string | number | undefined | null>;
interface Said {
  path?: Terms | undefined;
  query?: Terms | undefined;
  body?: object | undefined;
}

/** The address below `/api/v1` with its parameters filled in and its query behind it. */
function filled(address: string, { path = {}, query: terms = {} }: Said): string {
  const at = address.replace(ROOT, '').replace(/\{(\w+)\}/g, (_, name: string) => seg(String(path[name])));
  return at + query(terms);
}

const inJson = { headers: { Accept: 'application/json' } };

/** What an address answers; typed by the description of it. */
export async function read<A extends Address<'get'>>(
  address: A,
  ...[asked]: Given<Asked<A, 'get'>>
): Promise<Answer<A, 'get'>> {
  const response = await call(filled(address, (asked ?? {}) as Said), inJson);
  return (response.status === 204 ? undefined : await response.json()) as Answer<A, 'get'>;
}

/** Asks for a change; what was answered as it came. */
export async function ask<A extends Address<'post'>>(
  address: A,
  asked: Asked<A, 'post'>,
  patience_ms?: number,
): Promise<Response> {
  const said = asked as Said;
  return change(filled(address, said), said.body, patience_ms);
}

/** Asks for a change and gives what was answered. */
export async function write<A extends Address<'post'>>(
  address: A,
  asked: Asked<A, 'post'>,
  patience_ms?: number,
): Promise<Answer<A, 'post'>> {
  const response = await ask(address, asked, patience_ms);
  const text = await response.text();
  return (text === '' ? undefined : JSON.parse(text)) as Answer<A, 'post'>;
}

export const api = {
  setup: () => read('/api/v1/setup'),
  async finishSetup(code: string, username: string, password: string) {
    await write('/api/v1/setup', { body: { code, username, password } });
  },
  async login(username: string, password: string) {
    await write('/api/v1/login', { body: { username, password } });
  },
  async logout() {
    await write('/api/v1/logout', {});
  },
  session: () => read('/api/v1/session'),
  overview: () => read('/api/v1/overview'),
  day: () => read('/api/v1/day'),
  /** Since when each device is known, by its key. */
  firstSeen: async () =>
    new Map((await read('/api/v1/devices')).devices.map(({ key, first_seen }) => [key, first_seen])),
  live: (signal: AbortSignal) => call('/live', { headers: { Accept: 'text/event-stream' }, signal }),
  device: (key: string) => read('/api/v1/devices/{key}', { path: { key } }),
  trend: (key: string, code: string, minutes: number) =>
    read('/api/v1/devices/{key}/trend', { path: { key }, query: { code, minutes } }),
  waves: (key: string, seconds: number) =>
    read('/api/v1/devices/{key}/waves', { path: { key }, query: { seconds } }),
  entries: (filter: EntryFilter, limit = 50) =>
    read('/api/v1/entries', { query: { ...filter, state: filter.state as EntryState, limit } }),
  async entry(id: EntryId): Promise<EntryDetail> {
    const response = await call(filled('/entries/{id}', { path: { id } }), inJson);
    const text = await response.text();
    const detail = JSON.parse(text) as Told['EntryDetail'];
    const exact = parseExact(text) as unknown as Pick<EntryDetail, 'fhir' | 'answer'>;
    const answer = detail.answer && { ...detail.answer, body: exact.answer?.body ?? null };
    return { ...detail, fhir: exact.fhir ?? [], answer };
  },
  hl7: (id: EntryId) => read('/api/v1/entries/{id}/hl7', { path: { id } }),
  async release(id: EntryId) {
    await write('/api/v1/entries/{id}/release', { path: { id } });
  },
  async replay(id: EntryId) {
    await write('/api/v1/entries/{id}/replay', { path: { id } });
  },
  upstream: () => read('/api/v1/upstream'),
  testUpstream: async (): Promise<TestStep[]> =>
    (await write('/api/v1/upstream/test', {}, TEST_PATIENCE_MS)).steps,
};
