// The words for states, units and absent values: each said once, the same on every page.

import type { DoubtState } from './associations';
import type { EntryState, LinkState, UpstreamState } from './api';
import type { ScanState } from './pairing';
import type { OrderState } from './orders';
import type { DestinationState } from './routes';

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'idle';
export interface Word {
  text: string;
  tone: Tone;
  means: string;
}

export const ENTRY: Record<EntryState, Word> = {
  waiting: {
    text: 'Waiting',
    tone: 'busy',
    means: 'Stored on this gateway, not yet sent to the FHIR server.',
  },
  sent: { text: 'Sent', tone: 'busy', means: 'On its way: the FHIR server has not answered yet.' },
  accepted: { text: 'Accepted', tone: 'good', means: 'The FHIR server has confirmed that it keeps it.' },
  held: { text: 'Held', tone: 'bad', means: 'Stored, but a person must look: the reason is given with it.' },
};

export const LINK: Record<LinkState, Word> = {
  starting: { text: 'Starting', tone: 'busy', means: 'The connection is being opened.' },
  up: { text: 'Connected', tone: 'good', means: 'The connection is open and the device speaks.' },
  retrying: {
    text: 'Retrying',
    tone: 'bad',
    means: 'The connection failed; the gateway tries again by itself.',
  },
  quiet: {
    text: 'Quiet',
    tone: 'warn',
    means: 'The connection is open but nothing has come for longer than usual.',
  },
  stopped: { text: 'Stopped', tone: 'idle', means: 'The connection is switched off.' },
};

export const UPSTREAM: Record<UpstreamState, Word> = {
  up: { text: 'Reachable', tone: 'good', means: 'The FHIR server answers and takes what is sent.' },
  down: {
    text: 'Not reachable',
    tone: 'bad',
    means: 'The FHIR server does not answer. Everything is stored until it does.',
  },
  refusing: {
    text: 'Refusing',
    tone: 'bad',
    means: 'The FHIR server answers but refuses this gateway or what it sends.',
  },
  unconfigured: { text: 'Not set up', tone: 'idle', means: 'No FHIR server is named in bedside.toml.' },
};

export const SCAN: Record<ScanState, Word> = {
  listening: { text: 'Listening', tone: 'busy', means: 'Nothing is sent to the device.' },
  asking: { text: 'Asking', tone: 'busy', means: 'Only questions that a firmware profile lists are sent.' },
  found: { text: 'Found', tone: 'good', means: 'A firmware profile reads what the device says.' },
  nothing: { text: 'Nothing fits', tone: 'warn', means: 'No firmware profile reads what was heard.' },
  failed: { text: 'Failed', tone: 'bad', means: 'The port could not be listened to.' },
  stopped: { text: 'Stopped', tone: 'idle', means: 'Somebody ended the scan.' },
};

export const ORDER: Record<OrderState, Word> = {
  open: { text: 'Open', tone: 'busy', means: 'No analyser has asked for this specimen yet.' },
  sent: { text: 'Sent', tone: 'busy', means: 'An analyser asked and was told the tests; no result yet.' },
  done: { text: 'Done', tone: 'good', means: 'The results have come.' },
  cancelled: { text: 'Cancelled', tone: 'idle', means: 'Analysers are no longer told of it.' },
};

/** Why an entry waits for somebody to say whose it is. */
export const DOUBT: Record<DoubtState, Word> = {
  orphan: { text: 'Nobody known', tone: 'warn', means: 'Nothing says which patient it was taken from.' },
  conflict: { text: 'Conflict', tone: 'bad', means: 'Two sources name different patients.' },
  review: {
    text: 'To be looked at',
    tone: 'warn',
    means: 'It is not certain which patient it was taken from.',
  },
};

/** How a connection to a system that takes HL7 stands. */
export const DESTINATION: Record<DestinationState, Word> = {
  up: { text: 'Connected', tone: 'good', means: 'It answers what it is sent.' },
  idle: { text: 'Idle', tone: 'idle', means: 'Nothing is to be sent just now.' },
  retrying: {
    text: 'Not reachable',
    tone: 'bad',
    means: 'It does not answer. What is for it waits, in order, and is tried again.',
  },
  paused: { text: 'Paused', tone: 'warn', means: 'Somebody stopped it here. What is for it waits.' },
  gone: {
    text: 'Removed',
    tone: 'warn',
    means: 'bedside.toml does not name it now; its queue is kept.',
  },
};

/** Whether a server is spoken to. */
export const BREAKER: Record<'closed' | 'open' | 'half-open', Word> = {
  closed: { text: 'Answers', tone: 'good', means: 'It answers what it is sent' },
  open: {
    text: 'Left alone',
    tone: 'bad',
    means: 'It does not answer: it is left alone for a while, then tried with one request',
  },
  'half-open': {
    text: 'Trying one request',
    tone: 'busy',
    means: 'Trying one request: if it is answered, the others follow',
  },
};

/** A message on its way to a system that takes HL7. */
export const OUTGOING: Record<EntryState, Word> = {
  waiting: { text: 'Waiting', tone: 'busy', means: 'Queued for this destination.' },
  sent: { text: 'Sent', tone: 'busy', means: 'On its way: no final acknowledgement yet.' },
  accepted: { text: 'Accepted', tone: 'good', means: 'The receiver acknowledged it.' },
  held: { text: 'Held', tone: 'bad', means: 'A person must look: the reason is given with it.' },
};

/** How a link is connected. */
const KIND: Record<string, string> = {
  serial: 'serial port',
  mllp: 'network (HL7 over MLLP)',
  tcp: 'network (TCP)',
  udp: 'network (UDP)',
  mqtt: 'MQTT',
  folder: 'watched folder',
};

export function kindText(kind: string): string {
  return KIND[kind] ?? kind;
}

/** What a link reads: the name of a profile, or that each sender has its own. */
export function readsText(profile: string | null): string {
  return profile === 'by-sender' ? 'each sender by its own profile' : (profile ?? '');
}

const VERIFIED: Record<string, Word> = {
  document: {
    text: 'Written from a document',
    tone: 'warn',
    means:
      'Only the maker’s document was at hand, no device and no recording. Compare every value with the device’s screen.',
  },
  simulator: {
    text: 'Checked with a simulator',
    tone: 'warn',
    means: 'No real device has confirmed this firmware profile yet. Compare values with the device’s screen.',
  },
  bench: { text: 'Checked on a bench', tone: 'good', means: 'A real device was checked on a test bench.' },
  clinic: {
    text: 'Checked in a clinic',
    tone: 'good',
    means: 'A real device was checked in use in a clinic.',
  },
};

/** How far a firmware profile was checked; a profile that says nothing was not. */
export function verifiedWord(level: string): Word {
  if (level) return wordFor(VERIFIED, level);
  return { text: 'Not checked', tone: 'warn', means: 'Nobody has checked this firmware profile.' };
}

/** A state this page does not know yet is shown as it came, never dropped. */
export function wordFor(words: Record<string, Word>, state: string): Word {
  return words[state] ?? { text: state, tone: 'idle', means: '' };
}

/** FHIR data-absent-reason codes. */
const ABSENT: Record<string, string> = {
  unknown: 'Unknown',
  'asked-unknown': 'Unknown',
  'temp-unknown': 'Not known yet',
  'not-asked': 'Not asked',
  masked: 'Hidden',
  'not-applicable': 'Does not apply',
  unsupported: 'Not supported',
  'as-text': 'See the text',
  error: 'Measuring error',
  'not-a-number': 'Not a number',
  'negative-infinity': 'Below range',
  'positive-infinity': 'Above range',
  'not-performed': 'Not measured',
  'not-permitted': 'Not permitted',
};

export function absentText(reason: string | null): string {
  if (!reason) return 'No value';
  return ABSENT[reason] ?? reason;
}

/** UCUM as a bedside screen writes it. FHIR keeps the UCUM code; the entry page shows that. */
const UNIT: Record<string, string> = {
  'mm[Hg]': 'mmHg',
  'cm[H2O]': 'cmH₂O',
  Cel: '°C',
  '[degF]': '°F',
  '{beats}/min': 'beats/min',
  '{breaths}/min': 'breaths/min',
  '10*3/uL': '10³/µL',
  '10*6/uL': '10⁶/µL',
  '10*9/L': '10⁹/L',
  '10*12/L': '10¹²/L',
  '[lb_av]': 'lb',
  '[iU]/L': 'IU/L',
  'umol/L': 'µmol/L',
  'ug/L': 'µg/L',
  uV: 'µV',
  '1': '',
  '{score}': '',
};

export function unitText(ucum: string | null): string {
  if (!ucum) return '';
  return UNIT[ucum] ?? ucum;
}

export function sizeText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let size = bytes;
  let unit = -1;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  const shown = size < 10 ? size.toFixed(1).replace('.0', '') : Math.round(size);
  return `${shown} ${units[unit]}`;
}

/** `1 entry`, `3 entries`; thousands set apart by a thin space. */
export function count(n: number, noun: string, nouns = `${noun}s`): string {
  return `${digits(n)} ${n === 1 ? noun : nouns}`;
}

export function digits(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}
