import { describe as group, expect, it } from 'vitest';
import { parseExact } from './json';
import { describe, readAnswer } from './resource';

const observation = (rest: string) =>
  parseExact(
    `{"resourceType":"Observation","id":"o1","code":{"coding":[{"code":"8867-4","display":"Heart rate"}]},${rest}}`,
  );

group('one line of a resource', () => {
  it('says the value with its unit and every digit', () => {
    const line = describe(observation('"valueQuantity":{"value":37.0,"unit":"Cel"}'));
    expect(line).toEqual({ type: 'Observation', id: 'o1', says: 'Heart rate: 37.0 Cel' });
  });

  it('keeps the comparator', () => {
    const says = describe(observation('"valueQuantity":{"value":5,"comparator":"<","code":"mg/dL"}')).says;
    expect(says).toBe('Heart rate: <5 mg/dL');
  });

  it('says why a value is absent', () => {
    const says = describe(observation('"dataAbsentReason":{"coding":[{"code":"not-performed"}]}')).says;
    expect(says).toBe('Heart rate: no value: not-performed');
  });

  it('says both components of a blood pressure', () => {
    const part = (name: string, value: number) =>
      `{"code":{"text":"${name}"},"valueQuantity":{"value":${value},"unit":"mmHg"}}`;
    const says = describe(
      observation(`"component":[${part('Systolic', 120)},${part('Diastolic', 80)}]`),
    ).says;
    expect(says).toBe('Heart rate: Systolic 120 mmHg · Diastolic 80 mmHg');
  });

  it('does not fail on what is no resource', () => {
    for (const text of ['null', '[]', '"x"', '{}', '{"code":7}']) {
      expect(describe(parseExact(text)).type).toBe('Not a FHIR resource');
    }
  });
});

group('a server’s answer', () => {
  it('tells the issues of an OperationOutcome, given as text or as JSON', () => {
    const outcome =
      '{"resourceType":"OperationOutcome","issue":[{"severity":"error","diagnostics":"no subject"}]}';
    expect(readAnswer(outcome).issues).toEqual(['error: no subject']);
    expect(readAnswer(parseExact(outcome)).issues).toEqual(['error: no subject']);
  });

  it('shows what is no JSON as it came', () => {
    expect(readAnswer('<html>Bad Gateway</html>')).toEqual({
      issues: [],
      json: null,
      plain: '<html>Bad Gateway</html>',
    });
  });

  it('knows that nothing came', () => {
    for (const nothing of [undefined, null, '']) {
      expect(readAnswer(nothing)).toEqual({ issues: [], json: null, plain: null });
    }
  });
});
