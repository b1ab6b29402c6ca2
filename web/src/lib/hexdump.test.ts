import { describe, expect, it } from 'vitest';
import { hexdump, rawParts } from './hexdump';

describe('bytes', () => {
  it('stand in rows of sixteen with what prints', () => {
    const hex = '0b4d53487c5e7e5c267c41434d457c1c0d';
    expect(hexdump(hex).split('\n')).toEqual([
      '000000  0b 4d 53 48 7c 5e 7e 5c  26 7c 41 43 4d 45 7c 1c  ·MSH|^~\\&|ACME|·',
      '000010  0d                                                ·',
    ]);
    expect(hexdump('0B 4D\n53')).toBe(hexdump('0b4d53').replaceAll('0b', '0B').replaceAll('4d', '4D'));
    expect(hexdump('')).toBe('');
  });

  it('name their control characters and break lines where the wire does', () => {
    expect(rawParts('␋MSH|1␍PID␍␊␜␍')).toEqual([
      { control: true, text: '‹VT›' },
      { control: false, text: 'MSH|1' },
      { control: true, text: '‹CR›\n' },
      { control: false, text: 'PID' },
      { control: true, text: '‹CR›‹LF›\n‹FS›‹CR›\n' },
    ]);
  });

  it('are named to the last control character', () => {
    const pictures = Array.from({ length: 34 }, (_, i) => String.fromCharCode(0x2400 + i)).join('');
    const [part] = rawParts(pictures);
    expect(part?.text).not.toContain('undefined');
    expect(part?.text.startsWith('‹NUL›‹SOH›‹STX›')).toBe(true);
    expect(part?.text.endsWith('‹US›‹SP›‹DEL›')).toBe(true);
  });

  it('without control characters stay as they are', () => {
    expect(rawParts('<b>plain</b>')).toEqual([{ control: false, text: '<b>plain</b>' }]);
    expect(rawParts('')).toEqual([]);
  });
});
