import { afterEach, describe, expect, it } from 'vitest';
import {
  emptyDraft,
  forgetDraft,
  goes,
  keep,
  kept,
  lineText,
  linkOf,
  matching,
  nameFor,
  portNumber,
  suggested,
  topicsIn,
  usual,
  zones,
} from './draft';
import type { ProfileCard, SerialHint } from './pairing';

const HINT: SerialHint = {
  baud: [4800, 9600],
  data_bits: 7,
  parity: 'even',
  stop_bits: 2,
  flow: 'none',
  dtr: null,
  rts: true,
  quiet_timeout_s: null,
};
const card = (id: string, codec: string, transport: ProfileCard['transport']): ProfileCard => ({
  id,
  manufacturer: 'Acme',
  model: 'M5, ward edition',
  verified: 'simulator',
  codec,
  transport,
  caveats: [],
});
const MONITOR = card('acme/m5', 'mllp', { tcp: { listen: true, port: 2575 } });
const ASTM = card('hema/h3', 'astm', { tcp: { listen: false, port: 4000 }, serial: HINT });
const LAN = card('vue/mx', 'intellivue', { udp: { port: 24_105 } });
const KIT = card('vita/ble', 'message', { mqtt: { topics: ['kits/#'], qos: 1 } });
const GDT = card('lungo/gdt', 'message', { folder: { files: '*.gdt', settle_s: 5 } });

afterEach(() => sessionStorage.clear());

describe('a draft', () => {
  it('survives a reload, and what was kept wrongly is an empty one', () => {
    keep({ ...emptyDraft(), way: 'network', name: 'Bed 3' });
    expect(kept()).toEqual({ ...emptyDraft(), way: 'network', name: 'Bed 3' });
    sessionStorage.setItem('bedside.pairing', '{"name":"x","stranger":1}');
    expect(kept()).toEqual({ ...emptyDraft(), name: 'x' });
    sessionStorage.setItem('bedside.pairing', '{');
    expect(kept()).toEqual(emptyDraft());
    forgetDraft();
    expect(sessionStorage.length).toBe(0);
  });

  it('starts from what its profile suggests', () => {
    const network = { ...emptyDraft(), way: 'network' as const };
    expect(suggested(network, ASTM)).toEqual({ listen: false, port: '4000' });
    expect(suggested(network, LAN)).toEqual({ listen: false, port: '24105' });
    expect(suggested({ ...network, way: 'mqtt' }, KIT)).toEqual({ topics: 'kits/#' });
    expect(suggested({ ...network, way: 'folder' }, GDT)).toEqual({ files: '*.gdt' });
    expect(suggested({ ...network, way: 'serial' }, ASTM)).toEqual({});
  });
});

describe('a link', () => {
  const draft = { ...emptyDraft(), name: ' Bed 3 ', zone: 'Europe/Zurich', port: '2575' };

  it('takes HL7 by MLLP, and other codecs by TCP or UDP', () => {
    const network = { ...draft, way: 'network' as const, profile: MONITOR.id };
    expect(linkOf(network, MONITOR, null)).toEqual({
      name: 'Bed 3',
      profile: 'acme/m5',
      zone: 'Europe/Zurich',
      mllp: { listen: '0.0.0.0:2575' },
    });
    expect(linkOf({ ...network, listen: false, host: ' 10.0.0.9 ' }, ASTM, null)).toMatchObject({
      tcp: { connect: '10.0.0.9:2575' },
    });
    expect(linkOf({ ...network, listen: false, host: 'fe80::1' }, LAN, null)).toMatchObject({
      udp: { connect: '[fe80::1]:2575' },
    });
    expect(linkOf({ ...network, profile: 'by-sender' }, undefined, null)).toMatchObject({
      profile: 'by-sender',
      mllp: { listen: '0.0.0.0:2575' },
    });
  });

  it('subscribes to this gateway’s broker or to another, and says nothing that was not filled in', () => {
    const mqtt = { ...draft, way: 'mqtt' as const, port: '', topics: 'kits/#\n , b/+' };
    expect(linkOf(mqtt, KIT, null)).toMatchObject({ broker: { topics: ['kits/#', 'b/+'] } });
    expect(linkOf({ ...mqtt, ownBroker: false, broker: 'mq.local', username: 'u' }, KIT, null).mqtt).toEqual({
      broker: 'mq.local',
      topics: ['kits/#', 'b/+'],
      tls: true,
      username: 'u',
    });
  });

  it('watches a folder, and binds a patient only when asked to', () => {
    const folder = { ...draft, way: 'folder' as const, folder: '/srv/gdt' };
    const patient = { system: 'urn:x', value: '7' };
    expect(linkOf(folder, GDT, patient)).toMatchObject({ folder: { dir: '/srv/gdt', files: '*' }, patient });
    expect(linkOf(folder, GDT, null)).not.toHaveProperty('patient');
  });

  it('has the profile’s usual line, without what that leaves open', () => {
    expect(usual(HINT, '/dev/x')).toEqual({
      port: '/dev/x',
      baud: 4800,
      data_bits: 7,
      parity: 'even',
      stop_bits: 2,
      flow: 'none',
      rts: true,
    });
    expect(lineText(usual(HINT, '/dev/x', 9600))).toBe('9600 7E2');
    expect(lineText({ baud: 9600 })).toBe('9600 8N1');
  });
});

describe('the choices', () => {
  it('of a way are the profiles that go that way', () => {
    const all = [MONITOR, ASTM, LAN, KIT, GDT];
    const ids = (way: Parameters<typeof goes>[1]) => all.filter((one) => goes(one, way)).map(({ id }) => id);
    expect(ids('serial')).toEqual(['hema/h3']);
    expect(ids('network')).toEqual(['acme/m5', 'hema/h3', 'vue/mx']);
    expect(ids('mqtt')).toEqual(['vita/ble']);
    expect(ids('folder')).toEqual(['lungo/gdt']);
  });

  it('are found by every word of a search', () => {
    expect(matching([MONITOR, ASTM], 'ACME  h3').map(({ id }) => id)).toEqual(['hema/h3']);
    expect(matching([MONITOR, ASTM], '')).toHaveLength(2);
    expect(matching([MONITOR], 'acme nothing')).toEqual([]);
  });

  it('suggest a name of place and model that fits a link', () => {
    expect(nameFor(' Room 5 ', MONITOR)).toBe('Room 5, M5');
    expect(nameFor('', undefined)).toBe('');
    expect(nameFor('x'.repeat(90), MONITOR)).toHaveLength(64);
  });

  it('offer the site’s zone first, and each zone once', () => {
    const all = zones('Europe/Zurich');
    expect(all.slice(0, 2)).toEqual(['Europe/Zurich', 'UTC']);
    expect(new Set(all).size).toBe(all.length);
  });

  it('refuse what is no port', () => {
    expect(['1', ' 2575 ', '65535'].map(portNumber)).toEqual([1, 2575, 65_535]);
    expect(['', '0', '65536', '-1', '1.5', '1e3', 'x'].map(portNumber)).toEqual(Array(7).fill(null));
    expect(topicsIn('a/b\n\n c ,d')).toEqual(['a/b', 'c', 'd']);
  });
});
