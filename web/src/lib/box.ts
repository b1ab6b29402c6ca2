// The box as a whole in the gateway's HTTP contract, typed: setting up the FHIR server, backups, settings, what version it is.

import { call, change, load, query, seg, type TestStep } from './api';

/** The keys of an `[upstream]` section that the desk asks for. */
export interface UpstreamPage {
  name: string;
  base: string;
  auth: 'smart' | 'none';
  client_id: string;
  token_endpoint?: string;
  scopes?: string[];
  mode?: 'auto' | 'put' | 'conditional';
  ca_file?: string;
  insecure_http?: boolean;
  insecure_no_auth?: boolean;
  in_flight?: number;
  max_bundle_resources?: number;
  max_bytes_per_s?: number;
}

export interface KeyView {
  kid: string;
  algorithm: string;
  state: 'current' | 'next' | 'unreadable';
  by: string;
  made: string;
}

export interface SetUp {
  source: 'none' | 'file' | 'desk';
  file: string | null;
  page: UpstreamPage | null;
  keys: KeyView[];
  jwks: { keys: Record<string, unknown>[] };
  scopes: string[];
  waiting: number;
  trouble: string | null;
}

export interface Kind {
  kind: string;
  listed: boolean;
  create: boolean;
  update: boolean;
  read: boolean;
  search: boolean;
  update_create: boolean | null;
  conditional_create: boolean | null;
  conditional_update: boolean | null;
}

export interface Discovered {
  base: string;
  smart: {
    token_endpoint: string;
    private_key_jwt: boolean;
    algorithms: string[];
    capabilities: string[];
  } | null;
  smart_fault: string | null;
  metadata: {
    software: string;
    fhir_version: string;
    transaction: boolean;
    batch: boolean;
    kinds: Kind[];
  } | null;
  metadata_fault: string | null;
  scopes: string[];
  clock_skew_s: number | null;
}

export interface AppliedAnew {
  at: string;
  back_in_s: number;
}

export interface Backup {
  name: string;
  bytes: number;
  made: string | null;
  frames: number | null;
  sha256: string | null;
  own: boolean | null;
  checked: string | null;
}

export interface Job {
  kind: 'backup' | 'check' | 'restore';
  name: string;
  state: 'running' | 'done' | 'failed';
  what: string;
  done: number;
  of: number;
  detail: string;
  by: string;
  began: string;
}

export interface Backups {
  backups: Backup[];
  folder: string;
  free_bytes: number;
  needs_bytes: number;
  job: Job | null;
}

export interface Setting {
  key: string;
  value: string;
  source: 'file' | 'default' | 'desk';
  says: string;
}

export interface Settings {
  file: string;
  settings: Setting[];
  clock_synchronised: boolean;
  local_time: string;
}

export interface Updates {
  version: string;
  source: string | null;
  changelog: string;
}

const FAR_MS = 120_000;
/** A piece of a backup that is brought in. */
const PIECE = 2 << 20;

async function answered<T>(path: string, body?: object, patience?: number): Promise<T> {
  return (await (await change(path, body, patience)).json()) as T;
}

export const setup = {
  read: () => load<SetUp>('/upstream/setup'),
  discover: (page: Partial<UpstreamPage>) => answered<Discovered>('/upstream/discover', page, FAR_MS),
  test: async (page: UpstreamPage) =>
    (await answered<{ steps: TestStep[] }>('/upstream/try', page, FAR_MS)).steps,
  newKey: (algorithm: string) => answered<KeyView>('/upstream/keys', { algorithm }),
  rotate: () => answered<AppliedAnew>('/upstream/keys/rotate'),
  async dropNext() {
    await change('/upstream/keys/drop');
  },
  save: (page: UpstreamPage) => answered<AppliedAnew>('/upstream/save', page),
  remove: () => answered<AppliedAnew>('/upstream/remove'),
};

/** What the program is made of: the parts of a CycloneDX document that the desk shows. */
export interface Bill {
  components: {
    name: string;
    version: string;
    purl: string;
    scope: 'required' | 'excluded';
    licenses?: { expression: string }[];
  }[];
}

export const box = {
  bill: () => load<Bill>('/sbom'),
  backups: () => load<Backups>('/backups'),
  make: () => answered<Job>('/backups'),
  check: (name: string) => answered<Job>(`/backups/${seg(name)}/check`),
  restore: (name: string) => answered<Job>(`/backups/${seg(name)}/restore`),
  async remove(name: string) {
    await change(`/backups/${seg(name)}/remove`);
  },
  /** Address of the file, or of its manifest. */
  file: (name: string, manifest = false) => `/api/v1/backups/${seg(name)}${manifest ? '?manifest=yes' : ''}`,
  /** Brings a file in, piece by piece; `told` hears how much is there. */
  async upload(name: string, file: Blob, manifest: boolean, told: (share: number) => void) {
    for (let at = 0; at < file.size; at += PIECE) {
      const piece = file.slice(at, at + PIECE);
      const terms = query({ at, manifest: manifest ? 'yes' : undefined });
      await call(
        `/backups/${seg(name)}/upload${terms}`,
        { method: 'POST', headers: { 'X-Bedside-Csrf': '1' }, body: piece },
        60_000,
      );
      told(Math.min(1, (at + PIECE) / file.size));
    }
  },
  settings: () => load<Settings>('/settings'),
  updates: () => load<Updates>('/updates'),
  async restart() {
    await change('/restart');
  },
};
