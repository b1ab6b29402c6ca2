import { expect, it } from 'vitest';
import type { EntryMeasurement } from './api';
import { cut, overlay } from './overlay';

const measured = (label: string, value: string | null, code: string, unit: string | null = null) =>
  ({
    label,
    value,
    unit,
    codes: [{ system: 'urn:iso:std:iso:11073:10101', code }],
    absent: null,
    taken: '2026-11-22T12:00:00Z',
    status: [],
    place: null,
  }) as EntryMeasurement;

const HL7 =
  'MSH|^~\\&|MON␍\nOBX|1|NM|147842^HR^MDC||72|/min␍\nOBX|2|NM|150456^SPO2^MDC||97|%␍\nOBX|3|NM|151562^RR^MDC||72|/min␍\n';

it('marks a value where its code stands in the same line', () => {
  const marks = overlay(HL7, [
    measured('Heart rate', '72', '147842', '/min'),
    measured('SpO2', '97', '150456', '%'),
    measured('Respiratory rate', '72', '151562', '/min'),
  ]);
  expect(marks.map(({ start, end, says }) => [HL7.slice(start, end), says])).toEqual([
    ['72', 'Heart rate, /min'],
    ['97', 'SpO2, %'],
    ['72', 'Respiratory rate, /min'],
  ]);
  expect(new Set(marks.map(({ start }) => start)).size).toBe(3);
});

it('marks nothing that is in doubt: twice there, part of another number, converted, or claimed by two', () => {
  const plain = 'HR=72 RR=72 T=37.20 N=-5 C=12.5';
  const said = (value: string, code = 'xyz') => overlay(plain, [measured('One', value, code)]);
  expect(said('72')).toEqual([]);
  expect(said('37.2')).toEqual([]);
  expect(said('5')).toEqual([]);
  expect(said('98.6')).toEqual([]);
  expect(said('12.5')).toHaveLength(1);
  expect(said('< 12.5')).toHaveLength(1);
  expect(overlay(plain, [measured('One', null, 'x')])).toEqual([]);
  expect(overlay(plain, [measured('One', '12.5', 'x'), measured('Two', '12.5', 'y')])).toEqual([]);
});

it('a value at the end of a sentence is one', () => {
  expect(overlay('result 7.1.', [measured('pH', '7.1', 'x')])).toHaveLength(1);
});

it('cuts the text at its marks, and loses no character', () => {
  const marks = overlay(HL7, [measured('SpO2', '97', '150456', '%')]);
  const pieces = cut(HL7, marks);
  expect(pieces.map(({ text }) => text).join('')).toBe(HL7);
  expect(pieces.filter(({ says }) => says)).toEqual([{ text: '97', says: 'SpO2, %' }]);
  expect(cut('', [])).toEqual([]);
});
