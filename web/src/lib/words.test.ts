import { describe, expect, it } from 'vitest';
import { ENTRY, LINK, UPSTREAM, absentText, count, digits, sizeText, unitText, wordFor } from './words';

describe('words', () => {
  it('tell why a value is absent, never a number', () => {
    expect(absentText('not-performed')).toBe('Not measured');
    expect(absentText('negative-infinity')).toBe('Below range');
    expect(absentText(null)).toBe('No value');
    expect(absentText('a reason of tomorrow')).toBe('a reason of tomorrow');
    for (const reason of [null, '', 'unknown', 'error']) expect(absentText(reason)).toMatch(/^[A-Z]/);
  });

  it('write units as a screen does, and leave unknown ones alone', () => {
    expect(unitText('mm[Hg]')).toBe('mmHg');
    expect(unitText('Cel')).toBe('°C');
    expect(unitText('mmol/L')).toBe('mmol/L');
    expect(unitText('[furlong]')).toBe('[furlong]');
    expect(unitText(null)).toBe('');
  });

  it('never lose a state of tomorrow', () => {
    expect(wordFor(LINK, 'melting')).toEqual({ text: 'melting', tone: 'idle', means: '' });
  });

  it('give every state its own word', () => {
    for (const words of [ENTRY, LINK, UPSTREAM]) {
      const texts = Object.values(words).map(({ text }) => text);
      expect(new Set(texts).size).toBe(texts.length);
    }
  });

  it('count', () => {
    expect(count(1, 'entry', 'entries')).toBe('1 entry');
    expect(count(0, 'byte')).toBe('0 bytes');
    expect(digits(1_234_567)).toBe('1\u202f234\u202f567');
    expect(sizeText(999)).toBe('999 B');
    expect(sizeText(8_000_000_000)).toBe('8 GB');
    expect(sizeText(214_748_364)).toBe('215 MB');
  });
});
