import { afterEach, describe, expect, it } from 'vitest';
import { OVERVIEW, SESSION, SETUP } from './gateway.fixture';
import { button, leave, one, open, settle, text } from './visit.fixture';

const SITE = {
  name: { value: 'Bedside', source: 'default' },
  gateway: { value: '', source: 'default' },
  zone: { value: 'UTC', source: 'default' },
  file: '/etc/bedside/bedside.toml',
  local_time: '',
  earlier: [],
  kept: 0,
  trouble: null,
  clock: {
    service: 'systemd-timesyncd',
    state: 'not-synchronised',
    servers: [],
    wanted: ['ntp.example'],
    as_wanted: false,
    file: '/etc/systemd/timesyncd.conf.d/50-bedside.conf',
    text: '[Time]\nNTP=ntp.example\n',
    command: 'systemctl restart systemd-timesyncd',
  },
  put_off: { later: [], away: false },
};
const steps = (site: object = {}) => ({
  steps: ['site', 'time', 'upstream', 'device'].map((step) => ({ step, state: 'open', what: [] })),
  open: 4,
  untouched: true,
  site: { ...SITE, ...site },
});
const routes = (site: object = {}, setup: object | null = { open: 4, untouched: true }) => ({
  'GET /setup': SETUP,
  'GET /session': { ...SESSION, setup },
  'GET /overview': OVERVIEW,
  'GET /first-steps': steps(site),
});

afterEach(leave);

describe('finishing the set-up', () => {
  it('is where an administrator is led until it was begun', async () => {
    await open('/', routes());
    expect(location.pathname).toBe('/setup');
    expect(text(one('h1'))).toBe('Finish setting up');
  });

  it('leads nobody on who has begun, or is on the way to another page', async () => {
    await open('/', routes({}, { open: 2, untouched: false }));
    expect(location.pathname).toBe('/');
    expect(text()).toContain('set-up has 2 open steps');
    await leave();
    await open('/help', routes());
    expect(location.pathname).toBe('/help');
  });

  it('asks from when another zone counts once messages are kept, and only then', async () => {
    await open('/setup', routes({ kept: 12, zone: { value: 'UTC', source: 'desk' } }));
    expect(text()).not.toContain('It was wrong all along');
    const zone = one<HTMLInputElement>('#site-zone');
    zone.value = 'Asia/Kolkata';
    zone.dispatchEvent(new Event('input', { bubbles: true }));
    await settle();
    expect(text()).toContain('12 messages came while the zone was another');
    expect(one<HTMLInputElement>('input[value=now]').checked).toBe(true);
  });

  it('cannot change at the desk what the file says', async () => {
    await open('/setup', routes({ name: { value: 'W', source: 'file' } }));
    expect(one<HTMLInputElement>('#site-name').disabled).toBe(true);
    expect(one<HTMLInputElement>('#site-zone').disabled).toBe(false);
    expect(text()).toContain('/etc/bedside/bedside.toml');
  });

  it('gives the lines for the console where the box may not do it itself', async () => {
    let put: unknown;
    await open('/setup?step=time', {
      ...routes(),
      'POST /first-steps': (body: unknown) => {
        put = body;
        return new Response(null, { status: 204 });
      },
    });
    expect(text(one('pre'))).toContain('NTP=ntp.example');
    button('Later').click();
    await settle();
    expect(put).toEqual({ later: ['time'], away: false });
  });
});
