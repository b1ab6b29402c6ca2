// HL7 routes, the message viewer and the patient index as a user meets them, over a stubbed gateway.

import { afterEach, describe, expect, it } from 'vitest';
import { AUDITOR, ENTRY, HOSTILE, NURSE, TAKEN, refusal } from './gateway.fixture';
import type { IndexedDetail, Occupied } from './lib/patients';
import type { Destination, Outgoing } from './lib/routes';
import { button, leave, one, open, press, text, type } from './visit.fixture';

const DESTINATION: Destination = {
  name: 'lab/1',
  address: 'lab.example:2575',
  tls: false,
  acknowledge: 'enhanced',
  in_order: 'patient',
  configured: true,
  state: 'retrying',
  trouble: 'connection refused',
  connections: [{ connected: false, trouble: 'connection refused' }],
  waiting: 2,
  sent: 1,
  held: 1,
  oldest: TAKEN,
  age_s: 5,
  accepted: 1234,
  accepted_at: TAKEN,
  answer: { at: TAKEN, text: `AE: ${HOSTILE}` },
  foreign: 1,
  routes: [
    {
      name: 'all',
      from: [],
      messages: ['ADT'],
      when: null,
      how: 'pass',
      says: 'ADT from every link as they came',
      left_out: { waveforms: 96, alarms: 1 },
    },
  ],
  queued: 1240,
  done: 1234,
  gone: 0,
  delivery: null,
};
const STANDING = { destinations: [DESTINATION] };
const HELD: Outgoing = {
  id: 12,
  destination: 'lab/1',
  route: 'all',
  entry: 7,
  part: 0,
  state: 'held',
  attempts: 1,
  revision: 0,
  queued: TAKEN,
  next_try: null,
  sent_at: TAKEN,
  committed: null,
  answered_at: TAKEN,
  reason: 'The receiver does not know the patient',
  control_id: 'BED-12',
  answer: 'AE: 204',
};
const ROUTES = {
  'GET /destinations': STANDING,
  'GET /destinations/lab%2F1/messages': { messages: [HELD], next: null },
};

afterEach(leave);

describe('the HL7 routes page', () => {
  it('says how each destination stands, its last answer as text, and which routes lead there', async () => {
    await open('/routes', ROUTES);
    const card = text(one('article.card'));
    expect(card).toContain('Not reachable');
    expect(card).toContain('connection refused');
    expect(card).toContain('not encrypted');
    expect(card).toContain(HOSTILE);
    expect(document.querySelector('img')).toBeNull();
    expect(card).toContain('all: ADT from every link as they came');
    expect(card).toContain('1 acknowledgement fitted no message');
    expect(card).toContain('Left out since the start: 96 waves and 1 alarm.');
  });

  it('pauses after a yes and goes on', async () => {
    const { asked, routes } = await open('/routes', {
      ...ROUTES,
      'POST /destinations/lab%2F1/pause': {},
      'POST /destinations/lab%2F1/resume': {},
    });
    await press(button('Pause', one('article.card')));
    expect(asked.some((one) => one.startsWith('POST'))).toBe(false);
    routes['GET /destinations'] = { destinations: [{ ...DESTINATION, state: 'paused' }] };
    await press(button('Pause', one('dialog[open]')));
    expect(asked).toContain('POST /destinations/lab%2F1/pause');
    expect(text(one('article.card'))).toContain('Paused');
    await press(button('Go on', one('article.card')));
    expect(asked).toContain('POST /destinations/lab%2F1/resume');
    expect(text()).toContain('lab/1 goes on.');
  });

  it('shows what is held with its reason, releases it, and tells a refusal', async () => {
    const { asked, routes } = await open('/routes', {
      ...ROUTES,
      'POST /outgoing/12/release': () => refusal(409, 'Conflict', 'it is not held'),
    });
    expect(asked).toContain('GET /destinations/lab%2F1/messages?state=held');
    expect(text(one('.rows'))).toContain('The receiver does not know the patient');
    await press(button('Release', one('.rows')));
    await press(button('Release', one('dialog[open]')));
    expect(text(one('dialog[open]'))).toContain('It is not held');
    routes['POST /outgoing/12/release'] = {};
    await press(button('Release', one('dialog[open]')));
    expect(text()).toContain('it waits to be sent again');
  });

  it('shows the bytes of a message when somebody looks, as text only', async () => {
    const { asked } = await open('/routes', {
      ...ROUTES,
      'GET /outgoing/12': { ...HELD, bytes: `MSH|^~\\&|A\rPID|||7||${HOSTILE}\r`, why: null },
    });
    expect(asked).not.toContain('GET /outgoing/12');
    await press(button('Look', one('.rows')));
    expect(one('.rows pre').textContent).toBe(`MSH|^~\\&|A\nPID|||7||${HOSTILE}\n`);
    expect(document.querySelector('img')).toBeNull();
    await press(button('Look', one('.rows')));
    expect(document.querySelector('.rows pre')).toBeNull();
  });

  it('releases all that is held after a yes that names how many', async () => {
    const { asked } = await open('/routes', {
      ...ROUTES,
      'GET /destinations': { destinations: [{ ...DESTINATION, held: 12 }] },
      'POST /destinations/lab%2F1/release': { released: 12 },
    });
    await press(button('Release all 12'));
    expect(asked.some((one) => one.startsWith('POST'))).toBe(false);
    await press(button('Release 12', one('dialog[open]')));
    expect(text()).toContain('12 messages released');
  });

  it('drops only with a reason', async () => {
    const said: object[] = [];
    await open('/routes', {
      ...ROUTES,
      'POST /outgoing/12/drop': (body: object) => (said.push(body), {}),
    });
    await press(button('Drop', one('.rows')));
    expect(button('Drop it', one('dialog[open]')).disabled).toBe(true);
    await type('#drop-reason', ' test message ');
    await press(button('Drop it', one('dialog[open]')));
    expect(said).toEqual([{ reason: 'test message' }]);
  });

  it('says that one request is tried, and sends a span of time again after a yes', async () => {
    const said: object[] = [];
    const delivery = {
      kind: 'fhir',
      breaker: 'half-open',
      failures: 3,
      batch: 1,
      in_flight: 1,
      bytes_sent: 10,
      sends: 'alarms',
    } as const;
    await open('/routes', {
      ...ROUTES,
      'GET /destinations': { destinations: [{ ...DESTINATION, delivery }] },
      'POST /destinations/lab%2F1/replay': (body: object) => (said.push(body), { replayed: 2 }),
    });
    const card = text(one('article.card'));
    expect(card).toContain('Trying one request');
    expect(card).toContain('3 tries in a row');
    expect(card).toContain('Only alarms at this hour');
    await press(button('Send a time again', one('article.card')));
    expect(button('Send again', one('dialog[open]')).disabled).toBe(true);
    await type('dialog[open] input', '2026-11-22T10:00');
    await type('dialog[open] .field + .field input', '2026-11-22T09:00');
    expect(text(one('dialog[open]'))).toContain('It must end after it begins');
    expect(button('Send again', one('dialog[open]')).disabled).toBe(true);
    await type('dialog[open] .field + .field input', '2026-11-22T11:30');
    await press(button('Send again', one('dialog[open]')));
    const at = (local: string) => new Date(local).toISOString();
    expect(said).toEqual([{ from: at('2026-11-22T10:00'), until: at('2026-11-22T11:30') }]);
    expect(text()).toContain('2 entries go to lab/1 again');
  });

  it('teaches when none is set up, and shows no message to who may not read', async () => {
    await open('/routes', { ...ROUTES, 'GET /destinations': { destinations: [] } });
    expect(text()).toContain('No HL7 destination is set up');
    await leave();
    const { asked } = await open('/routes', { ...ROUTES, 'GET /session': AUDITOR });
    expect(text(one('article.card'))).toContain('lab/1');
    expect(asked.some((one) => one.includes('/messages'))).toBe(false);
    expect(document.querySelector('article.card button')).toBeNull();
  });
});

describe('the message viewer', () => {
  const MESSAGE = {
    segments: [
      {
        segment: 'MSH',
        occurrence: 1,
        title: 'Message header',
        fields: [{ path: 'MSH-10', title: 'Message control id', null: false, parts: [[['4711']]] }],
      },
      {
        segment: 'PID',
        occurrence: 1,
        title: 'Patient',
        fields: [
          {
            path: 'PID-3',
            title: 'Patient identifiers',
            null: false,
            parts: [[['7'], [''], ['X', '1.2']], [['8']]],
          },
          { path: 'PID-5', title: 'Name', null: false, parts: [[[HOSTILE]]] },
          { path: 'PID-8', title: 'Sex', null: true, parts: [[['""']]] },
        ],
      },
      {
        segment: 'QQQ',
        occurrence: 2,
        title: null,
        fields: [{ path: 'QQQ[2]-1', title: null, null: false, parts: [[['x']]] }],
      },
    ],
    whole: false,
  };

  it('names segments and fields, keeps their separators, and shows values as text only', async () => {
    await open('/messages/7', {
      'GET /entries/7': { ...ENTRY, raw: { ...ENTRY.raw, text: '␋MSH|^~\\&|A␍' } },
      'GET /entries/7/hl7': MESSAGE,
    });
    const panel = text(one('#segments'));
    expect(panel).toContain('2 · HL7 segments');
    expect(panel).toMatch(/PID-3 Patient identifiers\s*7\^\^X&1.2\s*8/);
    expect(panel).toContain('deleted: the sender says that there is none');
    expect(panel).toContain('QQQ[2] Unknown segment');
    expect(panel).toContain('Only the beginning of a long message');
    expect(document.querySelector('img')).toBeNull();
    expect(text(one('#timeline'))).toContain('6 · Timeline');
    await type('#segment-search', 'sex');
    expect(text(one('#segments'))).toContain('PID-8');
    expect(text(one('#segments'))).not.toContain('PID-3');
  });

  it('asks nothing of a frame that is no HL7', async () => {
    const { asked } = await open('/messages/7', {
      'GET /entries/7': { ...ENTRY, raw: { ...ENTRY.raw, text: 'SpO2=97␍␊' } },
    });
    expect(asked).not.toContain('GET /entries/7/hl7');
    expect(document.querySelector('#segments')).toBeNull();
    expect(text(one('#timeline'))).toContain('5 · Timeline');
  });
});

describe('people and beds', () => {
  const PLACE = { facility: null, point_of_care: 'ICU', room: '4', bed: '2', label: 'ICU 4-2' };
  const lies = (id: number, family: string) => ({
    id,
    number: `P-${id}`,
    family,
    given: null,
    birth_date: null,
    since: TAKEN,
    on_leave: false,
  });
  const BEDS: Occupied[] = [{ ...PLACE, occupants: [lies(1, HOSTILE), lies(2, 'Two')], conflict: true }];
  const KNOWN = { persons: 2, occupied: 1, sources: [{ name: 'adt', heard: TAKEN }] };
  const PERSON: IndexedDetail = {
    id: 2,
    family: 'Two',
    given: null,
    birth_date: '1957-03-14',
    gender: null,
    identifiers: [{ system: 'urn:x', value: 'P-2', kind: 'MR', retired: false }],
    place: PLACE,
    told: TAKEN,
    removed: false,
    stays: [{ place: PLACE, visit: 'V1', since: TAKEN, until: null, on_leave: false }],
    merges: [{ id: 5, survivor: 2, gone: 9, at: TAKEN, entry: 7, undone: null, undone_by: null }],
    sources: [{ entry: 7, event: 'A01', told: TAKEN }],
  };
  const all = {
    'GET /places': { places: BEDS, known: KNOWN },
    'GET /associations': { devices: [], waiting: {}, policy: {} },
    'GET /people/2': PERSON,
  };

  it('shows a bed with two people as a conflict, and asks once', async () => {
    const { asked } = await open('/patients/people', all);
    expect(text(one('.bed'))).toContain('Two in one bed');
    expect(document.querySelector('img')).toBeNull();
    expect(asked.filter((one) => one === 'GET /places')).toHaveLength(1);
  });

  it('searches without putting the name into an address', async () => {
    const said: object[] = [];
    const { asked } = await open('/patients/people', {
      ...all,
      'POST /people': (body: object) => (said.push(body), { people: [PERSON], known: KNOWN }),
    });
    await type('#people-search', ' Two ');
    await press(button('Search'));
    expect(said).toEqual([{ text: 'Two' }]);
    expect(one<HTMLAnchorElement>('.hit').search).toBe('?id=2');
    expect(asked.join()).not.toContain('Two');
    expect(location.href).not.toContain('Two');
  });

  it('tells of no bed what has to be done to know some', async () => {
    await open('/patients/people', {
      ...all,
      'GET /places': { places: [], known: { ...KNOWN, sources: [] } },
    });
    expect(text()).toContain('No bed is known to be taken');
    expect(text()).toContain('hl7-system');
  });

  it('takes a merge back after a yes, for who may', async () => {
    const { asked } = await open('/patients/person?id=2', {
      ...all,
      'POST /people/merges/5/undo': { beyond: 3 },
    });
    expect(text()).toContain('ICU 4-2');
    await press(button('Take it back'));
    expect(asked).not.toContain('POST /people/merges/5/undo');
    await press(button('Take it back', one('dialog[open]')));
    expect(asked).toContain('POST /people/merges/5/undo');
    expect(text()).toContain(
      '3 entries of that time are no longer kept here and stay on the FHIR server as delivered',
    );
    await leave();
    await open('/patients/person?id=2', { ...all, 'GET /session': NURSE });
    expect(document.querySelector('.rows button')).toBeNull();
  });
});
