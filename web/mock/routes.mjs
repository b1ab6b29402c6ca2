// The made-up side of HL7 routes: one destination that works, one that is down, one that refuses.

const iso = (ms) => new Date(ms).toISOString();

export class Outgoing {
  constructor(scenario) {
    const now = Date.now();
    this.destinations = [];
    this.messages = [];
    if (scenario === 'empty') return;
    const destination = (name, address, more) => ({
      name,
      address,
      tls: true,
      acknowledge: 'original',
      in_order: 'patient',
      configured: true,
      state: 'up',
      trouble: null,
      connections: [],
      age_s: null,
      routes: [],
      oldest: null,
      accepted: 0,
      accepted_at: null,
      answer: null,
      foreign: 0,
      ...more,
    });
    this.destinations = [
      destination('ehr', 'ehr.example.org:2575', {
        accepted: 1284,
        accepted_at: iso(now - 4000),
        answer: { at: iso(now - 4000), text: 'AA' },
      }),
      destination('laboratory', '10.0.4.20:6661', {
        tls: false,
        acknowledge: 'enhanced',
        accepted: 77,
        answer: { at: iso(now - 600_000), text: 'AE: 204 unknown key identifier (PID-3)' },
        foreign: 2,
      }),
      destination('registry', 'registry.example.org:2575', {
        state: 'retrying',
        trouble: 'connection refused; the next try is in 40 s',
      }),
    ];
    const route = (to, name, how, says) =>
      this.destinations[to].routes.push({
        name,
        from: [],
        messages: [],
        when: null,
        how,
        says,
        left_out: { waveforms: name === 'vitals' ? 96 : 0, alarms: 0 },
      });
    route(0, 'vitals', 'measurements', 'What the link monitors measured, as ORU^R01.');
    route(1, 'lab', 'filtered', 'ORU^R01 of the link oru-lab, without PID-13 and PID-14.');
    route(2, 'all', 'pass', 'ADT of every link, as it came.');
    const message = (id, name, route, state, more) => ({
      id,
      destination: name,
      route,
      entry: 41_200 + id,
      part: 0,
      state,
      attempts: 1,
      revision: 0,
      queued: iso(now - (100 - id) * 60_000),
      next_try: null,
      sent_at: null,
      committed: null,
      answered_at: null,
      reason: null,
      control_id: `BED-${1000 + id}`,
      answer: null,
      ...more,
    });
    this.messages = [
      ...Array.from({ length: 9 }, (_, i) =>
        message(90 - i, 'registry', 'all', 'waiting', { attempts: 3, next_try: iso(now + 40_000) }),
      ),
      message(80, 'laboratory', 'lab', 'held', {
        reason: 'The receiver does not know the patient: register them there, then release',
        answer: 'AE: 204 unknown key identifier (PID-3)',
        answered_at: iso(now - 600_000),
      }),
      message(79, 'laboratory', 'lab', 'sent', { committed: iso(now - 30_000), answer: 'CA' }),
      ...Array.from({ length: 5 }, (_, i) =>
        message(70 - i, 'ehr', 'vitals', 'accepted', { answer: 'AA', answered_at: iso(now - i * 60_000) }),
      ),
    ];
  }

  standing() {
    const counted = (one) => {
      const mine = this.messages.filter(({ destination }) => destination === one.name);
      const of = (state) => mine.filter((message) => message.state === state).length;
      const oldest = mine
        .filter(({ state }) => state === 'waiting' || state === 'sent')
        .map(({ queued }) => queued);
      return {
        ...one,
        waiting: of('waiting'),
        sent: of('sent'),
        held: of('held'),
        oldest: oldest.sort()[0] ?? null,
      };
    };
    return { destinations: this.destinations.map(counted) };
  }
  page(name, terms) {
    const state = terms.get('state');
    const fits = (message) => message.destination === name && (!state || message.state === state);
    return { messages: this.messages.filter(fits), next: null };
  }
  pause(name, paused, Refusal) {
    const one = this.destinations.find((each) => each.name === name);
    if (!one) throw new Refusal(404, 'not-found', 'no such destination');
    one.state = paused ? 'paused' : 'up';
  }
  step(id, change, Refusal) {
    const one = this.messages.find((each) => String(each.id) === id);
    if (!one) throw new Refusal(404, 'not-found', 'no such message');
    Object.assign(one, change);
  }
  drop(id) {
    this.messages = this.messages.filter((each) => String(each.id) !== id);
  }
}

/** Routes for the mock's table. */
export function routes({ outgoing, send, bodyOf, may, Refusal }) {
  const act = (pattern, change) => [
    'POST',
    pattern,
    async (req, res, [name]) => {
      may(['admin', 'engineer', 'integrator']);
      change(decodeURIComponent(name), await bodyOf(req));
      send(res, 204, '');
    },
  ];
  const again = { state: 'waiting', reason: null };
  return [
    ['GET', /^\/destinations$/, (_, res) => send(res, 200, outgoing().standing())],
    [
      'GET',
      /^\/destinations\/([^/]+)\/messages$/,
      (_, res, [name], terms) => send(res, 200, outgoing().page(decodeURIComponent(name), terms)),
    ],
    [
      'GET',
      /^\/outgoing\/([^/]+)$/,
      (_, res, [id]) => {
        const one = outgoing().messages.find((each) => String(each.id) === id);
        if (!one) throw new Refusal(404, 'not-found', 'no such message');
        const bytes = `MSH|^~\\&|BEDSIDE|WARD|LAB|HOSPITAL|20261123080000+0000||ORU^R01^ORU_R01|${one.control_id}|P|2.6\rPID|||P-1003^^^HTEST||HTEST^Muster\rOBX|1|NM|8867-4^Heart rate^LN||77|/min|||||F\r`;
        send(res, 200, { ...one, bytes, why: null });
      },
    ],
    act(/^\/destinations\/([^/]+)\/pause$/, (name) => outgoing().pause(name, true, Refusal)),
    act(/^\/destinations\/([^/]+)\/resume$/, (name) => outgoing().pause(name, false, Refusal)),
    act(/^\/outgoing\/([^/]+)\/(?:release|rebuild)$/, (id) => outgoing().step(id, again, Refusal)),
    act(/^\/outgoing\/([^/]+)\/drop$/, (id) => outgoing().drop(id)),
  ];
}
