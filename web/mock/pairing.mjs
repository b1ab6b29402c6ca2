// The made-up side of pairing, worklist and recordings: every state a page can meet.
//
// Ports: …FTDI… finds an oximeter, …Prolific… hears nothing that fits, …CH340… fails, the fourth is in use.
// A link called “refused” is refused with line and caret.

const iso = (ms) => new Date(ms).toISOString();
const LOINC = 'http://loinc.org';

const serial = (...baud) => ({
  baud,
  data_bits: 8,
  parity: 'none',
  stop_bits: 1,
  flow: 'none',
  dtr: null,
  rts: null,
  quiet_timeout_s: 10,
});
const card = (id, manufacturer, model, codec, transport, caveats = [], verified = 'simulator') => ({
  id,
  manufacturer,
  model,
  verified,
  codec,
  transport: { serial: null, tcp: null, mqtt: null, ...transport },
  caveats,
});
const PROFILES = [
  card('acme/m500', 'AcmeMed', 'M500 patient monitor', 'mllp', { tcp: { listen: true, port: 2575 } }, [
    'Sends the respiration rate as 0 for the first 20 s after the sensor is attached.',
  ]),
  card(
    'chemix/c20',
    'Chemix',
    'C20 chemistry analyser',
    'mllp',
    { tcp: { listen: true, port: 5100 } },
    [],
    'bench',
  ),
  card('generic/hl7', 'Generic', 'HL7 v2 laboratory analyser', 'mllp', { tcp: { listen: true, port: 2575 } }),
  card('kohden/bsm', 'Kohden', 'Bedside monitor', 'mllp', { tcp: { listen: false, port: 7998 } }, [
    'The monitor is the server: this gateway dials it.',
  ]),
  card('hemalab/h3', 'HemaLab', 'H3', 'astm', { tcp: { listen: true, port: 4000 }, serial: serial(9600) }, [
    'Repeats the last result after a power cut; Bedside keeps it once.',
    'Writes a decimal comma when its language is French.',
  ]),
  card(
    'nordlys/po2',
    'Nordlys',
    'PO-2 pulse oximeter',
    'lines',
    { serial: serial(9600, 19_200) },
    [],
    'document',
  ),
  card('balance/w150', 'Balance', 'W150 scale', 'lines', { serial: serial(4800) }, [], 'clinic'),
  card('vitabox/ble1', 'Vitabox', 'BLE-1 kit', 'message', {
    mqtt: { topics: ['kits/+/vitals', 'kits/+/state'], qos: 1 },
  }),
  card('lungo/gdt', 'Lungo', 'Spirometer (GDT files)', 'message', {
    folder: { files: '*.gdt', settle_s: 5 },
  }),
];

const value = (label, code, text, unit, at, absent = null) => ({
  label,
  codes: [{ system: LOINC, code, display: label }],
  value: text,
  unit,
  absent,
  taken: iso(at),
  status: [],
  place: null,
});
const walk = (middle, swing) => String(Math.round(middle + swing * Math.sin(Date.now() / 7000)));
const VITALS = () => [
  value('Heart rate', '8867-4', walk(78, 6), '/min', Date.now()),
  value('Oxygen saturation', '59408-5', walk(96, 2), '%', Date.now()),
  value('Body temperature', '8310-5', null, 'Cel', Date.now(), 'not-performed'),
];
const FINDING = {
  code: 'no-zone',
  place: 'MSH-7',
  text: 'The time has no zone; the link’s Europe/Zurich was taken',
};

const PORTS = [
  ['/dev/serial/by-id/usb-FTDI_FT232R_A5069RR4-if00-port0', '/dev/ttyUSB0', 'FTDI FT232R USB UART', null],
  ['/dev/serial/by-id/usb-Prolific_USB-Serial_0001-if00-port0', '/dev/ttyUSB1', 'Prolific USB-Serial', null],
  ['/dev/serial/by-id/usb-1a86_CH340-if00-port0', '/dev/ttyUSB2', 'CH340 serial converter', null],
  ['/dev/ttyS0', '/dev/ttyS0', null, 'astm-lab'],
].map(([path, device, name, link]) => ({ path, device, name, link }));
const SETTINGS = ['9600 8N1', '19200 8N1', '4800 8N1', '38400 8N1', '9600 7E1', '115200 8N1'];
const HEARD = 'SPO2=97 PR=72 SN=4471\r\nSPO2=97 PR=73 SN=4471\r\n';
const NOISE = '\x00\xfe\x80\x7f\x00\xfc';

const pictures = (text) =>
  text.replace(/[\x00-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/\x7f/g, '␡');
const hexOf = (text) => Buffer.from(text, 'latin1').toString('hex');

export class Desk {
  constructor(links) {
    this.fixed = links.map(({ name, kind, profile }) => ({ name, kind, profile, desk: false }));
    this.fixed.push({ name: 'new-devices', kind: 'mllp', profile: 'by-sender', desk: false });
    this.made = [];
    this.senders = [{ link: 'new-devices', sender: 'CHEMIX|LAB', profile: 'chemix/c20' }];
    const guess = (profile, fits, measurements, unknown, held = null) => ({
      profile,
      fits,
      measurements,
      unknown,
      held,
    });
    this.candidates = [
      {
        link: 'new-devices',
        sender: 'ACME^0A1277F3^EUI-64|WARD-3',
        first_seen: iso(Date.now() - 840_000),
        last_seen: iso(Date.now() - 4000),
        frames: 84,
        entry: 41_210,
        guesses: [guess('acme/m500', true, 3, 0), guess('generic/hl7', false, 3, 2, 'it names no patient')],
      },
      {
        link: 'new-devices',
        sender: '10.20.0.77',
        first_seen: iso(Date.now() - 100_000),
        last_seen: iso(Date.now() - 61_000),
        frames: 2,
        entry: 41_220,
        guesses: [],
      },
    ];
    this.scan = null;
    this.orders = [
      this.#order('S-20991', ['GLU', 'CREA', 'UREA'], 'stat', 'open', 'desk', true),
      this.#order(
        'S-20992',
        ['WBC', 'HGB', 'PLT', 'HCT', 'RBC', 'MCV', 'MCH'],
        'routine',
        'open',
        'hl7',
        true,
      ),
      this.#order('S-20993', ['TSH'], 'routine', 'open', 'fhir', false),
      this.#order('S-20980', ['GLU'], 'routine', 'sent', 'desk', false),
      this.#order('S-20971', ['K', 'NA'], 'routine', 'done', 'hl7', true),
    ];
    this.recordings = [
      {
        name: 'oximeter-20261120-0911.cap',
        link: 'oximeter',
        profile: 'nordlys/po2',
        started: iso(Date.now() - 86_400_000),
        ended: iso(Date.now() - 86_000_000),
        bytes: 48_211,
        chunks: 812,
      },
    ];
  }

  #order(specimen, tests, priority, state, source, named) {
    this.next = (this.next ?? 700) + 1;
    const asked =
      state === 'open'
        ? []
        : [{ at: iso(Date.now() - 30_000), link: 'astm-lab', outcome: `${tests.length} tests sent` }];
    return {
      id: this.next,
      specimen,
      tests,
      priority,
      patient: named
        ? { id: 'P-1003', family: 'HTEST Muster', given: 'Eva', birth_date: '1970-01-01', gender: 'female' }
        : null,
      specimen_kind: 'serum',
      collected: iso(Date.now() - 3_600_000),
      source,
      number: `O-${this.next}`,
      created: iso(Date.now() - 1_200_000),
      by: source === 'desk' ? 'anna' : null,
      state,
      asked,
    };
  }

  standing() {
    return {
      zone: 'Europe/Zurich',
      broker: true,
      links: [...this.fixed, ...this.made.map(({ shown }) => shown)],
      candidates: this.candidates,
      senders: this.senders,
      profiles: PROFILES,
    };
  }

  /** Links made here, as the overview shows them: their first frame comes after 4 s. */
  liveLinks() {
    const door = { shown: this.fixed.at(-1), at: Date.now() - 3_600_000 };
    return [door, ...this.made].map(({ shown, at }) => ({
      name: shown.name,
      kind: shown.kind,
      profile: shown.profile,
      state: Date.now() - at > 4000 ? 'up' : 'starting',
      since: iso(at),
      detail: null,
      connections: 1,
      frames: Math.max(0, Math.floor((Date.now() - at - 4000) / 1000)),
      refused: 0,
      notes: 0,
    }));
  }

  preview({ profile }) {
    const reads = profile === 'acme/m500' || profile === 'generic/hl7';
    return { profile, measurements: reads ? VITALS() : [], findings: [FINDING], fhir: [] };
  }

  accept({ link, sender, profile }, Refusal) {
    const at = this.candidates.findIndex((one) => one.link === link && one.sender === sender);
    if (at < 0) throw new Refusal(404, 'not-found', 'that sender is not waiting any more');
    const [{ frames }] = this.candidates.splice(at, 1);
    this.senders.push({ link, sender, profile });
    const still_held = profile === 'acme/m500' ? 0 : Math.min(frames, 2);
    return { released: frames - still_held, still_held };
  }

  forget({ link, sender }) {
    this.senders = this.senders.filter((one) => one.link !== link || one.sender !== sender);
  }

  addLink(link, Refusal) {
    const all = [...this.fixed, ...this.made.map(({ shown }) => shown)];
    if (all.some(({ name }) => name === link.name))
      throw new Refusal(409, 'pairing', `there is a link called "${link.name}" already`);
    if (link.name === 'refused')
      throw new Refusal(
        409,
        'pairing',
        `the link:3:1: listen address "${link.mllp?.listen}" is in use\n  |\n3 | [mllp]\n  | ^`,
      );
    const kind = ['serial', 'tcp', 'mllp', 'mqtt', 'broker', 'udp', 'folder'].find((one) => link[one]);
    if (!kind)
      throw new Refusal(
        409,
        'pairing',
        `the link:1:1: link "${link.name}" has 0 ways in\n  |\n1 | name\n  | ^`,
      );
    const shown = {
      name: link.name,
      kind: kind === 'broker' ? 'mqtt' : kind,
      profile: link.profile,
      desk: true,
    };
    this.made.push({ shown, at: Date.now() });
    return { name: link.name };
  }

  removeLink(name, Refusal) {
    if (this.fixed.some((one) => one.name === name))
      throw new Refusal(409, 'pairing', `link "${name}" stands in the configuration file: remove it there`);
    this.made = this.made.filter(({ shown }) => shown.name !== name);
  }

  startScan({ port, ask }, Refusal) {
    if (this.#runs()) throw new Refusal(409, 'pairing', 'a scan is running: stop it first');
    this.scan = { port, ask, at: Date.now(), ended: false };
  }

  #runs() {
    return ['listening', 'asking'].includes(this.scanning()?.state);
  }

  scanning() {
    if (!this.scan) return null;
    const { port, ask, at, ended } = this.scan;
    const done = Math.min(SETTINGS.length, Math.floor((Date.now() - at) / 1000));
    const finds = port.includes('FTDI');
    const fails = port.includes('CH340');
    const over = finds ? done >= 3 : done >= SETTINGS.length;
    const heard = finds ? HEARD : ask ? NOISE : '';
    const tried = SETTINGS.slice(0, finds ? Math.min(done, 3) : done).map((setting, i) => {
      const fits = finds && i === 2;
      return {
        setting,
        asked: ask && i % 2 === 1 ? 'hemalab/h3' : null,
        bytes: fits ? HEARD.length : ask || finds ? NOISE.length : 0,
        frames: fits ? 2 : 0,
        outcome: fits
          ? 'recognised by nordlys/po2'
          : ask || finds
            ? 'bytes that are no frames: perhaps another speed or parity'
            : 'silence',
      };
    });
    const state = ended
      ? 'stopped'
      : fails && done > 0
        ? 'failed'
        : over
          ? finds
            ? 'found'
            : 'nothing'
          : ask && done % 2
            ? 'asking'
            : 'listening';
    const DETAIL = {
      stopped: 'The scan was stopped.',
      failed: `${port}: no permission; the user bedside must be in the group dialout`,
      found: 'A profile reads what the port says. Compare the values with the device’s screen.',
      nothing: 'No known profile reads what this port says.',
      asking: `Asking at ${SETTINGS[done]} as hemalab/h3 lists it.`,
      listening: `Listening at ${SETTINGS[done]} for 3 profiles.`,
    };
    const found = {
      guess: { profile: 'nordlys/po2', fits: true, measurements: 2, unknown: 0, held: null },
      serial: { port, baud: 9600, data_bits: 8, parity: 'none', stop_bits: 1, flow: 'none' },
      measurements: VITALS().slice(0, 2),
      findings: [],
    };
    return {
      port,
      state,
      detail: DETAIL[state],
      percent: over ? 100 : Math.round((done * 100) / SETTINGS.length),
      tried: fails ? [] : tried,
      text: done > 0 && !fails ? pictures(heard) : '',
      hex: done > 0 && !fails ? hexOf(heard) : '',
      found: state === 'found' ? [found] : [],
    };
  }

  stopScan() {
    if (this.#runs()) this.scan.ended = true;
  }

  worklist(state, q) {
    const counts = { open: 0, sent: 0, done: 0, cancelled: 0 };
    for (const order of this.orders) counts[order.state] += 1;
    const has = (order) =>
      JSON.stringify([order.specimen, order.tests, order.patient]).toLowerCase().includes(q.toLowerCase());
    return {
      orders: this.orders.filter((order) => (!state || order.state === state) && (!q || has(order))),
      counts,
    };
  }

  addOrder(order, Refusal) {
    if (!order.specimen?.trim())
      throw new Refusal(422, 'order', 'specimen: scan or type the number on the tube');
    if (/\s/.test(order.specimen)) throw new Refusal(422, 'order', 'specimen: a number has no spaces');
    const same = (one) =>
      one.state === 'open' && one.specimen === order.specimen && one.tests.join() === order.tests.join();
    if (this.orders.some(same))
      throw new Refusal(409, 'order', 'that specimen has an open order with the same tests');
    const made = this.#order(order.specimen, order.tests, order.priority ?? 'routine', 'open', 'desk', false);
    Object.assign(made, {
      patient: order.patient ?? null,
      specimen_kind: order.specimen_kind ?? null,
      by: 'anna',
      created: iso(Date.now()),
      collected: null,
    });
    this.orders.unshift(made);
    return { id: made.id };
  }

  cancelOrder(id, Refusal) {
    const order = this.orders.find((one) => String(one.id) === id);
    if (!order) throw new Refusal(404, 'not-found', 'no such order');
    if (order.state === 'done') throw new Refusal(409, 'order', 'its results have come already');
    order.state = 'cancelled';
  }

  listRecordings() {
    for (const one of this.recordings)
      if (!one.ended) {
        const s = (Date.now() - Date.parse(one.started)) / 1000;
        Object.assign(one, { bytes: Math.floor(s * 310), chunks: Math.floor(s * 4) });
      }
    return { recordings: this.recordings };
  }

  record({ link, masked, minutes }, Refusal) {
    if (this.recordings.some((one) => one.link === link && !one.ended))
      throw new Refusal(409, 'recording', 'this link is being recorded already');
    const name = `${link}-${iso(Date.now()).replace(/\D/g, '').slice(0, 14)}${masked ? '' : '-unmasked'}.cap`;
    const profile = [...this.fixed, ...this.made.map(({ shown }) => shown)].find(
      (one) => one.name === link,
    )?.profile;
    this.recordings.unshift({
      name,
      link,
      profile,
      started: iso(Date.now()),
      ended: null,
      bytes: 0,
      chunks: 0,
      minutes,
    });
    return { name };
  }

  recording(name, Refusal) {
    const found = this.recordings.find((one) => one.name === name);
    if (!found) throw new Refusal(404, 'not-found', 'no such recording');
    return found;
  }
}

/** Routes for the mock's table. `desk()` is the present one, `may` refuses a role. */
export function routes({ desk, send, bodyOf, may, Refusal }) {
  const pair = ['admin', 'engineer', 'integrator'];
  const order = [...pair, 'clinician'];
  const route = (method, pattern, roles, act, status = 200) => [
    method,
    pattern,
    async (req, res, found, terms) => {
      may(roles);
      const body = method === 'POST' ? await bodyOf(req) : {};
      const answer = act({ body, terms, name: found[0] && decodeURIComponent(found[0]), res });
      if (!res.writableEnded) send(res, answer === undefined || answer === null ? 204 : status, answer ?? '');
    },
  ];
  return [
    route('GET', /^\/pairing$/, pair, () => desk().standing()),
    route('POST', /^\/pairing\/preview$/, pair, ({ body }) => desk().preview(body)),
    route('POST', /^\/pairing\/accept$/, pair, ({ body }) => desk().accept(body, Refusal)),
    route('POST', /^\/pairing\/forget$/, pair, ({ body }) => desk().forget(body)),
    route('POST', /^\/pairing\/links$/, pair, ({ body }) => desk().addLink(body, Refusal), 201),
    route('POST', /^\/pairing\/links\/([^/]+)\/remove$/, pair, ({ name }) =>
      desk().removeLink(name, Refusal),
    ),
    route('GET', /^\/pairing\/ports$/, pair, () => ({ ports: PORTS })),
    route('POST', /^\/pairing\/scan$/, pair, ({ body }) => (desk().startScan(body, Refusal), {}), 202),
    route('GET', /^\/pairing\/scan$/, pair, () => desk().scanning()),
    route('POST', /^\/pairing\/scan\/stop$/, pair, () => desk().stopScan()),
    route('GET', /^\/worklist$/, order, ({ terms }) =>
      desk().worklist(terms.get('state'), terms.get('q') ?? ''),
    ),
    route('POST', /^\/worklist\/find$/, order, ({ body }) => desk().worklist(body.state, body.text)),
    route('POST', /^\/worklist$/, order, ({ body }) => desk().addOrder(body, Refusal), 201),
    route('POST', /^\/worklist\/([^/]+)\/cancel$/, order, ({ name }) => desk().cancelOrder(name, Refusal)),
    route('GET', /^\/recordings$/, pair, () => desk().listRecordings()),
    route('POST', /^\/recordings$/, pair, ({ body }) => desk().record(body, Refusal), 201),
    route('POST', /^\/recordings\/([^/]+)\/stop$/, pair, ({ name }) => {
      desk().recording(name, Refusal).ended = iso(Date.now());
    }),
    route('POST', /^\/recordings\/([^/]+)\/remove$/, pair, ({ name }) => {
      const gone = desk().recording(name, Refusal);
      desk().recordings = desk().recordings.filter((one) => one !== gone);
    }),
    route('GET', /^\/recordings\/([^/]+)$/, pair, ({ name, res }) => {
      const { link } = desk().recording(name, Refusal);
      const type = {
        'Content-Type': 'application/octet-stream',
        'Content-Disposition': `attachment; filename="${name}"`,
      };
      send(res, 200, `a made-up capture of ${link}\n`, type);
    }),
  ];
}
