// The made-up side of patients and devices: who is on which device, what waits, the patient index.
import { DEVICES } from './ward.mjs';

const HOUR_MS = 3_600_000;
const iso = (ms) => new Date(ms).toISOString();
const SYSTEM = 'urn:oid:2.16.840.1.113883.3.9999.1';
const person = (id, family, given, birth_date, gender, known = true) => ({
  id,
  system: SYSTEM,
  family,
  given,
  birth_date,
  gender,
  known,
});
const PEOPLE = [
  person('P-1003', 'Muster', 'Eva', '1957-03-14', 'female'),
  person('P-1004', 'Beispiel', 'Hans Peter', '1941-11-02', 'male'),
  person('P-1005', 'Exemple', 'Marie-Claude', '1988-06-30', 'female'),
  person('P-1006', 'Simulated', 'Person', '2001-01-01', 'other'),
];
const place = (point_of_care, room, bed) => ({
  facility: null,
  point_of_care,
  room,
  bed,
  label: [point_of_care, room, bed].filter(Boolean).join(' '),
});
const BEDS = [place('ICU', '4', 'BED-3'), place('ICU', '4', 'BED-4'), null, place('WARD', '5', '2')];
const KINDS = ['orphan', 'conflict', 'review'];

export class Bedsides {
  #next = 40;
  constructor(scenario) {
    const now = Date.now();
    const devices = scenario === 'empty' ? [] : DEVICES;
    this.homes = new Map();
    this.rows = [];
    this.doubts = [];
    if (devices.length === 0) return;
    const [monitor, oximeter, ...others] = devices;
    this.#home(monitor.key, place('ICU', '4', 'BED-3'), now - 200 * HOUR_MS, 'anna');
    this.#home(oximeter.key, place('WARD', '5', '2'), now - 90 * HOUR_MS, 'anna');
    this.#row(monitor.key, PEOPLE[1], now - 30 * HOUR_MS, now - 9 * HOUR_MS, { ended_by: 'discharge' });
    this.#row(monitor.key, PEOPLE[2], now - 7.5 * HOUR_MS, now - 6.5 * HOUR_MS, {
      void: {
        at: iso(now - 6.4 * HOUR_MS),
        by: 'beat',
        why: 'wristband of the next bed was scanned',
        replaced_by: 3,
      },
    });
    this.#row(monitor.key, PEOPLE[0], now - 7.5 * HOUR_MS, null, { source: 'scanned', by: 'beat' });
    if (others[0])
      this.#row(others[0].key, person('SIM-9', null, null, null, null, false), now - 2 * HOUR_MS, null, {
        overrules: true,
        reason: 'The kit was not told of the new patient',
      });
    for (let i = 0; i < 17; i += 1)
      this.#doubt(
        oximeter.key,
        'orphan',
        'nobody is known to have been on the device then',
        now - (60 - i) * 60_000,
      );
    if (others[1])
      this.#doubt(
        others[1].key,
        'conflict',
        'the device says one patient, and the bed it stands at has another',
        now - 25 * 60_000,
      );
    if (scenario === 'trouble')
      this.#doubt(monitor.key, 'review', 'the device’s clock was wrong by 3 h then', now - 5 * 60_000);
  }

  #home(key, where, since, by) {
    this.homes.set(key, [
      { place: where, since: iso(since), until: null, by },
      ...(this.homes.get(key) ?? []).map((old) => ({ ...old, until: old.until ?? iso(since) })),
    ]);
  }
  #row(device, patient, since, until, more = {}) {
    const row = {
      id: this.rows.length + 1,
      device,
      patient,
      since: iso(since),
      until: until ? iso(until) : null,
      source: 'manual',
      overrules: false,
      by: 'anna',
      made: iso(since + 20_000),
      reason: null,
      ended_by: null,
      ended_why: null,
      void: null,
      ...more,
    };
    this.rows.push(row);
    return row;
  }
  #doubt(device, state, why, at) {
    this.doubts.push({ entry: this.#next++, device, state, why, first: iso(at), last: iso(at) });
  }

  #counts(doubts) {
    return Object.fromEntries(
      KINDS.map((kind) => [kind, doubts.filter(({ state }) => state === kind).length]),
    );
  }
  #view(device) {
    const mine = this.rows.filter((row) => row.device === device.key && !row.void);
    const home = this.homes.get(device.key)?.find(({ until }) => !until)?.place ?? null;
    return {
      key: device.key,
      label: device.label,
      link: device.link,
      home,
      association: mine.find(({ until }) => !until) ?? null,
      in_bed: home?.room === '5' ? [PEOPLE[3]] : [],
      waiting: this.#counts(this.doubts.filter((doubt) => doubt.device === device.key)),
    };
  }
  #devices() {
    return this.rows.length + this.doubts.length > 0 ? DEVICES : [];
  }

  standing() {
    return {
      devices: this.#devices().map((device) => this.#view(device)),
      waiting: this.#counts(this.doubts),
      policy: { unknown: 'hold', timeout_h: 72, end_on: ['discharge', 'transfer'], on_merge: 'relink' },
    };
  }
  timeline(key, Refusal) {
    const device = DEVICES.find((one) => one.key === key);
    if (!device) throw new Refusal(404, 'not-found', 'no such device');
    const associations = this.rows.filter((row) => row.device === key).reverse();
    return { device: this.#view(device), associations, homes: this.homes.get(key) ?? [] };
  }
  queue(terms) {
    const device = terms.get('device');
    const doubts = this.doubts.filter((doubt) => !device || doubt.device === device);
    return { doubts, counts: this.#counts(doubts), next: null };
  }
  find(code, Refusal) {
    const wanted = code.toLowerCase();
    const found = DEVICES.find(({ key, label, identifiers }) =>
      [key, label, key.split('/').at(-1), ...identifiers].some((one) => one.toLowerCase() === wanted),
    );
    if (!found) throw new Refusal(404, 'not-found', 'no such device or association');
    return this.#view(found);
  }

  #whom(wanted, sure, Refusal) {
    const known = PEOPLE.find(({ id }) => id === wanted.id);
    if (known) return known;
    if (!sure)
      throw new Refusal(
        409,
        'association-unknown-person',
        'the patient index does not know that number: check it, or say that it is right',
      );
    const { id, family = null, given = null, birth_date = null, gender = null } = wanted;
    return person(id, family, given, birth_date, gender, false);
  }
  #settled(device) {
    const released = this.doubts.filter((doubt) => doubt.device === device).length;
    this.doubts = this.doubts.filter((doubt) => doubt.device !== device);
    return released;
  }
  associate(wanted, Refusal) {
    const device = this.find(wanted.device, Refusal);
    const patient = this.#whom(wanted.patient, wanted.unknown, Refusal);
    if (device.association && !wanted.replace)
      throw new Refusal(
        409,
        'association-taken',
        'the device is with a patient in that time already: end that first, or say that this one takes its place',
      );
    const since = wanted.from ? Date.parse(wanted.from) : Date.now();
    if (device.association) Object.assign(device.association, { until: iso(since), ended_by: 'anna' });
    const { id } = this.#row(device.key, patient, since, null, {
      source: wanted.scanned ? 'scanned' : 'manual',
      overrules: wanted.overrules ?? false,
      reason: wanted.reason ?? null,
    });
    return { id, released: this.#settled(device.key), corrected: 0, held: 0 };
  }
  #one(id, Refusal) {
    const row = this.rows.find((one) => String(one.id) === id);
    if (!row) throw new Refusal(404, 'not-found', 'no such device or association');
    return row;
  }
  end(id, { at, reason }, Refusal) {
    const row = this.#one(id, Refusal);
    if (row.until) throw new Refusal(409, 'association', 'it has ended already');
    Object.assign(row, { until: at ?? iso(Date.now()), ended_by: 'anna', ended_why: reason ?? null });
    return { id: row.id, released: 0, corrected: 0, held: 0 };
  }
  correct(id, wanted, Refusal) {
    const row = this.#one(id, Refusal);
    if (!wanted.reason?.trim()) throw new Refusal(409, 'association', 'a correction needs a reason');
    const patient = wanted.patient ? this.#whom(wanted.patient, wanted.unknown, Refusal) : row.patient;
    row.void = { at: iso(Date.now()), by: 'anna', why: wanted.reason, replaced_by: null };
    if (wanted.nobody) return { id: null, released: 0, corrected: 12, held: 12 };
    const right = this.#row(row.device, patient, Date.parse(wanted.from ?? row.since), null, {
      until: wanted.open ? null : (wanted.until ?? row.until),
      reason: wanted.reason,
      source: row.source,
    });
    row.void.replaced_by = right.id;
    return { id: right.id, released: 0, corrected: 12, held: 0 };
  }
  home({ device, place: where }, Refusal) {
    const { key } = this.find(device, Refusal);
    if (where) this.#home(key, place(where.point_of_care, where.room, where.bed), Date.now(), 'anna');
    else
      this.homes.set(
        key,
        (this.homes.get(key) ?? []).map((old) => ({ ...old, until: old.until ?? iso(Date.now()) })),
      );
    return { id: null, released: 0, corrected: 0, held: 0 };
  }

  #indexed(patient, i) {
    const { family, given, birth_date, gender } = patient;
    return {
      id: i + 1,
      family,
      given,
      birth_date,
      gender,
      identifiers: [
        { system: SYSTEM, value: patient.id, kind: 'MR', retired: false },
        ...(i === 1 ? [{ system: SYSTEM, value: 'P-0988', kind: 'MR', retired: true }] : []),
      ],
      place: i === 2 ? null : BEDS[i],
      told: iso(Date.now() - HOUR_MS),
      removed: false,
    };
  }
  #known() {
    const heard = iso(Date.now() - 12 * 60_000);
    return { persons: PEOPLE.length, occupied: 3, sources: [{ name: 'adt', heard }] };
  }
  search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (patient) =>
      words.every((word) => Object.values(patient).join(' ').toLowerCase().includes(word));
    return {
      people: PEOPLE.map((patient, i) => (has(patient) ? this.#indexed(patient, i) : null)).filter(Boolean),
      known: this.#known(),
    };
  }
  person(id, Refusal) {
    const i = Number(id) - 1;
    if (!PEOPLE[i]) throw new Refusal(404, 'not-found', 'no such person');
    const one = this.#indexed(PEOPLE[i], i);
    const stay = (place, since, until) => ({
      place,
      visit: 'V-5521',
      since: iso(Date.now() - since * HOUR_MS),
      until: until === null ? null : iso(Date.now() - until * HOUR_MS),
      on_leave: false,
    });
    const at = iso(Date.now() - 30 * HOUR_MS);
    return {
      ...one,
      stays: one.place ? [stay(one.place, 9, null), stay(place('ER', '1', null), 11, 9)] : [],
      merges:
        i === 1
          ? [
              {
                id: 1,
                survivor: 2,
                gone: 9,
                at,
                entry: 3,
                undone: this.undone ?? null,
                undone_by: this.undone ? 'anna' : null,
              },
            ]
          : [],
      sources: [
        { entry: 4, event: 'A02', told: iso(Date.now() - 9 * HOUR_MS) },
        { entry: 2, event: 'A01', told: iso(Date.now() - 11 * HOUR_MS) },
      ],
    };
  }
  places() {
    if (this.#devices().length === 0) return { places: [], known: { persons: 0, occupied: 0, sources: [] } };
    const lies = (i) => ({
      id: i + 1,
      number: PEOPLE[i].id,
      family: PEOPLE[i].family,
      given: PEOPLE[i].given,
      birth_date: PEOPLE[i].birth_date,
      since: iso(Date.now() - (3 + i) * HOUR_MS),
      on_leave: i === 1,
    });
    const bed = (where, ...who) => ({ ...where, occupants: who.map(lies), conflict: who.length > 1 });
    return {
      places: [bed(BEDS[0], 0), bed(BEDS[1], 1), bed(BEDS[3], 3), bed(place('WARD', '6', '1'), 2, 0)],
      known: this.#known(),
    };
  }
}

/** Routes for the mock's table. */
export function routes({ bedsides, send, bodyOf, may, Refusal }) {
  const roles = ['admin', 'engineer', 'clinician', 'integrator'];
  const route = (method, pattern, act, status = 200) => [
    method,
    pattern,
    async (req, res, found, terms) => {
      may(roles);
      const body = method === 'POST' ? await bodyOf(req) : {};
      send(res, status, act({ body, terms, name: found[0] && decodeURIComponent(found[0]) }));
    },
  ];
  return [
    route('GET', /^\/associations$/, () => bedsides().standing()),
    route('GET', /^\/associations\/devices\/([^/]+)$/, ({ name }) => bedsides().timeline(name, Refusal)),
    route('GET', /^\/associations\/doubts$/, ({ terms }) => bedsides().queue(terms)),
    route('POST', /^\/associations\/find$/, ({ body }) => bedsides().find(body.code ?? '', Refusal)),
    route('POST', /^\/associations$/, ({ body }) => bedsides().associate(body, Refusal), 201),
    route('POST', /^\/associations\/home$/, ({ body }) => bedsides().home(body, Refusal)),
    route('POST', /^\/associations\/([^/]+)\/end$/, ({ name, body }) => bedsides().end(name, body, Refusal)),
    route('POST', /^\/associations\/([^/]+)\/correct$/, ({ name, body }) =>
      bedsides().correct(name, body, Refusal),
    ),
    route('POST', /^\/people$/, ({ body }) => bedsides().search(body.text ?? '')),
    route('GET', /^\/people\/([^/]+)$/, ({ name }) => bedsides().person(name, Refusal)),
    route('GET', /^\/places$/, () => bedsides().places()),
    route('POST', /^\/people\/merges\/([^/]+)\/undo$/, () => {
      bedsides().undone = iso(Date.now());
      return {};
    }),
  ];
}
