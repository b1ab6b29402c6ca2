// The pairing part of the gateway's HTTP contract, typed.

import { read, write, type Told } from './api';
import type { ExactJson } from './json';

export type Sender = Told['Sender'];
/** How well a profile reads a candidate. */
export type Guess = Told['Guess'];
export type Candidate = Told['Candidate'];
export type KnownSender = Told['KnownSender'];
export type PairedLink = Told['PairedLink'];

export interface SerialHint {
  baud: number[];
  data_bits: number;
  parity: string;
  stop_bits: number;
  flow: string;
  dtr: boolean | null;
  rts: boolean | null;
  quiet_timeout_s: number | null;
}

export interface Transport {
  serial?: SerialHint | null;
  tcp?: { listen: boolean; port: number } | null;
  mqtt?: { topics: string[]; qos: number } | null;
  udp?: { port: number } | null;
  folder?: { files: string; settle_s: number } | null;
}

/** `transport` as the profile's `[transport]` has it. */
export type ProfileCard = Omit<Told['ProfileCard'], 'transport'> & { transport: Transport };
export type Standing = Omit<Told['Pairing'], 'profiles'> & { profiles: ProfileCard[] };
export type Finding = Told['Finding'];
export type Preview = Omit<Told['Explained'], 'fhir'> & { fhir: ExactJson[] };
export type Port = Told['SerialPort'];
export type Trial = Told['Trial'];

/** The `serial` table of a link. */
export type SerialTable = { port: string } & Record<string, string | number | boolean>;
export type ScanFound = Omit<Told['ScanFound'], 'serial'> & { serial: SerialTable };
export type Scan = Omit<Told['Scan'], 'found'> & { found: ScanFound[] };
export type ScanState = Scan['state'];

export const isRunning = (scan: Scan | null): boolean =>
  scan?.state === 'listening' || scan?.state === 'asking';

export const pairing = {
  standing: async () => (await read('/api/v1/pairing')) as Standing,
  preview: async ({ link, sender }: Sender, profile: string) =>
    (await write('/api/v1/pairing/preview', { body: { link, sender, profile } })) as Preview,
  accept: ({ link, sender }: Sender, profile: string) =>
    write('/api/v1/pairing/accept', { body: { link, sender, profile } }),
  async forget({ link, sender }: Sender) {
    await write('/api/v1/pairing/forget', { body: { link, sender } });
  },
  /** The keys of a `[[link]]` section; gives the link's name. */
  addLink: async (link: object): Promise<string> =>
    (await write('/api/v1/pairing/links', { body: link as Told['LinkWanted'] })).name,
  async removeLink(name: string) {
    await write('/api/v1/pairing/links/{name}/remove', { path: { name } });
  },
  ports: async () => (await read('/api/v1/pairing/ports')).ports,
  async scan(port: string, profiles: string[], ask: boolean) {
    await write('/api/v1/pairing/scan', { body: { port, profiles, ask } });
  },
  /** `null` when there was no scan yet. */
  scanning: async () => ((await read('/api/v1/pairing/scan')) ?? null) as Scan | null,
  async stopScan() {
    await write('/api/v1/pairing/scan/stop', {});
  },
};
