// The words for states, units and absent values: each said once, the same on every page.

import { digits, m, t, type Message } from './i18n';
import type { DoubtState } from './associations';
import type { EntryState, LinkState, UpstreamState } from './api';
import type { ScanState } from './pairing';
import type { OrderState } from './orders';
import type { DestinationState } from './routes';

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'idle';
export interface Word {
  readonly text: string;
  readonly tone: Tone;
  readonly means: string;
}

/** A word that is translated when it is shown: these tables are made before the language is known. */
const word = (text: Message, tone: Tone, means: Message): Word => ({
  get text() {
    return t(text);
  },
  tone,
  get means() {
    return t(means);
  },
});

export const ENTRY: Record<EntryState, Word> = {
  waiting: word(m('Waiting'), 'busy', m('Stored on this gateway, not yet sent to the FHIR server.')),
  sent: word(m('Sent'), 'busy', m('On its way: the FHIR server has not answered yet.')),
  accepted: word(m('Accepted'), 'good', m('The FHIR server has confirmed that it keeps it.')),
  held: word(m('Held'), 'bad', m('Stored, but a person must look: the reason is given with it.')),
};

export const LINK: Record<LinkState, Word> = {
  starting: word(m('Starting'), 'busy', m('The connection is being opened.')),
  up: word(m('Connected'), 'good', m('The connection is open and the device speaks.')),
  retrying: word(m('Retrying'), 'bad', m('The connection failed; the gateway tries again by itself.')),
  quiet: word(m('Quiet'), 'warn', m('The connection is open but nothing has come for longer than usual.')),
  stopped: word(m('Stopped'), 'idle', m('The connection is switched off.')),
};

export const UPSTREAM: Record<UpstreamState, Word> = {
  up: word(m('Reachable'), 'good', m('The FHIR server answers and takes what is sent.')),
  down: word(
    m('Not reachable'),
    'bad',
    m('The FHIR server does not answer. Everything is stored until it does.'),
  ),
  refusing: word(
    m('Refusing'),
    'bad',
    m('The FHIR server answers but refuses this gateway or what it sends.'),
  ),
  unconfigured: word(m('Not set up'), 'idle', m('No FHIR server is named in bedside.toml.')),
};

export const SCAN: Record<ScanState, Word> = {
  listening: word(m('Listening'), 'busy', m('Nothing is sent to the device.')),
  asking: word(m('Asking'), 'busy', m('Only questions that a firmware profile lists are sent.')),
  found: word(m('Found'), 'good', m('A firmware profile reads what the device says.')),
  nothing: word(m('Nothing fits'), 'warn', m('No firmware profile reads what was heard.')),
  failed: word(m('Failed'), 'bad', m('The port could not be listened to.')),
  stopped: word(m('Stopped'), 'idle', m('Somebody ended the scan.')),
};

export const ORDER: Record<OrderState, Word> = {
  open: word(m('Open'), 'busy', m('No analyser has asked for this specimen yet.')),
  sent: word(m('Sent'), 'busy', m('An analyser asked and was told the tests; no result yet.')),
  done: word(m('Done'), 'good', m('The results have come.')),
  cancelled: word(m('Cancelled'), 'idle', m('Analysers are no longer told of it.')),
};

/** Why an entry waits for somebody to say whose it is. */
export const DOUBT: Record<DoubtState, Word> = {
  orphan: word(m('Nobody known'), 'warn', m('Nothing says which patient it was taken from.')),
  conflict: word(m('Conflict'), 'bad', m('Two sources name different patients.')),
  review: word(m('To be looked at'), 'warn', m('It is not certain which patient it was taken from.')),
};

/** How a connection to a system that takes HL7 stands. */
export const DESTINATION: Record<DestinationState, Word> = {
  up: word(m('Connected'), 'good', m('It answers what it is sent.')),
  idle: word(m('Idle'), 'idle', m('Nothing is to be sent just now.')),
  retrying: word(
    m('Not reachable'),
    'bad',
    m('It does not answer. What is for it waits, in order, and is tried again.'),
  ),
  paused: word(m('Paused'), 'warn', m('Somebody stopped it here. What is for it waits.')),
  gone: word(m('Removed'), 'warn', m('bedside.toml does not name it now; its queue is kept.')),
};

/** Whether a server is spoken to. */
export const BREAKER: Record<'closed' | 'open' | 'half-open', Word> = {
  closed: word(m('Answers'), 'good', m('It answers what it is sent')),
  open: word(
    m('Left alone'),
    'bad',
    m('It does not answer: it is left alone for a while, then tried with one request'),
  ),
  'half-open': word(
    m('Trying one request'),
    'busy',
    m('Trying one request: if it is answered, the others follow'),
  ),
};

/** A message on its way to a system that takes HL7. */
export const OUTGOING: Record<EntryState, Word> = {
  waiting: word(m('Waiting'), 'busy', m('Queued for this destination.')),
  sent: word(m('Sent'), 'busy', m('On its way: no final acknowledgement yet.')),
  accepted: word(m('Accepted'), 'good', m('The receiver acknowledged it.')),
  held: word(m('Held'), 'bad', m('A person must look: the reason is given with it.')),
};

/** How a link is connected. */
const KIND: Record<string, Message> = {
  serial: m('serial port'),
  mllp: m('network (HL7 over MLLP)'),
  tcp: m('network (TCP)'),
  udp: m('network (UDP)'),
  mqtt: m('MQTT'),
  folder: m('watched folder'),
};

export function kindText(kind: string): string {
  const known = KIND[kind];
  return known ? t(known) : kind;
}

/** What a link reads: the name of a profile, or that each sender has its own. */
export function readsText(profile: string | null): string {
  return profile === 'by-sender' ? t('each sender by its own profile') : (profile ?? '');
}

const VERIFIED: Record<string, Word> = {
  document: word(
    m('Written from a document'),
    'warn',
    m(
      'Only the maker’s document was at hand, no device and no recording. Compare every value with the device’s screen.',
    ),
  ),
  simulator: word(
    m('Checked with a simulator'),
    'warn',
    m('No real device has confirmed this firmware profile yet. Compare values with the device’s screen.'),
  ),
  bench: word(m('Checked on a bench'), 'good', m('A real device was checked on a test bench.')),
  clinic: word(m('Checked in a clinic'), 'good', m('A real device was checked in use in a clinic.')),
};

/** The steps of a test of the FHIR server. */
const STEPS: Record<string, Message> = {
  name: m('Name (DNS)'),
  port: m('Port (TCP)'),
  connection: m('Connection (TLS)'),
  clock: m('Clocks'),
  discovery: m('SMART discovery'),
  token: m('Token'),
  capability: m('What it can do'),
  read: m('Read'),
  validate: m('Trial write ($validate)'),
};

export function stepText(name: string): string {
  const said = STEPS[name];
  return said ? t(said) : name;
}

/** How far a firmware profile was checked; a profile that says nothing was not. */
export function verifiedWord(level: string): Word {
  if (level) return wordFor(VERIFIED, level);
  return word(m('Not checked'), 'warn', m('Nobody has checked this firmware profile.'));
}

/** A state this page does not know yet is shown as it came, never dropped. */
export function wordFor(words: Record<string, Word>, state: string): Word {
  return words[state] ?? { text: state, tone: 'idle', means: '' };
}

/** FHIR data-absent-reason codes. */
const ABSENT: Record<string, Message> = {
  unknown: m('Unknown'),
  'asked-unknown': m('Unknown'),
  'temp-unknown': m('Not known yet'),
  'not-asked': m('Not asked'),
  masked: m('Hidden'),
  'not-applicable': m('Does not apply'),
  unsupported: m('Not supported'),
  'as-text': m('See the text'),
  error: m('Measuring error'),
  'not-a-number': m('Not a number'),
  'negative-infinity': m('Below range'),
  'positive-infinity': m('Above range'),
  'not-performed': m('Not measured'),
  'not-permitted': m('Not permitted'),
};

export function absentText(reason: string | null): string {
  if (!reason) return t('No value');
  const known = ABSENT[reason];
  return known ? t(known) : reason;
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
  if (bytes < 1000) return `${digits(bytes)} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let size = bytes;
  let unit = -1;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${digits(size, size < 10 ? 1 : 0)} ${units[unit]}`;
}

/** FHIR administrative genders. */
const GENDER: Record<string, Message> = {
  female: m('female'),
  male: m('male'),
  other: m('other'),
  unknown: m('unknown'),
};

export function genderText(gender: string): string {
  const known = GENDER[gender];
  return known ? t(known) : gender;
}

export { digits };

/** `1 entry`, `3 entries`, in English only: pages say `plural`. */
export function count(n: number, noun: string, nouns = `${noun}s`): string {
  return `${digits(n)} ${n === 1 ? noun : nouns}`;
}
