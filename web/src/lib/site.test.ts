import { describe, expect, it } from 'vitest';
import { later, stepShown, timeIn, type FirstSteps } from './site';

const steps = (...states: FirstSteps['steps'][number]['state'][]): FirstSteps['steps'] =>
  (['site', 'time', 'upstream', 'device'] as const).map((step, at) => ({
    step,
    state: states[at] ?? 'open',
    what: [],
  }));

describe('the steps of the set-up', () => {
  it('shows what is asked for, else the first that is open, else none', () => {
    expect(stepShown(steps('done', 'later', 'open'), null)).toBe('upstream');
    expect(stepShown(steps('done', 'later', 'open'), 'site')).toBe('site');
    expect(stepShown(steps('open'), 'none')).toBeNull();
    expect(stepShown(steps('open'), 'made-up')).toBe('site');
    expect(stepShown(steps('done', 'later', 'done', 'done'), null)).toBeNull();
  });

  it('puts a step off once and takes it up again', () => {
    const off = later({ later: ['device'], away: false }, 'time', true);
    expect(later(off, 'time', true).later).toEqual(['device', 'time']);
    expect(later(off, 'device', false)).toEqual({ later: ['time'], away: false });
  });

  it('tells the time of a zone, and nothing for one that nobody knows', () => {
    const noon = Date.parse('2026-11-23T12:00:00Z');
    expect(timeIn('Asia/Kolkata', noon)).toContain('17:30');
    expect(timeIn('Mars/Olympus', noon)).toBe('');
    expect(timeIn('', noon)).toBe('');
  });
});
