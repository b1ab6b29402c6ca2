// The audit and certificate parts of the gateway's HTTP contract, typed.

import { call, query, read, write, type Told } from './api';

export type AuditRow = Told['AuditRow'];
export type AuditOutcome = AuditRow['outcome'];
export type AuditPage = Told['AuditPage'];
export type AuditCheck = Told['AuditCheck'];
export type Certificate = Told['Certificate'];
export type AcmeState = Told['AcmeState'];
export type AcmeSettings = Told['AcmeSettings'];

export interface AuditFilter {
  who?: string;
  what?: string;
  outcome?: AuditOutcome;
  from?: string;
  until?: string;
  before?: number;
}

/** An export may be long: minutes, not seconds. */
const EXPORT_PATIENCE_MS = 600_000;

export const audit = {
  page: (filter: AuditFilter) => read('/api/v1/audit', { query: { ...filter } }),
  verify: () => write('/api/v1/audit/verify', {}),
  /** The whole trail, or the span of time, as FHIR AuditEvents, one a line. */
  export: async (span: { from?: string; until?: string }): Promise<Blob> =>
    (await call(`/audit/export${query(span)}`, {}, EXPORT_PATIENCE_MS)).blob(),
};

/** The certificate by ACME. */
export const acme = {
  state: () => read('/api/v1/certificate/acme'),
  save: (settings: AcmeSettings) => write('/api/v1/certificate/acme', { body: settings }),
  now: () => write('/api/v1/certificate/acme/try', {}),
  end: () => write('/api/v1/certificate/acme/end', {}),
};

export const certificate = {
  show: () => read('/api/v1/certificate'),
  upload: (chain: string, key: string) => write('/api/v1/certificate', { body: { certificate: chain, key } }),
  own: () => write('/api/v1/certificate/own', {}),
};

/** The moment a `datetime-local` field names in the browser's zone, as the gateway takes it; nothing when it names none. */
export function moment(field: string): string | undefined {
  const at = field === '' ? NaN : new Date(field).getTime();
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}
