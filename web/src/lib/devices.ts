// The list of devices: what is wrong comes first, and each is found by any of its words.

import type { Device, Link } from './api';
import { nameOf, type Stand } from './associations';

export type Order = 'problems' | 'name' | 'seen' | 'oldest' | 'new';
export type Which = 'all' | 'problems' | 'never';

/** Its link is not up, or it has never spoken. */
export const isTroubled = (device: Device, link: Link | undefined): boolean =>
  device.last_seen === null || (link !== undefined && link.state !== 'up');

const seen = ({ last_seen }: Device): number => (last_seen ? Date.parse(last_seen) : 0);

export interface Wanted {
  search: string;
  which: Which;
  order: Order;
}

/** `first`: since when each is known, by its key. */
export function chosen(
  devices: Device[],
  links: Link[],
  { search, which, order }: Wanted,
  first: Map<string, string> = new Map(),
): Device[] {
  const byName = new Map(links.map((link) => [link.name, link]));
  const troubled = (device: Device) => isTroubled(device, byName.get(device.link));
  const wanted = search.trim().toLowerCase();
  const fits = (device: Device) => {
    if (which === 'problems' && !troubled(device)) return false;
    if (which === 'never' && device.last_seen !== null) return false;
    const words = [device.label, device.manufacturer, device.model, device.link, device.key, device.patient];
    return words.join(' ').toLowerCase().includes(wanted);
  };
  const name = (a: Device, b: Device) => a.label.localeCompare(b.label);
  const known = ({ key }: Device) => Date.parse(first.get(key) ?? '') || 0;
  const orders: Record<Order, (a: Device, b: Device) => number> = {
    name,
    seen: (a, b) => seen(b) - seen(a) || name(a, b),
    oldest: (a, b) => seen(a) - seen(b) || name(a, b),
    new: (a, b) => known(b) - known(a) || name(a, b),
    problems: (a, b) => Number(troubled(b)) - Number(troubled(a)) || name(a, b),
  };
  return devices.filter(fits).sort(orders[order]);
}

/** Who a device is with now, for a person's eyes: an association before what its bed says; nothing when unsure. */
export function patientOf(stand: Stand | undefined): string | null {
  const person = stand?.association?.patient ?? (stand?.in_bed.length === 1 ? stand.in_bed[0] : undefined);
  return person ? [nameOf(person), person.id].filter(Boolean).join(', ') : null;
}
