import { describe, expect, it } from 'vitest';
import { diff, excerpt, nextStep, type HeldGroup } from './sets';
import { since, spanOf } from './spans';

const group = (change: Partial<HeldGroup>): HeldGroup => ({
  key: 'line #',
  reason: 'line 7',
  step: 'profile',
  count: 2,
  first: '2026-11-22T12:00:00Z',
  last: '2026-11-22T12:00:00Z',
  links: [{ name: 'bed-1', profile: 'masimo/ascii1', count: 2 }],
  devices: [],
  newest: [9, 1],
  ...change,
});

describe('two texts side by side', () => {
  it('tell what went and what came, in order', () => {
    const signs = (before: string, after: string) => diff(before, after).map(({ sign, text }) => sign + text);
    expect(signs('a\nb\nc', 'a\nx\nc')).toEqual([' a', '-b', '+x', ' c']);
    expect(signs('a\nb', 'a\nb')).toEqual([' a', ' b']);
    expect(signs('a\nc', 'a\nb\nc')).toEqual([' a', '+b', ' c']);
    expect(signs('one', 'other')).toEqual(['-one', '+other']);
  });
  it('are shown where they differ, with what stands around', () => {
    const before = Array.from({ length: 30 }, (_, n) => `line ${n}`);
    const after = before.with(15, 'other');
    const shown = excerpt(diff(before.join('\n'), after.join('\n')), 2);
    expect(shown[0]).toEqual({ skipped: 13 });
    expect(shown.filter((line) => 'sign' in line && line.sign !== ' ')).toHaveLength(2);
    expect(shown.at(-1)).toEqual({ skipped: 12 });
    expect(excerpt(diff('a', 'a'))).toEqual([]);
  });
  it('of any size end', () => {
    const long = Array.from({ length: 5000 }, (_, n) => `${n}`).join('\n');
    const other = Array.from({ length: 5000 }, (_, n) => `x${n}`).join('\n');
    expect(diff(long, other)).toHaveLength(10_000);
  });
});

describe('a group of held entries', () => {
  it('leads to where its cause is taken away', () => {
    const step = nextStep(group({}));
    expect(step.links).toEqual([
      { name: 'Open masimo/ascii1', href: '/profiles/edit?id=masimo%2Fascii1&entry=9' },
    ]);
    expect(nextStep(group({ step: 'pairing' })).links[0]?.href).toBe('/pairing');
    expect(nextStep(group({ step: 'server' })).links[0]?.href).toBe('/upstream');
    expect(nextStep(group({ step: 'disk' })).links).toEqual([]);
    const sender = group({ links: [{ name: 'door', profile: 'by-sender', count: 1 }] });
    expect(nextStep(sender).links).toEqual([]);
  });
});

describe('a span of time', () => {
  it('is a day where nothing is said, and everything for what is open', () => {
    const of = (text: string) => spanOf(new URLSearchParams(text));
    expect([of(''), of('span=7d'), of('span=x'), of('state=held'), of('state=accepted')]).toEqual([
      '24h',
      '7d',
      '24h',
      'all',
      '24h',
    ]);
  });
  it('begins at a whole minute', () => {
    expect(since('1h', Date.UTC(2026, 0, 1, 12, 0, 42))).toBe('2026-01-01T11:00:00.000Z');
    expect(since('all', 0)).toBe('');
  });
});
