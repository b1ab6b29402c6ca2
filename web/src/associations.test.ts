// Patients and devices as a user meets them, over a stubbed gateway.

import { afterEach, describe, expect, it } from 'vitest';
import { AUDITOR, ENTRY, HOSTILE, TAKEN, refusal } from './gateway.fixture';
import type { Association, Doubt, Person, Stand, Standing, Timeline } from './lib/associations';
import { button, leave, one, open, press, scan, settle, text, type } from './visit.fixture';

const PERSON: Person = {
  id: 'P-0001',
  system: 'urn:x',
  family: HOSTILE,
  given: 'Eva',
  birth_date: '1957-03-14',
  gender: 'female',
  known: true,
};
const ASSOCIATION: Association = {
  id: 5,
  patient: PERSON,
  since: TAKEN,
  until: null,
  source: 'scanned',
  overrules: false,
  by: 'beat',
  made: TAKEN,
  reason: null,
  ended_by: null,
  ended_why: null,
  void: null,
};
const NONE = { orphan: 0, conflict: 0, review: 0 };
const FREE: Stand = {
  key: 'Acme/M.5/1',
  label: 'Bed 3 monitor',
  link: 'monitors',
  home: null,
  association: null,
  in_bed: [],
  waiting: { ...NONE, orphan: 2 },
};
const TAKEN_UP: Stand = { ...FREE, key: 'kit/2', label: 'Kit', association: ASSOCIATION, waiting: NONE };
const STANDING: Standing = {
  devices: [FREE, TAKEN_UP],
  waiting: FREE.waiting,
  policy: { unknown: 'hold', timeout_h: 24, end_on: ['discharge'], on_merge: 'relink' },
};
const doubt = (entry: number): Doubt => ({
  entry,
  device: FREE.key,
  state: 'orphan',
  why: 'nobody is known to have been on the device then',
  first: TAKEN,
  last: TAKEN,
});
const DOUBTS = { doubts: [doubt(7), doubt(8)], counts: FREE.waiting, next: null };
const KNOWN = { persons: 1, occupied: 0, sources: [] };
const NOBODY_FOUND = { people: [], known: KNOWN };
const FOUND = {
  people: [
    {
      ...PERSON,
      id: 3,
      identifiers: [{ system: PERSON.system, value: PERSON.id, kind: 'MR', retired: false }],
      place: null,
      told: TAKEN,
      removed: false,
    },
  ],
  known: KNOWN,
};
const DONE = { id: 9, released: 2, corrected: 1, held: 3 };
const ROUTES = {
  'GET /associations': STANDING,
  'GET /associations/doubts': DOUBTS,
  'POST /associations/find': ({ code }: Record<string, string>) =>
    code === 'SN-77' ? FREE : refusal(404, 'No such device'),
  'POST /people': NOBODY_FOUND,
};

afterEach(leave);

describe('the patients page', () => {
  it('says who is on which device, names as text only, and the site’s rules', async () => {
    await open('/patients', ROUTES);
    const [free, taken] = [...document.querySelectorAll('article.card')];
    expect(text(free)).toContain('Nobody');
    expect(text(taken)).toContain(`${HOSTILE}, Eva`);
    expect(text(taken)).toContain('born 1957-03-14');
    expect(text(taken)).toContain('scanned by beat');
    expect(document.querySelector('img')).toBeNull();
    expect(text()).toContain('does not know is held until somebody looks');
    expect(text()).toContain('It ends by itself after 24 h');
  });

  it('tells what waits as one decision per device and reason, and what to do', async () => {
    await open('/patients', ROUTES);
    const knot = one('#doubts li.knot');
    expect(document.querySelectorAll('#doubts li.knot')).toHaveLength(1);
    expect(text(knot)).toContain('Nobody is known to have been on the device then.');
    expect(text(knot)).toContain('2 entries wait');
    expect(text(knot)).toContain('Say who was on it');
    await press(button('Say who it was', knot));
    expect(text(one('dialog[open]'))).toContain('Bed 3 monitor');
    expect(one<HTMLInputElement>('#associate-from').value).not.toBe('');
  });

  it('teaches when there is no device, and is not for every role', async () => {
    await open('/patients', { ...ROUTES, 'GET /associations': { ...STANDING, devices: [] } });
    expect(text()).toContain('A device shows up here with its first message');
    await leave();
    const { asked } = await open('/patients', { ...ROUTES, 'GET /session': AUDITOR });
    expect(text()).toContain('is not for your role (auditor)');
    expect(asked).not.toContain('GET /associations');
  });
});

describe('a scanner', () => {
  it('alone puts a known patient on a device: label, wristband, wristband', async () => {
    const said: object[] = [];
    const { asked } = await open('/patients', {
      ...ROUTES,
      'POST /people': FOUND,
      'POST /associations': (body: object) => (said.push(body), DONE),
    });
    await scan('SN-77');
    expect(text(one('dialog[open]'))).toContain('Bed 3 monitor');
    await scan('P-0001', '#associate-patient');
    expect(said).toEqual([]);
    expect(text(one('dialog[open]'))).toContain('Is this right?');
    await scan('P-2x9');
    expect(text(one('dialog[open]'))).toContain('That was another number: P-2x9');
    expect(said).toEqual([]);
    await press(button('Yes, this is right'));
    const { known: _, ...wanted } = PERSON;
    expect(said).toEqual([{ device: FREE.key, patient: wanted, scanned: true }]);
    expect(document.querySelector('dialog[open]')).toBeNull();
    expect(text()).toContain('2 held entries go out now');
    expect(text()).toContain('1 delivered entry is sent again under the right patient');
    expect(text()).toContain('3 entries still wait');
    expect(asked.filter((one) => /P-0001|Eva/.test(one))).toEqual([]);
  });

  it('begins with the wristband when no device has that code', async () => {
    await open('/patients', ROUTES);
    await scan('WRIST-4711');
    expect(text(one('dialog[open]'))).toContain('WRIST-4711');
    expect(text(one('dialog[open]'))).toContain('Not in the patient index');
    expect(one('#associate-device')).toBeTruthy();
  });

  it('takes a device’s code that stands for several for no wristband', async () => {
    await open('/patients', {
      ...ROUTES,
      'POST /associations/find': () =>
        refusal(409, 'Conflict', 'that code stands for several devices: choose one'),
    });
    await scan('SN-77');
    expect(text(one('dialog[open]'))).toContain('That code stands for several devices');
    expect(text(one('dialog[open]'))).not.toContain('Not in the patient index');
  });

  it('may read any of a patient’s numbers, in any case', async () => {
    const numbers = [
      ...FOUND.people[0]!.identifiers,
      { system: 'urn:y', value: 'VISIT-7', kind: 'VN', retired: false },
    ];
    const said: Record<string, unknown>[] = [];
    await open('/patients', {
      ...ROUTES,
      'POST /people': { ...FOUND, people: [{ ...FOUND.people[0], identifiers: numbers }] },
      'POST /associations': (body: Record<string, unknown>) => (said.push(body), DONE),
    });
    await scan('SN-77');
    await scan('visit-7', '#associate-patient');
    expect(text(one('dialog[open]'))).toContain('VISIT-7');
    await scan('VISIT-7');
    expect(said[0]).toMatchObject({ patient: { id: 'VISIT-7', system: 'urn:y' }, scanned: true });
  });

  it('does nothing by itself while a person types into a field', async () => {
    await open('/patients', ROUTES);
    await scan('SN-77', '#stand-search');
    expect(document.querySelector('dialog[open]')).toBeNull();
  });
});

describe('the gateway’s questions', () => {
  async function withAnswer(code: string, detail: string, agree: string) {
    const said: Record<string, unknown>[] = [];
    await open('/patients', {
      ...ROUTES,
      'POST /associations': (body: Record<string, unknown>) => {
        said.push(body);
        return said.length === 1 ? refusal(409, 'Conflict', detail, code) : { ...DONE, held: 0 };
      },
    });
    await press(button('Associate', one('article.card')));
    await scan('WRIST-4711', '#associate-patient');
    await press(button('Yes, this is right'));
    expect(said).toHaveLength(1);
    await press(button(agree));
    expect(document.querySelector('dialog[open]')).toBeNull();
    return said;
  }

  it('about another patient on the device are asked before anything ends', async () => {
    const said = await withAnswer(
      'association-taken',
      'the device is with a patient in that time already: end that first',
      'End theirs',
    );
    expect(said.map(({ replace }) => replace)).toEqual([undefined, true]);
  });

  it('about a number the index does not know are asked before it is believed', async () => {
    const said = await withAnswer(
      'association-unknown-person',
      'the patient index does not know that number: check it',
      'The number is right',
    );
    expect(said.map(({ unknown }) => unknown)).toEqual([undefined, true]);
  });

  it('that are none are told as they are', async () => {
    await open('/patients', {
      ...ROUTES,
      'POST /associations': () => refusal(409, 'Conflict', 'that time lies in the future'),
    });
    await press(button('Associate', one('article.card')));
    await scan('WRIST-4711', '#associate-patient');
    await press(button('Yes, this is right'));
    expect(text(one('dialog[open]'))).toContain('That time lies in the future');
  });

  it('a word above the device’s needs its reason', async () => {
    const said: Record<string, unknown>[] = [];
    const conflict = { ...doubt(7), state: 'conflict', why: 'two sources differ' };
    await open('/patients', {
      ...ROUTES,
      'GET /associations/doubts': { ...DOUBTS, doubts: [conflict] },
      'POST /associations': (body: Record<string, unknown>) => (said.push(body), DONE),
    });
    await press(button('Say who it was'));
    await scan('WRIST-4711', '#associate-patient');
    await press(button('Go on'));
    expect(text(one('dialog[open]'))).toContain('Say why: it is kept with the association.');
    await type('#associate-reason', 'Wristband seen');
    await press(button('Go on'));
    await press(button('Yes, this is right'));
    expect(said).toHaveLength(1);
    expect(said[0]).toMatchObject({ overrules: true, reason: 'Wristband seen', from: TAKEN });
  });
});

describe('a device’s time', () => {
  const VOID = {
    ...ASSOCIATION,
    id: 4,
    patient: { ...PERSON, id: 'P-0', family: 'Old', known: false },
    until: '2026-11-22T15:00:00.000Z',
    void: { at: TAKEN, by: 'anna', why: 'wrong wristband', replaced_by: 5 },
  };
  const TIMELINE: Timeline = { device: TAKEN_UP, associations: [ASSOCIATION, VOID], homes: [] };
  const address = `/patients/device?key=${encodeURIComponent(TAKEN_UP.key)}`;
  const routes = {
    ...ROUTES,
    'GET /associations/devices/kit%2F2': TIMELINE,
    'GET /associations/doubts': { doubts: [], counts: NONE, next: null },
  };

  it('is a picture with its words, and a list with the reasons', async () => {
    await open(address, routes);
    expect(one('.picture').getAttribute('aria-label')).toMatch(/2 associations in the time shown/);
    expect(one('.picture').getAttribute('aria-label')).toMatch(/Old, Eva, .* struck/);
    expect(document.querySelectorAll('.band.void')).toHaveLength(1);
    const [, struck] = [...document.querySelectorAll('.list > li')];
    expect(text(struck)).toContain('struck by anna');
    expect(text(struck)).toContain('“wrong wristband”');
    expect(struck?.querySelector('button')).toBeNull();
  });

  it('is not corrected without a reason; with it, only what differs is said', async () => {
    const said: object[] = [];
    const { routes: now } = await open(address, {
      ...routes,
      'POST /associations/5/correct': (body: object) => (said.push(body), { ...DONE, released: 0, held: 0 }),
    });
    await press(button('Correct'));
    await press(one('[name=wrong][value=nobody]'));
    await press(button('Correct it', one('dialog[open]')));
    expect(said).toEqual([]);
    expect(text(one('dialog[open]'))).toContain('A correction needs its reason');
    await type('#correct-reason', ' a test ');
    await press(button('Correct it', one('dialog[open]')));
    expect(said).toEqual([{ reason: 'a test', nobody: true }]);
    expect(text()).toContain('1 delivered entry is sent again');

    now['GET /associations/devices/kit%2F2'] = TIMELINE;
    await press(button('Correct'));
    await press(one('[name=wrong][value=times]'));
    await type('#correct-from', '2026-11-22T09:00');
    await type('#correct-reason', 'late');
    await press(button('Correct it', one('dialog[open]')));
    expect(said[1]).toEqual({ reason: 'late', from: new Date('2026-11-22T09:00').toISOString() });
  });

  it('is ended after a yes', async () => {
    const said: object[] = [];
    await open(address, {
      ...routes,
      'POST /associations/5/end': (body: object) => (
        said.push(body),
        { ...DONE, released: 0, corrected: 0, held: 0 }
      ),
    });
    await press(button('End'));
    expect(said).toEqual([]);
    await press(button('End it', one('dialog[open]')));
    expect(said).toEqual([{}]);
    expect(text()).toContain('Nothing was held or delivered otherwise.');
  });
});

describe('a place', () => {
  it('needs a bed or a room', async () => {
    const said: object[] = [];
    await open('/patients', {
      ...ROUTES,
      'POST /associations/home': (body: object) => (said.push(body), { ...DONE, id: null }),
    });
    await press(button('Change', one('article.card')));
    await press(button('Keep this place'));
    expect(text(one('dialog[open]'))).toContain('A place has a bed');
    await type('#home-ward', 'ICU');
    await type('#home-bed', '2');
    await press(button('Keep this place'));
    expect(said).toEqual([{ device: FREE.key, place: { point_of_care: 'ICU', bed: '2' } }]);
  });
});

describe('a held entry whose patient is in doubt', () => {
  it('leads to where it is settled', async () => {
    await open('/messages/7', { 'GET /entries/7': ENTRY, 'GET /associations/doubts': DOUBTS });
    await settle();
    expect(one<HTMLAnchorElement>('.notice a[href^="/patients/device"]').textContent).toContain(
      'Say which patient was on the device',
    );
  });
});
