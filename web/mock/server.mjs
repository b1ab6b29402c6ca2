// Serves dist/ and the gateway's contract with a made-up ward, for work on the pages without a gateway.
//   node mock/server.mjs [--port 4180] [--code WARD-2026] [--ready] [--scenario good|trouble|empty]
// POST /mock?scenario=… changes the ward, ?role=… the user's role, ?live=cut breaks the live stream for 20 s.
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { STATUS_CODES, createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Bedsides, routes as bedsideRoutes } from './associations.mjs';
import { Desk, routes } from './pairing.mjs';
import { Outgoing, routes as outgoingRoutes } from './routes.mjs';
import { DEVICES, Ward } from './ward.mjs';

const { values: flags } = parseArgs({
  options: {
    port: { type: 'string', default: '4180' },
    code: { type: 'string', default: 'WARD-2026' },
    ready: { type: 'boolean', default: false },
    scenario: { type: 'string', default: 'good' },
  },
});

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
const FINGERPRINT = Array.from({ length: 32 }, (_, i) => ((i * 37 + 11) % 256).toString(16).padStart(2, '0'))
  .join(':')
  .toUpperCase();
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
};

let ward = new Ward(flags.scenario);
let desk = new Desk(ward.links());
let bedsides = new Bedsides(flags.scenario);
let outgoing = new Outgoing(flags.scenario);
let role = 'admin';
/** As src/access/roles.txt has it. */
const WORDS =
  'session.use devices.see messages.read messages.resend upstream.test devices.pair worklist.use associations.change profiles.change upstreams.change settings.change break-glass.use users.change audit.read backup.make site.change'.split(
    ' ',
  );
const MAY = {
  admin: WORDS,
  engineer: WORDS.slice(0, 12),
  integrator: WORDS.slice(0, 10),
  clinician: [
    'session.use',
    'devices.see',
    'messages.read',
    'worklist.use',
    'associations.change',
    'break-glass.use',
  ],
  auditor: ['session.use', 'audit.read'],
};
let user = flags.ready ? { username: 'anna', password: 'correct horse battery' } : null;
let cutUntil = 0;
let failures = 0;
const sessions = new Set();
const streams = new Set();

setInterval(() => ward.tick(), 1000);

class Refusal extends Error {
  constructor(status, code, detail, headers = {}) {
    super(detail);
    Object.assign(this, { status, title: STATUS_CODES[status], detail, code, headers });
  }
}

const send = (res, status, body, headers = {}) => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  res
    .writeHead(status, { 'Content-Type': 'application/json', ...headers })
    .end(status === 204 ? undefined : text);
};

async function bodyOf(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return text ? JSON.parse(text) : {};
}

function logIn(res, username) {
  const token = randomUUID();
  sessions.add(token);
  send(
    res,
    200,
    { username },
    { 'Set-Cookie': `__Host-bedside=${token}; Secure; HttpOnly; SameSite=Strict; Path=/` },
  );
}

const sessionOf = (req) => /__Host-bedside=([^;]+)/.exec(req.headers.cookie ?? '')?.[1];

function mustBeIn(req) {
  if (!sessions.has(sessionOf(req)))
    throw new Refusal(401, 'not-logged-in', 'you are not logged in; log in first');
}

function mustChange(req) {
  const same =
    req.headers['sec-fetch-site'] === 'same-origin' || req.headers.origin?.endsWith(`//${req.headers.host}`);
  if (!same || req.headers['x-bedside-csrf'] !== '1')
    throw new Refusal(403, 'csrf', 'not from this desk; the header is missing');
}

async function setUp(req, res) {
  const { code, username, password } = await bodyOf(req);
  if (user)
    throw new Refusal(
      410,
      'already-set-up',
      'this gateway is already set up; log in with the user that was made then',
    );
  if (code !== flags.code)
    throw new Refusal(
      403,
      'wrong-code',
      'that is not the one-time code; read it again on the gateway’s console: a new one is printed at each start',
    );
  if ([...password].length < 12)
    throw new Refusal(422, 'password-short', 'the password is too short; use at least 12 characters');
  user = { username, password };
  logIn(res, username);
}

async function logInWith(req, res) {
  const { username, password } = await bodyOf(req);
  if (failures > 4)
    throw new Refusal(429, 'too-many-tries', 'too many tries; the gateway waits before it listens again', {
      'Retry-After': '30',
    });
  if (!user || username !== user.username || password !== user.password) {
    failures += 1;
    throw new Refusal(401, 'wrong-password', 'user name or password is wrong');
  }
  failures = 0;
  logIn(res, username);
}

/** What a link made at the desk says is what the oximeter says. */
function asked(terms) {
  const filter = Object.fromEntries(terms);
  const own = desk.liveLinks().some(({ name, frames }) => name === filter.link && frames > 0);
  return own ? { ...filter, link: 'oximeter' } : filter;
}

function overview() {
  const seen = ward.overview();
  return { ...seen, links: [...seen.links, ...desk.liveLinks()] };
}

function may(roles) {
  if (!roles.includes(role)) throw new Refusal(403, 'role', `a user of the role ${role} may not do this`);
}

function live(req, res) {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  const say = () => res.write(`event: overview\ndata: ${JSON.stringify(overview())}\n\n`);
  say();
  const point = (p) => res.write(`event: point\ndata: ${JSON.stringify(p)}\n\n`);
  ward.listeners.add(point);
  const timers = [setInterval(say, 1000), setInterval(() => res.write(': alive\n\n'), 10_000)];
  streams.add(res);
  req.on('close', () => {
    timers.forEach(clearInterval);
    ward.listeners.delete(point);
    streams.delete(res);
  });
}

const unsaid = (value) => ({ value, source: 'default' });
const site = {
  name: unsaid('Bedside'),
  gateway: unsaid(''),
  zone: unsaid('UTC'),
  file: '/etc/bedside/bedside.toml',
  local_time: '2026-11-22T14:00:00+00:00[UTC]',
  earlier: [],
  kept: 1234,
  trouble: null,
  clock: {
    service: 'systemd-timesyncd',
    state: 'not-synchronised',
    servers: [],
    wanted: [],
    as_wanted: false,
    file: null,
    text: null,
    command: null,
  },
  put_off: { later: [], away: false },
};

/** How far the set-up has come, as the gateway tells it. */
function firstSteps() {
  const had = {
    site: site.name.source !== 'default' && site.zone.source !== 'default',
    time: site.clock.state === 'synchronised',
    upstream: false,
    device: true,
  };
  const steps = Object.entries(had).map(([step, done]) => ({
    step,
    state: done ? 'done' : site.put_off.later.includes(step) ? 'later' : 'open',
    what: step === 'device' ? ['monitors'] : [],
  }));
  const open = steps.filter(({ state }) => state === 'open').length;
  return { steps, open, untouched: false, site };
}

function deviceOf(key) {
  const device = DEVICES.find((one) => one.key === decodeURIComponent(key));
  if (!device)
    throw new Refusal(404, 'unknown-device', 'no such device; it has not sent anything to this gateway');
  return device;
}

function entryOf(id) {
  const entry = ward.entries.find((one) => String(one.id) === decodeURIComponent(id));
  if (!entry) throw new Refusal(404, 'unknown-entry', 'no such message; it may be older than what is kept');
  return entry;
}

const SEGMENTS = { MSH: 'Message header', PID: 'Patient', OBX: 'Observation' };
const FIELDS = {
  'MSH-9': 'Message type',
  'MSH-10': 'Message control id',
  'PID-3': 'Patient identifiers',
  'PID-5': 'Name',
  'OBX-2': 'Value type',
  'OBX-3': 'Observation',
  'OBX-5': 'Value',
  'OBX-6': 'Units',
  'OBX-11': 'Result status',
};

/** The message of an entry, taken apart. */
function hl7Of(entry) {
  const lines = entry.raw
    .replace(/[\x0b\x1c]/g, '')
    .split('\r')
    .filter((line) => /^[A-Z0-9]{3}\|/.test(line));
  if (lines.length === 0) throw new Refusal(404, 'not-found', 'no HL7 message');
  const seen = {};
  const segments = lines.map((line) => {
    const [segment, ...rest] = line.split('|');
    const occurrence = (seen[segment] = (seen[segment] ?? 0) + 1);
    const fields = (segment === 'MSH' ? ['|', ...rest] : rest).map((value, i) => ({
      path: `${segment}${occurrence > 1 ? `[${occurrence}]` : ''}-${i + 1}`,
      title: FIELDS[`${segment}-${i + 1}`] ?? 'Set number',
      null: value === '""',
      parts:
        segment === 'MSH' && i < 2
          ? [[[value]]]
          : value.split('~').map((one) => one.split('^').map((part) => part.split('&'))),
      value,
    }));
    return {
      segment,
      occurrence,
      title: SEGMENTS[segment] ?? null,
      fields: fields.filter(({ value }) => value !== '').map(({ value: _, ...field }) => field),
    };
  });
  return { segments, whole: true };
}

function upstream() {
  const { name, base, state, since, detail } = ward.upstream();
  const { waiting, sent, held } = ward.counts();
  return {
    configured: true,
    name,
    base,
    state,
    since,
    detail,
    auth: 'smart',
    client_id: 'bedside-clinique-du-lac',
    scopes: 'system/Observation.cu system/Device.cu system/Patient.cru',
    kid: 'e1b5-2026-11',
    algorithm: 'ES384',
    jwks: {
      keys: [
        {
          kty: 'EC',
          crv: 'P-384',
          x: 'mock-x-coordinate-of-the-public-key',
          y: 'mock-y-coordinate-of-the-public-key',
          use: 'sig',
          alg: 'ES384',
          kid: 'e1b5-2026-11',
        },
      ],
    },
    queue: { waiting, sent, held },
    mode: 'put',
  };
}

function testSteps() {
  const down = ward.scenario === 'trouble';
  const steps = [
    { name: 'Find the server’s address', ok: true, detail: 'fhir.example.org is 203.0.113.7', ms: 12 },
    {
      name: 'Open a TLS connection',
      ok: !down,
      detail: down
        ? 'No answer within 10 s: check the internet connection and the firewall'
        : 'TLS 1.3, certificate valid for 61 more days',
      ms: down ? 10_000 : 48,
    },
  ];
  if (down) return { steps };
  return {
    steps: [
      ...steps,
      {
        name: 'Read the SMART configuration',
        ok: true,
        detail: 'Token endpoint https://auth.example.org/token',
        ms: 31,
      },
      { name: 'Get a token', ok: true, detail: 'Granted for 5 min, all scopes', ms: 122 },
      {
        name: 'Ask what the server can do',
        ok: true,
        detail: 'FHIR 4.0.1, transactions, update creates',
        ms: 77,
      },
    ],
  };
}

const ROUTES = [
  [
    'GET',
    /^\/setup$/,
    (_, res) =>
      send(res, 200, {
        needed: !user,
        simulated: true,
        site: 'Clinique du Lac',
        fingerprint: FINGERPRINT,
        version: '0.1.0-mock',
      }),
    'open',
  ],
  ['POST', /^\/setup$/, setUp, 'open'],
  ['POST', /^\/login$/, logInWith, 'open'],
  ['POST', /^\/logout$/, (req, res) => (sessions.delete(sessionOf(req)), send(res, 204, ''))],
  [
    'GET',
    /^\/session$/,
    (_, res) =>
      send(res, 200, {
        username: user.username,
        role,
        source: 'local',
        stage: 'in',
        factors: [],
        permissions: MAY[role],
        remember_days: 0,
        setup:
          firstSteps().open > 0 && !site.put_off.away ? { open: firstSteps().open, untouched: false } : null,
        places: null,
        devices: null,
        own_role: null,
        break_glass: null,
        site: 'Clinique du Lac',
        simulated: true,
        version: '0.1.0-mock',
      }),
  ],
  ['GET', /^\/overview$/, (_, res) => send(res, 200, overview())],
  ['GET', /^\/live$/, live],
  [
    'GET',
    /^\/devices\/([^/]+)$/,
    (_, res, [key]) => {
      const device = deviceOf(key);
      const metrics = device.metrics
        .filter((m) => typeof m.value() === 'number')
        .map(({ code, label, unit }) => ({ code, label, unit }));
      send(res, 200, {
        ...ward.device(device),
        caveats: device.caveats,
        metrics,
        identifiers: device.identifiers,
        clock: {
          offset_s: 4.2,
          drift_s_per_day: 0.7,
          samples: 5_120,
          since: new Date(Date.now() - 86_400_000).toISOString(),
          verdict: 'The clock agrees with the box: 4 s ahead.',
          wrong: false,
        },
      });
    },
  ],
  ['GET', /^\/first-steps$/, (_, res) => send(res, 200, firstSteps())],
  [
    'POST',
    /^\/first-steps$/,
    async (req, res) => {
      site.put_off = await bodyOf(req);
      send(res, 204);
    },
  ],
  [
    'POST',
    /^\/site$/,
    async (req, res) => {
      const { time_server, zone_from, ...said } = await bodyOf(req);
      if (said.zone && said.zone !== site.zone.value && site.kept > 0 && !zone_from)
        throw new Refusal(409, 'zone-from', 'say whether the zone counts from now on or always did');
      for (const [key, value] of Object.entries(said)) site[key] = { value, source: 'desk' };
      if (time_server !== undefined) {
        site.clock.wanted = time_server.split(/\s+/).filter(Boolean);
        site.clock.file = '/etc/systemd/timesyncd.conf.d/50-bedside.conf';
        site.clock.text = `[Time]\nNTP=${time_server}\n`;
        site.clock.command = 'timedatectl set-ntp true && systemctl restart systemd-timesyncd';
      }
      const back_in_s = Object.keys(said).length > 0 ? 5 : 0;
      send(res, 200, { at: new Date().toISOString(), back_in_s });
    },
  ],
  [
    'GET',
    /^\/day$/,
    (_, res) => {
      const quarter = 15 * 60_000;
      const last = Math.floor(Date.now() / quarter);
      const quarters = Array.from({ length: 96 }, (__, i) => ({
        begins: new Date((last - 95 + i) * quarter).toISOString(),
        entries: i < 4 ? null : i > 40 && i < 46 ? {} : { oximeter: 900, monitors: 30 + (i % 7) * 12 },
        held: i === 70 ? { monitors: 3 } : {},
      }));
      const at = (i) => quarters[i].begins;
      send(res, 200, { quarters, off: [{ from: at(42), until: at(45) }] });
    },
  ],
  [
    'GET',
    /^\/devices$/,
    (_, res) => {
      const first_seen = new Date(Date.now() - 40 * 86_400_000).toISOString();
      const known = DEVICES.map(({ key, label }) => ({ key, label, first_seen }));
      send(res, 200, { devices: known });
    },
  ],
  [
    'GET',
    /^\/devices\/([^/]+)\/trend$/,
    (_, res, [key], terms) => {
      const device = deviceOf(key);
      const metric = device.metrics.find(({ code }) => code === terms.get('code'));
      const from = Date.now() - Number(terms.get('minutes') ?? 60) * 60_000;
      const points = (ward.trends.get(`${device.key} ${metric.code}`) ?? []).filter(([at]) => at >= from);
      send(res, 200, { label: metric.label, unit: metric.unit, points });
    },
  ],
  [
    'GET',
    /^\/devices\/([^/]+)\/waves$/,
    (_, res, [key], terms) => {
      const { link } = deviceOf(key);
      const seconds = Number(terms.get('seconds') ?? 20);
      const from_us = (Math.floor(Date.now() / 1000) - seconds) * 1e6;
      const samples = Array.from({ length: seconds * 75 }, (_, i) => {
        const at = (from_us / 1e6 + i / 75) * 2 * Math.PI * 1.2;
        return Math.round(140 + 70 * Math.sin(at) + 22 * Math.sin(2 * at + 1));
      });
      const pieces = [{ from_us, period_ns: 13_333_333, origin: 0, factor: 1, samples }];
      const waves = [{ code: '150452', label: 'Plethysmogram', unit: null, pieces }];
      send(res, 200, { waves: link === 'oximeter' ? waves : [] });
    },
  ],
  [
    'GET',
    /^\/entries$/,
    (_, res, __, terms) =>
      send(res, 200, ward.page({ ...asked(terms), limit: Number(terms.get('limit') ?? 50) })),
  ],
  ['GET', /^\/entries\/([^/]+)$/, (_, res, [id]) => send(res, 200, ward.detail(entryOf(id)))],
  ['GET', /^\/entries\/([^/]+)\/hl7$/, (_, res, [id]) => send(res, 200, hl7Of(entryOf(id)))],
  [
    'POST',
    /^\/entries\/([^/]+)\/(release|replay)$/,
    (_, res, [id, what]) => {
      const entry = entryOf(id);
      if (what === 'release' && entry.state !== 'held')
        throw new Refusal(409, 'not-held', `it is not held; its state is ${entry.state}`);
      Object.assign(entry, { state: 'waiting', reason: null, replayed: Date.now() });
      send(res, 202, {});
    },
  ],
  ['GET', /^\/upstream$/, (_, res) => send(res, 200, upstream())],
  ['POST', /^\/upstream\/test$/, (_, res) => setTimeout(() => send(res, 200, testSteps()), 700)],
  ...routes({ desk: () => desk, send, bodyOf, may, Refusal }),
  ...outgoingRoutes({ outgoing: () => outgoing, send, bodyOf, may, Refusal }),
  ...bedsideRoutes({ bedsides: () => bedsides, send, bodyOf, may, Refusal }),
];

async function api(req, res, url) {
  const path = url.pathname.slice('/api/v1'.length);
  for (const [method, pattern, answer, open] of ROUTES) {
    const found = req.method === method && pattern.exec(path);
    if (!found) continue;
    if (method === 'POST') mustChange(req);
    if (open !== 'open') mustBeIn(req);
    if (path === '/live' && Date.now() < cutUntil) throw new Refusal(503, 'cut', 'not now');
    return answer(req, res, found.slice(1), url.searchParams);
  }
  throw new Refusal(404, 'not-found', 'no such address');
}

function control(res, terms) {
  if (terms.has('scenario')) {
    ward = new Ward(terms.get('scenario'));
    desk = new Desk(ward.links());
    bedsides = new Bedsides(terms.get('scenario'));
    outgoing = new Outgoing(terms.get('scenario'));
  }
  if (terms.has('role')) role = terms.get('role');
  if (terms.get('live') === 'cut') cutUntil = Date.now() + 20_000;
  for (const stream of streams) stream.destroy();
  send(res, 204, '');
}

async function file(res, path) {
  const name = extname(path) ? normalize(path) : 'index.html';
  try {
    const bytes = await readFile(join(DIST, name));
    res
      .writeHead(200, {
        'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream',
        'Content-Security-Policy': CSP,
        'X-Content-Type-Options': 'nosniff',
        'Cache-Control': 'no-cache',
      })
      .end(bytes);
  } catch {
    send(res, 404, 'not found');
  }
}

createServer(async (req, res) => {
  const url = new URL(req.url, 'http://localhost');
  try {
    if (url.pathname.startsWith('/api/v1/')) await api(req, res, url);
    else if (req.method === 'POST' && url.pathname === '/mock') control(res, url.searchParams);
    else await file(res, url.pathname);
  } catch (refusal) {
    const { status = 500, title = 'Fault', detail = String(refusal), code = 'fault', headers = {} } = refusal;
    send(
      res,
      status,
      { type: 'about:blank', title, status, detail, code },
      { 'Content-Type': 'application/problem+json', ...headers },
    );
  }
}).listen(Number(flags.port), 'localhost', () => {
  console.log(`Desk on http://localhost:${flags.port}/, one-time code ${flags.code}`);
});
