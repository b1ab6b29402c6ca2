// The box as a whole in the gateway's HTTP contract, typed: setting up the FHIR server, backups, settings, what version it is.

import { ask, call, query, read, seg, write, type Told } from './api';

/** The keys of an `[upstream]` section that the desk asks for. */
export type UpstreamPage = Pick<
  Told['UpstreamPage'],
  | 'base'
  | 'token_endpoint'
  | 'scopes'
  | 'mode'
  | 'ca_file'
  | 'insecure_http'
  | 'insecure_no_auth'
  | 'in_flight'
  | 'max_bundle_resources'
  | 'max_bytes_per_s'
> &
  Required<Pick<Told['UpstreamPage'], 'name' | 'auth' | 'client_id'>>;
export type KeyView = Told['UpstreamKey'];
export type SetUp = Omit<Told['UpstreamSetUp'], 'page' | 'jwks'> & {
  page?: UpstreamPage | null;
  jwks: { keys: Record<string, unknown>[] };
};
export type Discovered = Told['DiscoveredServer'];
export type Kind = Told['ServerKind'];
export type AppliedAnew = Told['ConnectsAnew'];
export type Backup = Told['Backup'];
export type Job = Told['Job'];
export type Backups = Told['Backups'];
export type Setting = Told['Setting'];
export type Settings = Told['Settings'];
export type Updates = Told['Updates'];

const FAR_MS = 120_000;
/** A piece of a file that is brought in. */
const PIECE = 2 << 20;

export const setup = {
  read: async () => (await read('/api/v1/upstream/setup')) as SetUp,
  discover: (page: Partial<UpstreamPage> & { base: string }) =>
    write('/api/v1/upstream/discover', { body: page }, FAR_MS),
  test: async (page: UpstreamPage) => (await write('/api/v1/upstream/try', { body: page }, FAR_MS)).steps,
  newKey: (algorithm: string) => write('/api/v1/upstream/keys', { body: { algorithm } }),
  rotate: () => write('/api/v1/upstream/keys/rotate', {}),
  async dropNext() {
    await ask('/api/v1/upstream/keys/drop', {});
  },
  save: (page: UpstreamPage) => write('/api/v1/upstream/save', { body: page }),
  remove: () => write('/api/v1/upstream/remove', {}),
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

/** Brings a file in, piece by piece; `told` hears how much is there. */
async function bring(
  path: string,
  file: Blob,
  terms: Record<string, string | undefined>,
  told: (share: number) => void,
) {
  for (let at = 0; at < file.size; at += PIECE) {
    const init = { method: 'POST', headers: { 'X-Bedside-Csrf': '1' }, body: file.slice(at, at + PIECE) };
    await call(`${path}${query({ at, ...terms })}`, init, 60_000);
    told(Math.min(1, (at + PIECE) / file.size));
  }
}

export const box = {
  bill: async () => (await (await call('/sbom', {})).json()) as Bill,
  backups: () => read('/api/v1/backups'),
  make: () => write('/api/v1/backups', {}),
  check: (name: string) => write('/api/v1/backups/{name}/check', { path: { name } }),
  restore: (name: string) => write('/api/v1/backups/{name}/restore', { path: { name } }),
  async remove(name: string) {
    await ask('/api/v1/backups/{name}/remove', { path: { name } });
  },
  /** Address of the file, or of its manifest. */
  file: (name: string, manifest = false) => `/api/v1/backups/${seg(name)}${manifest ? '?manifest=yes' : ''}`,
  /** Brings a file in, piece by piece; `told` hears how much is there. */
  async upload(name: string, file: Blob, manifest: boolean, told: (share: number) => void) {
    await bring(`/backups/${seg(name)}/upload`, file, { manifest: manifest ? 'yes' : undefined }, told);
  },
  settings: () => read('/api/v1/settings'),
  updates: () => read('/api/v1/updates'),
  /** Brings an update file in, piece by piece; `told` hears how much is there. */
  async bringUpdate(file: Blob, told: (share: number) => void) {
    await bring('/updates/upload', file, {}, told);
  },
  install: (start: boolean) => write('/api/v1/updates/install', { body: { start } }),
  async restart() {
    await ask('/api/v1/restart', {});
  },
};
