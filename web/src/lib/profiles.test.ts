import { describe, expect, it } from 'vitest';
import { offers, place, type Schema } from './profiles';

const schema: Schema = {
  properties: {
    device: {
      $ref: '#/$defs/device',
    },
    link: { properties: { codec: { enum: ['lines', 'mllp'] } } },
    metric: {
      type: 'array',
      items: { properties: { match: { type: 'string' }, mdc: { description: 'MDC number' } } },
    },
  },
  $defs: {
    device: {
      properties: {
        manufacturer: { description: 'Who makes it' },
        model: {},
        caveat: { anyOf: [{ type: 'array', items: { properties: { text: {} } } }] },
      },
    },
  },
};
const words = (text: string) => offers(text, text.length, schema).map(({ word }) => word);

describe('what may be written in a page', () => {
  it('is the keys of the section, but for those that stand there', () => {
    expect(words('[device]\n')).toEqual(['manufacturer', 'model', 'caveat']);
    expect(words('[device]\nmodel = "X"\nm')).toEqual(['manufacturer']);
    expect(words('[[metric]]\n')).toEqual(['match', 'mdc']);
    expect(words('[[metric]]\nmatch = "A"\n\n[[metric]]\nma')).toEqual(['match']);
    expect(words('[[device.caveat]]\n')).toEqual(['text']);
  });
  it('is the names of sections behind a bracket', () => {
    expect(words('[d')).toEqual(['device']);
    expect(words('[[device.')).toEqual(['caveat']);
  });
  it('is the words that a key takes', () => {
    expect(words('[link]\ncodec = "')).toEqual(['lines', 'mllp']);
    expect(words('[link]\ncodec = "m')).toEqual(['mllp']);
    expect(words('[link]\ncodec = "mllp" ')).toEqual([]);
  });
  it('says where it would be put', () => {
    const [offer] = offers('[device]\nmanu', 13, schema);
    expect(offer).toEqual({ word: 'manufacturer', says: 'Who makes it', from: 9 });
  });
  it('is nothing outside what is known', () => {
    expect(words('[nowhere]\n')).toEqual([]);
    expect(words('# a comment')).toEqual([]);
    expect(place('[a."b.c"]\nx', 11).line).toBe('x');
  });
});
