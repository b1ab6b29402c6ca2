// Held, profiles, backups and setting up a server as a user meets them, over a stubbed gateway.

import { afterEach, describe, expect, it } from 'vitest';
import { HOSTILE, TAKEN, refusal } from './gateway.fixture';
import { button, leave, one, open, press, settle, text, type } from './visit.fixture';

const GROUP = {
  key: 'line # is no record',
  reason: `line 7 is no record ${HOSTILE}`,
  step: 'profile',
  count: 60,
  first: TAKEN,
  last: TAKEN,
  links: [{ name: 'bed-1', profile: 'acme/vs-1', count: 60 }],
  devices: [],
  newest: [9, 1],
};
const SET = {
  token: 't1',
  deed: 'release',
  count: 60,
  first: TAKEN,
  last: TAKEN,
  devices: [['?', 60]],
  devices_all: 1,
  targets: ['EHR (https://ehr.example/r4)'],
  left_out: 2,
  confirm: true,
  until: TAKEN,
  state: 'frozen',
  done: 0,
  skipped: 0,
  detail: '',
};
const HELD = {
  'GET /held': { groups: [GROUP], held: 60, looked_at: 60 },
  'GET /associations/doubts': { doubts: [], counts: { orphan: 0, conflict: 0, review: 0 }, next: null },
};

afterEach(leave);

describe('what is held', () => {
  it('stands by reason, as text, with the way to its cause', async () => {
    await open('/held', HELD);
    expect(text(one('li.group'))).toContain('line 7 is no record <img');
    expect('ran' in window).toBe(false);
    expect(one<HTMLAnchorElement>('li.group a').getAttribute('href')).toBe(
      '/profiles/edit?id=acme%2Fvs-1&entry=9',
    );
  });
  it('goes as the set that was told, when its number is typed', async () => {
    HTMLDialogElement.prototype.showModal ??= function (this: HTMLDialogElement) {
      this.open = true;
    };
    await open('/held', {
      ...HELD,
      'POST /sets': SET,
      'POST /sets/t1/run': { ...SET, state: 'done', done: 60 },
    });
    await press(button('Release the group'));
    await settle();
    const dialog = one('dialog[open]');
    expect(text(dialog)).toContain('60 entries, and no others');
    expect(text(dialog)).toContain('2 that fit and are on their way already');
    const does = button('Release 60 entries', dialog);
    expect(does.disabled).toBe(true);
    await type('dialog[open] input', '59');
    expect(does.disabled).toBe(true);
    await type('dialog[open] input', '60');
    await press(does);
    expect(text(dialog)).toContain('Released: 60 entries.');
  });
});

const ROW = {
  id: 'acme/vs-1',
  manufacturer: 'Acme',
  model: 'VS-1',
  firmware: null,
  verified: 'simulator',
  codec: 'lines',
  hash: '00',
  source: 'desk',
  overrides: true,
  saved: { by: 'anna', at: TAKEN },
  links: ['bed-1'],
  senders: 0,
  captures_kept: 1,
};
const PAGE = {
  ...ROW,
  text: '[device]\nmodel = "VS-1"\n',
  before: '[device]\n',
  caveats: [{ text: 'It counts months first', source: 'manual' }],
  captures: [
    { name: 'a.txt', topic: null, golden: true, raw: { text: 'HR=72', hex: '', sha256: '', bytes: 5 } },
  ],
  recent: [],
};
const RAN = {
  faults: [],
  fits: true,
  measurements: [],
  findings: [],
  held: null,
  ignored: null,
  fhir: [],
  says: '{\n  "a": 2\n}\n',
  golden: '{\n  "a": 1\n}\n',
  before: null,
};

describe('a firmware profile', () => {
  it('is found by its maker, with who uses it', async () => {
    await open('/profiles', { 'GET /profiles': { profiles: [ROW] } });
    expect(text(one('tbody'))).toContain('bed-1');
    expect(text(one('tbody'))).toContain('Changed here');
    await type('#profile-find', 'nobody');
    expect(text()).toContain('No profile fits');
  });
  it('is tried as it is written, beside its golden', async () => {
    await open('/profiles/edit?id=acme%2Fvs-1', {
      'GET /profiles/acme%2Fvs-1': PAGE,
      'GET /profiles/schema': {},
      'POST /profiles/acme%2Fvs-1/check': { faults: [], device: 'Acme VS-1', metrics: [] },
      'POST /profiles/acme%2Fvs-1/run': RAN,
    });
    await settle();
    expect(one<HTMLTextAreaElement>('textarea').value).toBe(PAGE.text);
    expect(text(one('[aria-label="The golden, and what it says now"]'))).toContain('"a": 1');
    expect(text()).toContain('It counts months first');
  });
  it('with a fault cannot be saved, and the fault says where it is', async () => {
    await open('/profiles/edit?id=acme%2Fvs-1', {
      'GET /profiles/acme%2Fvs-1': PAGE,
      'GET /profiles/schema': {},
      'POST /profiles/acme%2Fvs-1/check': {
        faults: [{ line: 2, column: 1, width: 5, message: 'no such key', source_line: 'modle' }],
        device: null,
        metrics: [],
      },
      'POST /profiles/acme%2Fvs-1/run': RAN,
    });
    await settle();
    expect(text()).toContain('Line 2, column 1');
    expect(button('Save and use').disabled).toBe(true);
  });
});

const BACKUPS = {
  backups: [
    { name: 'a.backup', bytes: 5000, made: TAKEN, frames: 3, sha256: '00', own: false, checked: null },
  ],
  folder: '/x',
  free_bytes: 9_000_000_000,
  needs_bytes: 5000,
  job: null,
};

describe('backups', () => {
  it('tell what they are, and that one is of another box', async () => {
    await open('/backups', { 'GET /backups': BACKUPS });
    expect(text()).toContain('Of another box.');
    expect(one<HTMLAnchorElement>('a[download="a.backup"]').getAttribute('href')).toBe(
      '/api/v1/backups/a.backup',
    );
  });
  it('that cannot be had say why', async () => {
    await open('/backups', { 'GET /backups': () => refusal(403, 'role', 'your role may not do that') });
    expect(text(one('[role=alert]'))).not.toBe('');
  });
});

describe('setting up the server', () => {
  it('leaves what the file says to the file', async () => {
    await open('/upstream/setup', {
      'GET /upstream/setup': {
        source: 'file',
        file: '/etc/bedside/bedside.toml',
        page: null,
        keys: [],
        jwks: { keys: [] },
        scopes: [],
        waiting: 0,
        trouble: null,
      },
    });
    expect(text()).toContain('/etc/bedside/bedside.toml');
    expect(text()).not.toContain('5 · Use it');
  });
});
