import { describe, expect, it } from 'vitest';

import { moment } from './audit';

describe('a moment typed into a field', () => {
  it('is sent in UTC, and not at all when it is none', () => {
    expect(moment('2026-11-22T12:00')).toBe(new Date(2026, 10, 22, 12, 0).toISOString());
    expect(moment('')).toBeUndefined();
    expect(moment('yesterday')).toBeUndefined();
  });
});
