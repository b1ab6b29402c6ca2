import { describe, expect, it } from 'vitest';
import type { Device, Link } from './api';
import type { Stand } from './associations';
import { chosen, patientOf } from './devices';

const device = (label: string, link: string, last_seen: string | null) =>
  ({ key: `k/${label}`, label, link, last_seen, manufacturer: 'Acme', model: 'M', patient: null }) as Device;
const DEVICES = [
  device('Scale', 'serial', '2026-11-22T10:00:00Z'),
  device('Monitor', 'icu', '2026-11-22T14:00:00Z'),
  device('Pump', 'icu', null),
];
const LINKS = [
  { name: 'serial', state: 'retrying' },
  { name: 'icu', state: 'up' },
] as Link[];
const names = (wanted: Partial<Parameters<typeof chosen>[2]>) =>
  chosen(DEVICES, LINKS, { search: '', which: 'all', order: 'problems', ...wanted }).map(
    ({ label }) => label,
  );

describe('the list of devices', () => {
  it('has what is wrong first', () => {
    expect(names({})).toEqual(['Pump', 'Scale', 'Monitor']);
    expect(names({ which: 'problems' })).toEqual(['Pump', 'Scale']);
    expect(names({ which: 'never' })).toEqual(['Pump']);
  });

  it('is sorted by name or by when each was seen, never seen at one end', () => {
    expect(names({ order: 'name' })).toEqual(['Monitor', 'Pump', 'Scale']);
    expect(names({ order: 'seen' })).toEqual(['Monitor', 'Scale', 'Pump']);
    expect(names({ order: 'oldest' })).toEqual(['Pump', 'Scale', 'Monitor']);
  });

  it('is searched by label, maker, link and key, whatever the case', () => {
    expect(names({ search: ' ICU ' })).toEqual(['Pump', 'Monitor']);
    expect(names({ search: 'k/scale' })).toEqual(['Scale']);
    expect(names({ search: 'nothing' })).toEqual([]);
  });
});

describe('whose device it is', () => {
  const person = { id: 'P-1', family: 'Muster', given: 'Eva' };
  const stand = (some: object) => ({ association: null, in_bed: [], ...some }) as unknown as Stand;
  it('goes by the association, then by a bed with one person in it, else is not said', () => {
    expect(patientOf(stand({ association: { patient: person } }))).toContain('P-1');
    expect(patientOf(stand({ in_bed: [person] }))).toContain('P-1');
    expect(patientOf(stand({ in_bed: [person, person] }))).toBeNull();
    expect(patientOf(undefined)).toBeNull();
  });
});
