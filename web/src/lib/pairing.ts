// The pairing part of the gateway's HTTP contract, typed.

import { change, load, call, seg, type EntryMeasurement } from './api';
import type { ExactJson } from './json';

export interface Sender {
  link: string;
  /** HL7: sending application and facility, else the address; MQTT: the topic. */
  sender: string;
}

/** How well a profile reads a candidate. */
export interface Guess {
  profile: string;
  /** The profile's fingerprint recognises the message. */
  fits: boolean;
  measurements: number;
  /** How many of them the profile has no codes for. */
  unknown: number;
  held: string | null;
}

export interface Candidate extends Sender {
  first_seen: string;
  last_seen: string;
  frames: number;
  /** Its latest entry. */
  entry: number;
  /** Best first. */
  guesses: Guess[];
}

export interface KnownSender extends Sender {
  profile: string;
}

export interface PairedLink {
  name: string;
  kind: string;
  profile: string;
  /** Made at the desk, else it stands in the configuration file. */
  desk: boolean;
}

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

export interface ProfileCard {
  id: string;
  manufacturer: string;
  model: string;
  verified: string;
  codec: string;
  transport: Transport;
  caveats: string[];
}

export interface Standing {
  /** IANA zone of the site. */
  zone: string;
  /** Whether the gateway has a broker of its own. */
  broker: boolean;
  links: PairedLink[];
  candidates: Candidate[];
  senders: KnownSender[];
  profiles: ProfileCard[];
}

export interface Finding {
  code: string;
  place: string | null;
  text: string;
}

export interface Preview {
  profile: string | null;
  measurements: EntryMeasurement[];
  findings: Finding[];
  fhir: ExactJson[];
}

export interface Port {
  /** The lasting name, where there is one. */
  path: string;
  device: string;
  name: string | null;
  link: string | null;
}

export type ScanState = 'listening' | 'asking' | 'found' | 'nothing' | 'failed' | 'stopped';

export interface Trial {
  setting: string;
  asked: string | null;
  bytes: number;
  frames: number;
  outcome: string;
}

/** The `serial` table of a link. */
export type SerialTable = { port: string } & Record<string, string | number | boolean>;

export interface ScanFound {
  guess: Guess;
  serial: SerialTable;
  measurements: EntryMeasurement[];
  findings: Finding[];
}

export interface Scan {
  port: string;
  state: ScanState;
  detail: string;
  percent: number;
  tried: Trial[];
  text: string;
  hex: string;
  found: ScanFound[];
}

export const isRunning = (scan: Scan | null): boolean =>
  scan?.state === 'listening' || scan?.state === 'asking';

export const pairing = {
  standing: () => load<Standing>('/pairing'),
  async preview({ link, sender }: Sender, profile: string): Promise<Preview> {
    const response = await change('/pairing/preview', { link, sender, profile });
    return (await response.json()) as Preview;
  },
  async accept({ link, sender }: Sender, profile: string): Promise<{ released: number; still_held: number }> {
    const response = await change('/pairing/accept', { link, sender, profile });
    return (await response.json()) as { released: number; still_held: number };
  },
  async forget({ link, sender }: Sender) {
    await change('/pairing/forget', { link, sender });
  },
  /** The keys of a `[[link]]` section; gives the link's name. */
  async addLink(link: object): Promise<string> {
    const response = await change('/pairing/links', link);
    return ((await response.json()) as { name: string }).name;
  },
  async removeLink(name: string) {
    await change(`/pairing/links/${seg(name)}/remove`);
  },
  ports: async () => (await load<{ ports: Port[] }>('/pairing/ports')).ports,
  async scan(port: string, profiles: string[], ask: boolean) {
    await change('/pairing/scan', { port, profiles, ask });
  },
  /** `null` when there was no scan yet. */
  async scanning(): Promise<Scan | null> {
    const response = await call('/pairing/scan', { headers: { Accept: 'application/json' } });
    return response.status === 204 ? null : ((await response.json()) as Scan);
  },
  async stopScan() {
    await change('/pairing/scan/stop');
  },
};
