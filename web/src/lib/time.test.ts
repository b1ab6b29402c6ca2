import { afterEach, describe, expect, it, vi } from 'vitest';
import { ageText, axisText, fineMoment, momentText, shortMoment, spanText, zone } from './time';

/** Pretends a browser `minutes` east of Greenwich at the moment of the test. */
function east(minutes: number): void {
  vi.spyOn(Date.prototype, 'getTimezoneOffset').mockReturnValue(-minutes);
}

afterEach(() => vi.restoreAllMocks());

describe('times', () => {
  it('always carry their zone', () => {
    const at = new Date('2026-11-22T14:03:09.042Z');
    const names: [number, string][] = [
      [0, 'UTC'],
      [60, 'UTC+01:00'],
      [345, 'UTC+05:45'],
      [-210, 'UTC−03:30'],
    ];
    for (const [minutes, name] of names) {
      east(minutes);
      expect(zone(at)).toBe(name);
      expect(momentText(at.toISOString()).endsWith(` ${name}`)).toBe(true);
      expect(fineMoment(at.toISOString())).toContain('.042 ');
    }
  });

  it('drop the day only when it is today', () => {
    const now = Date.now();
    expect(shortMoment(new Date(now).toISOString(), now)).not.toContain('-');
    expect(shortMoment(new Date(now - 86_400_000 * 2).toISOString(), now)).toMatch(/^\d{4}-\d\d-\d\d /);
  });

  it('that cannot be read are shown as they came', () => {
    for (const show of [momentText, fineMoment]) expect(show('20261122')).toBe('20261122');
    expect(ageText('soon', 0)).toBe('at an unreadable time');
  });

  it('are labelled with the day where a day begins', () => {
    const midnight = new Date(2026, 10, 22, 0, 0, 0).getTime() / 1000;
    expect(axisText([midnight - 1800, midnight, midnight + 1800])).toEqual([
      '23:30\n2026-11-21',
      '00:00\n2026-11-22',
      '00:30',
    ]);
    expect(axisText([midnight, midnight + 15])[1]).toBe('00:00:15');
  });
});

describe('ages', () => {
  const now = Date.parse('2026-11-22T14:00:00Z');
  const before = (ms: number) => new Date(now - ms).toISOString();

  it('use the largest unit that still says enough', () => {
    expect(ageText(before(0), now)).toBe('0 s ago');
    expect(ageText(before(99_900), now)).toBe('99 s ago');
    expect(ageText(before(100_000), now)).toBe('1 min ago');
    expect(ageText(before(3 * 3_600_000), now)).toBe('3 h ago');
    expect(ageText(before(5 * 86_400_000), now)).toBe('5 d ago');
    expect(spanText(99 * 60_000)).toBe('99 min');
  });

  it('say when a device’s clock runs ahead, and forgive what delivery takes', () => {
    expect(ageText(before(-4000), now)).toBe('0 s ago');
    expect(ageText(before(-2 * 3_600_000), now)).toBe('2 h ahead of the gateway’s clock');
  });
});
