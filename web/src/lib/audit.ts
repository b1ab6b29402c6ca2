// The audit and certificate parts of the gateway's HTTP contract, typed.

import { call, change, load, query, type Told } from './api';

export type AuditOutcome = 'done' | 'refused' | 'failed';

/** One line of the trail. */
export interface AuditRow {
  id: number;
  at: string;
  /** A user, `bedside` for the gateway itself, `unknown` for somebody it does not know. */
  who: string;
  /** Stable word, such as `entry.release`. */
  what: string;
  outcome: AuditOutcome;
  target: string | null;
  /** Address it came from. */
  origin: string | null;
  note: string | null;
}

export interface AuditPage {
  rows: AuditRow[];
  /** Ask on with `before` this id. */
  next: number | null;
}

export interface AuditFilter {
  who?: string;
  what?: string;
  outcome?: string;
  from?: string;
  until?: string;
  before?: number;
}

export interface AuditCheck {
  sound: boolean;
  rows: number;
  broken: { row: number; why: string } | null;
  /** How far the seal reaches. */
  sealed_rows: number | null;
  sealed_at: string | null;
  seal_fault: string | null;
}

export interface Certificate {
  source: 'own' | 'uploaded' | 'acme' | 'configured';
  /** SHA-256: `AA:BB:…`. */
  fingerprint: string;
  facts: {
    subject: string;
    issuer: string;
    names: string[];
    not_before: string;
    not_after: string;
    self_signed: boolean;
    chain: number;
  } | null;
  days_left: number | null;
  /** Whether somebody has to look after it. */
  urgency: 'fine' | 'soon' | 'now';
  /** Why it cannot be replaced at the desk. */
  fixed: string | null;
}

/** An export may be long: minutes, not seconds. */
const EXPORT_PATIENCE_MS = 600_000;

const answer = async <T>(asked: Promise<Response>): Promise<T> => (await (await asked).json()) as T;

export const audit = {
  page: (filter: AuditFilter) => load<AuditPage>(`/audit${query({ ...filter })}`),
  verify: () => answer<AuditCheck>(change('/audit/verify')),
  /** The whole trail, or the span of time, as FHIR AuditEvents, one a line. */
  export: async (span: { from?: string; until?: string }): Promise<Blob> =>
    (await call(`/audit/export${query(span)}`, {}, EXPORT_PATIENCE_MS)).blob(),
};

export type AcmeState = Told['AcmeState'];
export type AcmeSettings = Told['AcmeSettings'];

/** The certificate by ACME. */
export const acme = {
  state: () => load<AcmeState>('/certificate/acme'),
  save: (settings: AcmeSettings) => answer<AcmeState>(change('/certificate/acme', settings)),
  now: () => answer<AcmeState>(change('/certificate/acme/try')),
  end: () => answer<AcmeState>(change('/certificate/acme/end')),
};

export const certificate = {
  show: () => load<Certificate>('/certificate'),
  upload: (chain: string, key: string) =>
    answer<Certificate>(change('/certificate', { certificate: chain, key })),
  own: () => answer<Certificate>(change('/certificate/own')),
};

/** The moment a `datetime-local` field names in the browser's zone, as the gateway takes it; nothing when it names none. */
export function moment(field: string): string | undefined {
  const at = field === '' ? NaN : new Date(field).getTime();
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}
