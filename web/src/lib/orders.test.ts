import { describe, expect, it } from 'vitest';
import { codesIn, said } from './orders';
import { may } from './rights';

describe('test codes', () => {
  it('are taken as typed, scanned or pasted, each once', () => {
    expect(codesIn('GLU, CREA;UREA  GLU', ['K'])).toEqual(['K', 'GLU', 'CREA', 'UREA']);
    expect(codesIn(' ')).toEqual([]);
  });
});

describe('a form', () => {
  it('sends only what was said', () => {
    expect(said({ id: ' 7 ', family: '', given: '  ' })).toEqual({ id: '7' });
  });
});

describe('somebody at the desk', () => {
  it('is led only to what the gateway lets them do', () => {
    expect(may(['session.use', 'devices.pair'], 'pair')).toBe(true);
    expect(may(['session.use', 'worklist.use'], 'pair')).toBe(false);
    expect(may([], 'look')).toBe(false);
    expect(may(undefined, 'look')).toBe(false);
  });
});
