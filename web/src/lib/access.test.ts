import { describe, expect, it } from 'vitest';
import { fromBase64url, listOf, picture, toBase64url } from './access';

describe('what travels of a passkey', () => {
  it('reads back as it was, whatever its bytes', () => {
    for (const bytes of [[], [0], [255, 254], [251, 239, 190], [...Array(256).keys()]]) {
      const text = toBase64url(Uint8Array.from(bytes).buffer);
      expect(text).not.toMatch(/[+/=]/);
      expect([...fromBase64url(text)]).toEqual(bytes);
    }
  });
});

describe('a QR code', () => {
  it('is an image and no markup', () => {
    expect(picture('<svg/>')).toBe('data:image/svg+xml;base64,PHN2Zy8+');
  });
});

describe('a list typed by a person', () => {
  it('is taken by lines and commas, without empty ones', () => {
    expect(listOf(' ICU, OR/2\n\nSouth:ICU ,')).toEqual(['ICU', 'OR/2', 'South:ICU']);
    expect(listOf('  ')).toEqual([]);
  });
});
