// A made-up ward for work on the pages: six devices whose values wander, and the messages they sent.
// Nothing here is shipped, and nothing here is a real person.
import { createHash } from 'node:crypto';

const LOINC = 'http://loinc.org';
const MDC = 'urn:iso:std:iso:11073:10101';
const iso = (ms) => new Date(ms).toISOString();
const wander = (middle, swing, phase) =>
  middle + swing * Math.sin(Date.now() / 47_000 + phase) + (Math.random() - 0.5) * swing * 0.4;

const metric = (code, label, unit, loinc, mdc, value, places = 0, every_s = 1) => ({
  code,
  label,
  unit,
  loinc,
  mdc,
  value,
  places,
  every_s,
});

export const DEVICES = [
  {
    key: 'AcmeMed/M500/0A12-77F3',
    label: 'Bed 3 monitor',
    manufacturer: 'AcmeMed',
    model: 'M500',
    link: 'monitors',
    verified: 'simulator',
    patient: 'HTEST Muster, Eva (P-1003)',
    every_s: 2,
    codec: 'hl7',
    identifiers: ['EUI-64 0A1277F300010203', 'Serial M500-20733'],
    caveats: ['Sends the respiration rate as 0 for the first 20 s after the sensor is attached.'],
    metrics: [
      metric('147842', 'Heart rate', '/min', '8867-4', 'MDC_ECG_HEART_RATE', () => wander(78, 9, 0)),
      metric('150456', 'Oxygen saturation', '%', '59408-5', 'MDC_PULS_OXIM_SAT_O2', () => wander(97, 1.4, 1)),
      metric('151562', 'Respiratory rate', '/min', '9279-1', 'MDC_RESP_RATE', () => wander(16, 3, 2)),
      metric('150021', 'Systolic blood pressure', 'mm[Hg]', '8480-6', 'MDC_PRESS_BLD_NONINV_SYS', () =>
        wander(124, 6, 3),
      ),
      metric('150022', 'Diastolic blood pressure', 'mm[Hg]', '8462-4', 'MDC_PRESS_BLD_NONINV_DIA', () =>
        wander(79, 4, 4),
      ),
      metric('150364', 'Body temperature', 'Cel', '8310-5', 'MDC_TEMP_BODY', () => null, 1),
      metric('150087', 'Mean blood pressure', 'mm[Hg]', '8478-0', 'MDC_PRESS_BLD_NONINV_MEAN', () =>
        wander(94, 4, 4),
      ),
    ],
  },
  {
    key: 'Nordlys/PO-2/SN4471',
    label: 'Pulse oximeter, room 5',
    manufacturer: 'Nordlys',
    model: 'PO-2',
    link: 'oximeter',
    verified: 'simulator',
    patient: null,
    every_s: 1,
    codec: 'lines',
    identifiers: ['Serial SN4471'],
    caveats: [],
    metrics: [
      metric('150456', 'Oxygen saturation', '%', '59408-5', 'MDC_PULS_OXIM_SAT_O2', () => wander(95, 2.5, 5)),
      metric('149530', 'Pulse rate', '/min', '8889-8', 'MDC_PULS_OXIM_PULS_RATE', () => wander(91, 8, 6)),
      metric('150488', 'Perfusion index', '%', '61006-3', 'MDC_BLD_PERF_INDEX', () => wander(2.4, 0.7, 1), 1),
    ],
  },
  {
    key: 'HemaLab/H3/0021',
    label: 'Blood count analyser',
    manufacturer: 'HemaLab',
    model: 'H3',
    link: 'astm-lab',
    verified: 'simulator',
    patient: 'HTEST Beispiel, Jo (P-1011)',
    every_s: 25,
    codec: 'astm',
    identifiers: ['Serial 0021'],
    caveats: [
      'Repeats the last result after a power cut; Bedside keeps it once.',
      'Writes a decimal comma when its language is French.',
    ],
    metrics: [
      metric('WBC', 'White blood cells', '10*3/uL', '6690-2', null, () => wander(7.2, 1.1, 0), 1),
      metric('HGB', 'Haemoglobin', 'g/dL', '718-7', null, () => wander(13.4, 0.8, 1), 1),
      metric('PLT', 'Platelets', '10*3/uL', '777-3', null, () => wander(231, 30, 2)),
      metric('BT', 'Blood group', null, '882-1', null, () => 'A Rh positive'),
    ],
  },
  {
    key: 'Vitabox/BLE-1/dca6',
    label: 'Vital-signs kit, reception',
    manufacturer: 'Vitabox',
    model: 'BLE-1',
    link: 'mqtt-kits',
    verified: 'bench',
    patient: 'HTEST Sample, Kim (P-1017)',
    every_s: 12,
    codec: 'json',
    identifiers: ['Bluetooth DC:A6:32:00:00:01'],
    caveats: [],
    metrics: [
      metric('160184', 'Glucose', 'mg/dL', '2339-0', 'MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD', () =>
        wander(142, 30, 2),
      ),
      metric('188736', 'Body weight', 'kg', '29463-7', 'MDC_MASS_BODY_ACTUAL', () => wander(71.6, 0.4, 3), 1),
      metric('150364', 'Body temperature', 'Cel', '8310-5', 'MDC_TEMP_BODY', () => wander(37.1, 0.4, 4), 1),
    ],
  },
  {
    key: 'Chemix/C20/77-104',
    label: 'Chemistry analyser',
    manufacturer: 'Chemix',
    model: 'C20',
    link: 'oru-lab',
    verified: 'simulator',
    patient: 'HTEST Muster, Eva (P-1003)',
    every_s: 18,
    codec: 'hl7',
    identifiers: ['Serial 77-104'],
    caveats: [],
    metrics: [
      metric('NA', 'Sodium', 'mmol/L', '2951-2', null, () => wander(139, 2, 1)),
      metric('K', 'Potassium', 'mmol/L', '2823-3', null, () => wander(4.3, 0.5, 2), 1),
      metric('CREA', 'Creatinine', 'umol/L', '14682-9', null, () => wander(83, 12, 3)),
    ],
  },
  {
    key: 'Balance/W150/5',
    label: 'Scale, ward entrance',
    manufacturer: 'Balance',
    model: 'W150',
    link: 'scale',
    verified: 'simulator',
    patient: null,
    every_s: 30,
    codec: 'lines',
    identifiers: ['Serial 5'],
    caveats: ['Has no clock: the time of arrival is taken.'],
    metrics: [
      metric('188736', 'Body weight', 'kg', '29463-7', 'MDC_MASS_BODY_ACTUAL', () => wander(64.2, 3, 3), 2),
    ],
  },
];

const LINKS = [
  ['monitors', 'mllp', 'ihe/pcd01'],
  ['oximeter', 'serial', 'nordlys/po2'],
  ['astm-lab', 'tcp', 'hemalab/h3'],
  ['mqtt-kits', 'mqtt', 'vitabox/ble1'],
  ['oru-lab', 'mllp', 'chemix/c20'],
  ['scale', 'serial', 'balance/w150'],
];

/** The raw bytes a device of this kind would have sent. */
function bytesOf(device, values, at) {
  const stamp = iso(at).replace(/[-:T]/g, '').slice(0, 14) + '+0000';
  const text = (v) => (v.value === null ? '' : v.value);
  if (device.codec === 'hl7') {
    const obx = values.map(
      (v, i) =>
        `OBX|${i + 1}|NM|${v.code}^${v.mdc ?? v.label}^${v.mdc ? 'MDC' : 'L'}||${text(v)}|${v.unit ?? ''}|||||R|||${stamp}`,
    );
    return `\x0bMSH|^~\\&|${device.manufacturer}|${device.model}|BEDSIDE||${stamp}||ORU^R01^ORU_R01|${at}|P|2.6\rPID|||P-1003^^^HTEST||HTEST^Muster\r${obx.join('\r')}\r\x1c\r`;
  }
  if (device.codec === 'astm') {
    const r = values.map(
      (v, i) => `R|${i + 1}|^^^${v.code}|${text(v)}|${v.unit ?? ''}||N||F||||${stamp.slice(0, 14)}`,
    );
    return `\x05\x021H|\\^&|||${device.model}^0021|||||||P|1\r\x03A4\r\n\x022P|1||P-1011\r${r.join('\r')}\rL|1|N\r\x037C\r\n\x04`;
  }
  if (device.codec === 'json')
    return JSON.stringify({
      mac: 'DC:A6:32:00:00:01',
      ts: Math.floor(at / 1000),
      values: Object.fromEntries(values.map((v) => [v.label, v.value])),
    });
  return `${values.map((v) => `${v.label.split(' ')[0].toUpperCase()}=${text(v) || '---'}`).join(' ')}\r\n`;
}

const pictures = (text) =>
  text
    .replace(/[\x00-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\x7f/g, '␡')
    .replace(/␍␊|␍|␊/g, '$&\n');

const observation = (device, v, at) => ({
  resourceType: 'Observation',
  id: createHash('sha256')
    .update(device.key + v.code + at)
    .digest('hex')
    .slice(0, 32),
  meta: { security: [{ system: 'http://terminology.hl7.org/CodeSystem/v3-ActReason', code: 'HTEST' }] },
  status: 'final',
  category: [
    {
      coding: [{ system: 'http://terminology.hl7.org/CodeSystem/observation-category', code: 'vital-signs' }],
    },
  ],
  code: {
    coding: [
      { system: LOINC, code: v.loinc, display: v.label },
      ...(v.mdc ? [{ system: MDC, code: v.code, display: v.mdc }] : []),
    ],
  },
  subject: { reference: 'Patient/htest-1003' },
  effectiveDateTime: iso(at),
  ...(v.value === null
    ? {
        dataAbsentReason: {
          coding: [
            { system: 'http://terminology.hl7.org/CodeSystem/data-absent-reason', code: 'not-performed' },
          ],
        },
      }
    : v.unit
      ? {
          valueQuantity: {
            value: `#num:${v.value}#`,
            unit: v.unit,
            system: 'http://unitsofmeasure.org',
            code: v.unit,
          },
        }
      : { valueString: v.value }),
});

export class Ward {
  /** scenario: good | trouble | empty */
  constructor(scenario = 'good') {
    this.scenario = scenario;
    this.started = Date.now() - 3 * 3600_000;
    this.entries = [];
    this.id = 41_200;
    this.last = new Map();
    this.trends = new Map();
    this.listeners = new Set();
    this.accepted = 0;
    if (scenario !== 'empty') this.#past();
  }

  #past() {
    const now = Date.now();
    for (const device of DEVICES) {
      for (const m of device.metrics) {
        const step = Math.max(device.every_s, 5) * 1000;
        const points = [];
        for (let at = now - 6 * 3600_000; at < now; at += step) {
          const gap = Math.floor(at / 1_200_000) % 7 === 3;
          const value = m.value();
          if (typeof value !== 'number') break;
          points.push([at, gap ? null : Number((value + 4 * Math.sin(at / 3_000_000)).toFixed(m.places))]);
        }
        this.trends.set(`${device.key} ${m.code}`, points);
      }
    }
    for (let back = 140; back > 0; back -= 1) {
      const device = DEVICES[back % 13 === 0 ? 2 : back % 7 === 0 ? 3 : back % 5 === 0 ? 4 : back % 2];
      this.#keep(device, now - back * 7000);
    }
    for (const device of DEVICES) this.#keep(device, now - 2000 * device.every_s);
    for (const entry of this.entries) this.#settle(entry);
    const held = (entry, reason, change = {}) =>
      Object.assign(entry, { state: 'held', reason, answer: null, ...change });
    if (this.scenario === 'good') return;
    held(this.entries[9], 'The firmware profile knows no code “Q77” (place OBX-3)', { fhir: [] });
    held(this.entries[31], 'No firmware profile fits these bytes', {
      measurements: [],
      device: null,
      summary: null,
      raw: 'GET / HTTP/1.1\r\nHost: 10.0.0.5\r\n\r\n',
    });
    Object.assign(held(this.entries[55], 'The FHIR server refused it: HTTP 422'), {
      answer: {
        at: iso(now - 300_000),
        status: 422,
        body: JSON.stringify({
          resourceType: 'OperationOutcome',
          issue: [
            {
              severity: 'error',
              code: 'invalid',
              diagnostics: 'Observation.subject: reference Patient/htest-1003 not found',
            },
          ],
        }),
      },
      attempts: 1,
    });
    this.entries
      .slice(-6)
      .forEach((entry) => Object.assign(entry, { state: 'waiting', answer: null, attempts: 3 }));
  }

  #keep(device, at) {
    const values = device.metrics.map((m) => {
      const raw = m.value();
      const value = raw === null ? null : typeof raw === 'string' ? raw : raw.toFixed(m.places);
      return {
        ...m,
        value,
        taken: iso(at),
        absent: raw === null ? 'not-performed' : null,
        abnormal: m.code === '160184' && raw > 150,
      };
    });
    this.last.set(device.key, { at, values });
    const raw = bytesOf(device, values, at);
    const entry = {
      id: ++this.id,
      at,
      device,
      values,
      raw,
      state: 'waiting',
      reason: null,
      attempts: 0,
      repeats: this.id % 23 === 0 ? 1 : 0,
      summary: values
        .slice(0, 3)
        .map(
          (v) =>
            `${v.label} ${v.value ?? 'not measured'}${v.value === null ? '' : ` ${v.unit ?? ''}`.trimEnd()}`,
        )
        .join(', '),
      measurements: values,
      answer: null,
      link: device.link,
      peer: device.codec === 'hl7' ? '10.20.0.41:51022' : null,
    };
    this.entries.push(entry);
    if (this.entries.length > 600) this.entries.shift();
    return entry;
  }

  #settle(entry) {
    if (entry.state !== 'waiting') return;
    entry.state = 'accepted';
    entry.attempts += 1;
    this.accepted += 1;
    const results = entry.measurements.map(() => ({ response: { status: '201 Created' } }));
    entry.answer = {
      at: iso(Math.max(entry.at + 420, entry.replayed ?? 0)),
      status: 200,
      body: { resourceType: 'Bundle', type: 'transaction-response', entry: results },
    };
  }

  /** One second of the ward. */
  tick() {
    if (this.scenario === 'empty') return;
    const second = Math.floor(Date.now() / 1000);
    if (this.scenario !== 'trouble') {
      for (const entry of this.entries)
        if (entry.state === 'waiting' && Date.now() - entry.at > 1500) this.#settle(entry);
    }
    for (const device of DEVICES) {
      if (second % device.every_s !== 0) continue;
      if (this.scenario === 'trouble' && device.link === 'oximeter') continue;
      const { at, values } = this.#keep(device, Date.now());
      for (const v of values) {
        const value = Number(v.value);
        if (v.value === null || Number.isNaN(value)) continue;
        const name = `${device.key} ${v.code}`;
        const points = this.trends.get(name) ?? [];
        points.push([at, value]);
        this.trends.set(name, points);
        for (const listener of this.listeners)
          listener({ device: device.key, code: v.code, taken: iso(at), value });
      }
    }
  }

  counts() {
    const counts = { waiting: 0, sent: 0, accepted: 48_213 * (this.scenario === 'empty' ? 0 : 1), held: 0 };
    for (const { state } of this.entries) counts[state] += 1;
    return counts;
  }

  upstream() {
    const trouble = this.scenario === 'trouble';
    return {
      name: 'Regional EHR',
      base: 'https://fhir.example.org/r4',
      state: trouble ? 'down' : 'up',
      since: iso(this.started),
      last_success: this.scenario === 'empty' ? null : iso(Date.now() - (trouble ? 1_460_000 : 1100)),
      detail: trouble ? 'The server did not answer within 10 s (fhir.example.org:443)' : null,
    };
  }

  links() {
    return LINKS.map(([name, kind, profile], i) => {
      const off = this.scenario === 'trouble' && name === 'oximeter';
      const quiet = this.scenario === 'trouble' && name === 'scale';
      const frames =
        this.scenario === 'empty' ? 0 : 4000 * (6 - i) + Math.floor((Date.now() - this.started) / 1000);
      return {
        name,
        kind,
        profile,
        state: this.scenario === 'empty' ? 'starting' : off ? 'retrying' : quiet ? 'quiet' : 'up',
        since: iso(this.started + i * 911),
        detail: off
          ? '/dev/serial/by-id/usb-Nordlys_PO-2: no such device; next try in 8 s'
          : quiet
            ? 'Nothing for 42 min'
            : null,
        connections: off ? 0 : 1,
        frames,
        refused: off ? 3 : 0,
        notes: i === 2 ? 4 : 0,
      };
    });
  }

  device(device) {
    const last = this.last.get(device.key);
    return {
      key: device.key,
      label: device.label,
      manufacturer: device.manufacturer,
      model: device.model,
      link: device.link,
      verified: device.verified,
      last_seen: last ? iso(last.at) : null,
      patient: device.patient,
      values: (last?.values ?? []).map(({ code, label, value, unit, absent, taken, abnormal }) => ({
        code,
        label,
        value,
        unit,
        absent,
        taken,
        abnormal,
      })),
    };
  }

  overview() {
    const counts = this.counts();
    const oldest = this.entries.find(({ state }) => state === 'waiting');
    const verdict = {
      good: `All 6 devices are sending, and the FHIR server has everything.`,
      trouble: `The FHIR server is not reachable: ${counts.waiting} messages are stored and wait. The pulse oximeter is unplugged.`,
      empty: 'Ready. No device has sent anything yet.',
    }[this.scenario];
    const alarms =
      this.scenario === 'trouble'
        ? [
            {
              code: 'clock_not_synchronised',
              severity: 'warning',
              title: 'The gateway’s clock is not synchronised',
              next_step: 'Name a time server the gateway can reach, for example the clinic’s router.',
              since: iso(Date.now() - 7_000_000),
            },
            {
              code: 'upstream_down',
              severity: 'critical',
              title: 'The FHIR server does not answer',
              next_step: 'Check the internet connection, then run “Test connection” on the Upstream page.',
              since: iso(Date.now() - 1_460_000),
            },
            {
              code: 'link_retrying',
              severity: 'warning',
              title: 'Link oximeter: its serial port is gone',
              next_step: 'Plug the oximeter’s USB cable back into the gateway.',
              since: iso(Date.now() - 94_000),
            },
          ]
        : [];
    return {
      simulated: true,
      site: 'Clinique du Lac',
      now: iso(Date.now()),
      clock_synchronised: this.scenario !== 'trouble',
      verdict,
      counts,
      ledger: {
        received: counts.waiting + counts.sent + counts.accepted + counts.held + 7,
        acknowledged: counts.waiting + counts.sent + counts.accepted + counts.held + 4,
        refused: 2,
        noise: 1,
        delivered: counts.accepted,
        queued: counts.waiting + counts.sent,
        held: counts.held,
        repeated: 4,
        lost: 0,
      },
      scrub: { passed: null, through: 0, changed: 0 },
      oldest_waiting: oldest ? iso(oldest.at) : null,
      bytes: this.scenario === 'empty' ? 98_304 : 214_748_364 + this.entries.length * 900,
      quota_bytes: 8_000_000_000,
      upstream: this.upstream(),
      links: this.links(),
      devices: this.scenario === 'empty' ? [] : DEVICES.map((device) => this.device(device)),
      alarms,
    };
  }

  row(entry) {
    const { id, state, reason, summary, attempts, repeats, link, peer } = entry;
    return {
      id,
      received: iso(entry.at),
      link,
      peer,
      device: entry.summary ? entry.device.key : null,
      state,
      reason,
      bytes: Buffer.byteLength(entry.raw),
      summary,
      attempts,
      repeats,
    };
  }

  page({ state, link, device, before, limit }) {
    const fits = this.entries
      .filter(
        (e) =>
          (!state || e.state === state) &&
          (!link || e.link === link) &&
          (!device || e.device?.key === device) &&
          (!before || e.id < Number(before)),
      )
      .reverse();
    const entries = fits.slice(0, limit).map((entry) => this.row(entry));
    return { entries, next: fits.length > limit ? entries.at(-1).id : null, counts: this.counts() };
  }

  /** JSON text, with numbers as a decimal writer would write them (2.0 stays 2.0). */
  detail(entry) {
    const buffer = Buffer.from(entry.raw, 'utf8');
    const detail = {
      ...this.row(entry),
      raw: {
        text: pictures(entry.raw),
        hex: buffer.subarray(0, 65_536).toString('hex'),
        sha256: createHash('sha256').update(buffer).digest('hex'),
        bytes: buffer.length,
      },
      warnings: entry.id % 9 === 0 ? ['The message ends without CR before the end block (FS)'] : [],
      profile: entry.measurements.length ? LINKS.find(([name]) => name === entry.link)?.[2] : null,
      measurements: entry.measurements.map((v, i) => ({
        label: v.label,
        codes: [
          ...(v.loinc ? [{ system: LOINC, code: v.loinc, display: v.label }] : []),
          ...(v.mdc ? [{ system: MDC, code: v.code, display: v.mdc }] : []),
        ],
        value: v.value,
        unit: v.unit,
        absent: v.absent,
        taken: v.taken,
        status: v.value === null ? ['measurement-unavailable'] : [],
        place: `OBX[${i + 1}]-5`,
      })),
      findings:
        entry.id % 5 === 0
          ? [
              {
                code: 'unit_assumed',
                place: 'OBX[3]-6',
                text: 'The unit is missing; the firmware profile says /min',
              },
            ]
          : [],
      fhir: entry.fhir ?? entry.measurements.map((v) => observation(entry.device, v, entry.at)),
      answer: entry.answer,
      timeline: [
        { at: iso(entry.at), what: `Received on ${entry.link}` },
        { at: iso(entry.at + 4), what: 'Stored and answered to the device' },
        ...(entry.answer
          ? [
              { at: iso(Date.parse(entry.answer.at) - 210), what: 'Sent to Regional EHR' },
              { at: entry.answer.at, what: entry.state === 'held' ? 'Refused, held' : 'Accepted' },
            ]
          : []),
      ],
    };
    return JSON.stringify(detail).replace(/"#num:([^#]*)#"/g, '$1');
  }
}
