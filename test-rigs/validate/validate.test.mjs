// A validator that passes everything proves nothing: each of these must be found, and the sound one must not.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fittingProfile, resourcesOf, Validator } from './validate.mjs';

const validator = new Validator();

const heartRate = () => ({
  resourceType: 'Observation',
  id: 'a',
  meta: { profile: ['http://hl7.org/fhir/StructureDefinition/heartrate'] },
  status: 'final',
  category: [{ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/observation-category', code: 'vital-signs' }] }],
  code: { coding: [{ system: 'http://loinc.org', code: '8867-4' }] },
  subject: { reference: 'Patient/p' },
  effectiveDateTime: '2026-03-14T10:26:50+01:00',
  valueQuantity: { value: 61, unit: 'bpm', system: 'http://unitsofmeasure.org', code: '/min' },
});

const pressure = () => {
  const part = (code, value) => ({
    code: { coding: [{ system: 'http://loinc.org', code }] },
    valueQuantity: { value, unit: 'mmHg', system: 'http://unitsofmeasure.org', code: 'mm[Hg]' },
  });
  const { valueQuantity, ...panel } = heartRate();
  panel.meta.profile = ['http://hl7.org/fhir/StructureDefinition/bp'];
  panel.code.coding[0].code = '85354-9';
  return { ...panel, component: [part('8480-6', 120), part('8462-4', 80)] };
};

test('sound resources pass', () => {
  assert.deepEqual(validator.faults(heartRate()), []);
  assert.deepEqual(validator.faults(pressure()), []);
});

const broken = {
  'a status that is none': (o) => (o.status = 'finished'),
  'an element FHIR does not have': (o) => (o.heartRate = 61),
  'a time without an offset': (o) => (o.effectiveDateTime = '2026-03-14T10:26:50'),
  'a time of a month': (o) => (o.effectiveDateTime = '2026-03'),
  'no category': (o) => delete o.category,
  'no subject': (o) => delete o.subject,
  'a unit in words': (o) => delete o.valueQuantity.code,
  'a unit of its own': (o) => (o.valueQuantity.code = '{beats}/min'),
  'no unit system': (o) => delete o.valueQuantity.system,
  'a number as text': (o) => (o.valueQuantity.value = '61'),
  'a value and its absence': (o) => (o.dataAbsentReason = { text: 'unknown' }),
  'neither value nor absence': (o) => delete o.valueQuantity,
  'two values': (o) => (o.valueString = '61'),
  'a profile that does not exist': (o) => o.meta.profile.push('http://hl7.org/fhir/StructureDefinition/pulse'),
  'a reference to nothing': (o) => (o.subject.reference = 7),
};
for (const [what, damage] of Object.entries(broken)) {
  test(`${what} is found`, () => {
    const observation = heartRate();
    damage(observation);
    assert.notDeepEqual(validator.faults(observation), []);
  });
}

const brokenPanels = {
  'a panel without a diastolic pressure': (o) => o.component.pop(),
  'a panel with two systolic pressures': (o) => (o.component[1] = o.component[0]),
  'a panel with a value of its own': (o) => (o.valueQuantity = heartRate().valueQuantity),
  'a component with neither value nor absence': (o) => delete o.component[0].valueQuantity,
};
for (const [what, damage] of Object.entries(brokenPanels)) {
  test(`${what} is found`, () => {
    const panel = pressure();
    damage(panel);
    assert.notDeepEqual(validator.faults(panel), []);
  });
}

test('the fitting profile is asked for even when it is not claimed', () => {
  const observation = heartRate();
  delete observation.meta;
  assert.match(fittingProfile(observation), /heartrate$/);
  delete observation.category;
  assert.notDeepEqual(validator.faults(observation), []);
  assert.equal(fittingProfile({ ...heartRate(), subject: { reference: 'Device/d' } }), undefined);
});

test('files hold one resource, many, a Bundle or lines', () => {
  const one = JSON.stringify(heartRate());
  assert.equal(resourcesOf(one, 'a.json').length, 1);
  assert.equal(resourcesOf(`[${one},${one}]`, 'a.json').length, 2);
  assert.equal(resourcesOf(`{"resourceType":"Bundle","entry":[{"resource":${one}},{"response":{}}]}`, 'a.json').length, 1);
  assert.equal(resourcesOf(`${one}\n${one}\n`, 'a.ndjson').length, 2);
});
