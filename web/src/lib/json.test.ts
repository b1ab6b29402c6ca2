import { describe, expect, it } from 'vitest';
import { ExactNumber, asText, at, parseExact } from './json';

describe('exact JSON', () => {
  it('keeps every digit of a number', () => {
    for (const digits of ['2.0', '0', '-0.318', '36.43000031', '1E+3', '12345678901234567890.10']) {
      expect(parseExact(`{"value":${digits}}`)).toEqual({ value: new ExactNumber(digits) });
      expect(asText(parseExact(digits))).toBe(digits);
    }
  });

  it('reads what JSON.parse reads', () => {
    const text = ' {"a":[true,false,null,"x\\n\\u00e9\\"]"],"b":{},"c":[ ] , "":{"d":[[]]}} ';
    expect(parseExact(text)).toEqual(JSON.parse(text));
  });

  it('lays out as JSON.stringify does', () => {
    const value = { a: ['x', true, null, []], b: {}, c: { d: 'é"<b>' } };
    expect(asText(parseExact(JSON.stringify(value)))).toBe(JSON.stringify(value, null, 2));
  });

  it('refuses what is not JSON', () => {
    const texts = [
      '',
      '{',
      '[1,]',
      '{"a":1,}',
      '{a:1}',
      '01',
      '1 2',
      '[1 2]',
      '"',
      '{"a" 1}',
      '+1',
      'nul',
      ']',
    ];
    for (const text of texts) expect(() => parseExact(text), text).toThrow(SyntaxError);
  });

  it('refuses to nest without end', () => {
    expect(() => parseExact('['.repeat(100_000))).toThrow(SyntaxError);
  });

  it('does not let a hostile key reach a prototype', () => {
    const value = parseExact('{"__proto__":{"polluted":true}}');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(at(value, 'constructor')).toBeUndefined();
  });

  it('finds a member by its path and nothing beyond a leaf', () => {
    const value = parseExact('{"code":{"coding":[{"code":"8867-4"}]},"n":1}');
    expect(at(value, 'code', 'coding', 0, 'code')).toBe('8867-4');
    expect(at(value, 'code', 'coding', 1, 'code')).toBeUndefined();
    expect(at(value, 'n', 'digits')).toBeUndefined();
  });
});
